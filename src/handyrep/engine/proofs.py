"""What each fence says of itself in a dry run: whether its proof could be had now. Stops nothing and proves nothing."""

import asyncio
import dataclasses
from collections.abc import Mapping

from handyrep.decide.failover import Proof
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Picture
from handyrep.model.run import Run
from handyrep.plugin_api.contract import Kind

YES, NO = Answer.YES, Answer.NO
_HEAD_START_S = 0.1
"""So long a fence that may need no other is tested alone: what its stand-ins look at takes processor time from it."""


async def proofs(
    engine: Engine, looking: asyncio.Task[Picture] | None = None, silent_s: float = 0.0
) -> tuple[Proof, ...]:
    """Of every configured fence, against the recorded master; all at once, save that stand-ins may begin a moment later.

    `looking`: a look at the master under way. Once it says that the master's host does not answer, no fence that needs it is waited for;
    where one proves something of whatever master there is, those named after it are not either: they would be its stand-ins.
    `silent_s`: so long the master has not answered. One that says nothing will hardly let the first prove anything: then all begin at once.
    """
    master = engine.cluster.master
    if master is None:
        return ()
    says_nothing = silent_s >= engine.settings.failover.call_timeout
    asked = _begun(engine, master.name, 0.0 if looking is None or says_nothing else _HEAD_START_S)
    try:
        if looking is None:
            return tuple(await asyncio.gather(*asked.values()))
        if (await looking).of(master.name).host_answers is not YES:
            for name, test in asked.items():
                if engine.hands.proof(name, NO, "").needs_host and not test.done():
                    test.cancel()
                    asked[name] = asyncio.create_task(_without_its_host(engine, name))
        return await _up_to_a_certain_one(engine, asked)
    finally:
        for test in asked.values():
            test.cancel()


async def looked_and_tested(engine: Engine, silent_s: float) -> tuple[Picture, tuple[Proof, ...]]:
    """The look from everywhere, and every fence's dry run beside it.

    A fence that heard the master's host where the look did not came later: the host is back, and maybe the master. So another look is taken.
    """
    looking = asyncio.create_task(engine.everywhere.look(silent_s))
    found = await proofs(engine, looking, silent_s)
    picture = await looking
    if _is_back(engine, picture, found):
        picture = await engine.everywhere.look(silent_s)
    return picture, found


def _is_back(engine: Engine, picture: Picture, found: tuple[Proof, ...]) -> bool:
    master = engine.cluster.master
    if master is None or picture.of(master.name).host_answers is YES:
        return False
    return any(proof.possible is YES and proof.needs_host for proof in found)


def _begun(engine: Engine, master: str, head_start_s: float) -> dict[str, asyncio.Task[Proof]]:
    """The test of each fence. Those after one that may prove something of a living master too are its stand-ins, and let it begin alone."""
    asked: dict[str, asyncio.Task[Proof]] = {}
    first: asyncio.Task[Proof] | None = None
    for name in engine.settings.failover.fence_methods:
        test = _tested(engine, name, master) if first is None else _stand_in(engine, name, master, first, head_start_s)
        asked[name] = asyncio.create_task(test)
        if first is None and head_start_s and not engine.hands.needs_silence(name):
            first = asked[name]
    return asked


async def _stand_in(engine: Engine, name: str, master: str, first: asyncio.Task[Proof], head_start_s: float) -> Proof:
    """Its test, once the head start is over; none where the first can prove something by then."""
    await asyncio.wait({first}, timeout=head_start_s)
    if first.done() and not first.cancelled() and _is_certain(first.result()):
        return _not_waited_for(engine, name, first.result().fence)
    return await _tested(engine, name, master)


async def _up_to_a_certain_one(engine: Engine, asked: Mapping[str, asyncio.Task[Proof]]) -> tuple[Proof, ...]:
    """In their order. Once one can prove something though the master may live, the tests that go on are not waited for."""
    found: list[Proof] = []
    certain = ""
    for name, test in asked.items():
        late = certain and not test.done()
        found.append(_not_waited_for(engine, name, certain) if late else await test)
        if _is_certain(found[-1]):
            certain = certain or name
    return tuple(found)


def _is_certain(proof: Proof) -> bool:
    """Whether it needs no other: it can be had, of a master that lives too."""
    return proof.possible is YES and not proof.needs_silence


def _not_waited_for(engine: Engine, fence: str, certain: str) -> Proof:
    return engine.hands.proof(fence, Answer.UNKNOWN, f"its test was not waited for: {certain} can prove it")


async def _tested(engine: Engine, fence: str, master: str) -> Proof:
    result = await engine.hands.use(Kind.FENCE, "test", name=fence, servername=master)
    possible = YES if result.outcome is Outcome.SUCCESS else NO
    told = said(result) if possible is NO else "its proof can be had"
    return engine.hands.proof(fence, possible, told)


async def _without_its_host(engine: Engine, fence: str) -> Proof:
    return engine.hands.proof(fence, NO, "its host does not answer over SSH, so nothing there can be seen or stopped")


def fenced_by(run: Run, found: tuple[Proof, ...]) -> Run:
    """The run with these fences, those that could give no proof a moment ago last: they would only take time from one that could.

    One that cuts clients off at the proxies holds them back there itself, and better: nobody does it before that one too.
    """
    ordered = sorted(found, key=lambda proof: proof.possible is not YES)
    by_itself = bool(ordered) and ordered[0].possible is YES and ordered[0].routes_only
    fences = tuple(proof.fence for proof in ordered)
    return dataclasses.replace(run, fences=fences, proxies="" if by_itself else run.proxies)
