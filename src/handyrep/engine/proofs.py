"""What each fence says of itself in a dry run: whether its proof could be had now. Stops nothing and proves nothing."""

import asyncio
from collections.abc import Mapping

from handyrep.decide.failover import Proof
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Picture
from handyrep.plugin_api.contract import Kind

YES, NO = Answer.YES, Answer.NO


async def proofs(engine: Engine, looking: asyncio.Task[Picture] | None = None) -> tuple[Proof, ...]:
    """Of every configured fence, against the recorded master; all at once.

    `looking`: a look at the master under way. Once it says that the master's host does not answer, no fence that needs it is waited for;
    where one proves something of whatever master there is, those named after it are not either: they would be its stand-ins.
    """
    master = engine.cluster.master
    if master is None:
        return ()
    asked = {
        name: asyncio.create_task(_tested(engine, name, master.name)) for name in engine.settings.failover.fence_methods
    }
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


async def _up_to_a_certain_one(engine: Engine, asked: Mapping[str, asyncio.Task[Proof]]) -> tuple[Proof, ...]:
    """In their order. Once one can prove something though the master may live, the tests that go on are not waited for."""
    found: list[Proof] = []
    certain = ""
    for name, test in asked.items():
        late = certain and not test.done()
        told = f"its test was not waited for: {certain} can prove it"
        found.append(engine.hands.proof(name, Answer.UNKNOWN, told) if late else await test)
        if found[-1].possible is YES and not found[-1].needs_silence:
            certain = certain or name
    return tuple(found)


async def _tested(engine: Engine, fence: str, master: str) -> Proof:
    result = await engine.hands.use(Kind.FENCE, "test", name=fence, servername=master)
    possible = YES if result.outcome is Outcome.SUCCESS else NO
    told = said(result) if possible is NO else "its proof can be had"
    return engine.hands.proof(fence, possible, told)


async def _without_its_host(engine: Engine, fence: str) -> Proof:
    return engine.hands.proof(fence, NO, "its host does not answer over SSH, so nothing there can be seen or stopped")


def possible_first(found: tuple[Proof, ...]) -> tuple[str, ...]:
    """A fence that could give no proof a moment ago would only take time from one that could."""
    return tuple(proof.fence for proof in sorted(found, key=lambda proof: proof.possible is not YES))
