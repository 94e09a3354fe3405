"""The steps that only a switchover has before its promote: what must be right first, a short stop, clients that wait, the last WAL.

All of them can be taken back. What a person should hear before anything is done is told at once, not one thing at a time.
"""

import asyncio
import dataclasses

from handyrep.decide.assess import assess
from handyrep.engine.hands import said
from handyrep.engine.slots import sentences
from handyrep.engine.steps.after import hasten_proxies
from handyrep.engine.steps.before import choice_of, last_lsn_of
from handyrep.engine.steps.scene import Scene
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Run
from handyrep.plugin_api.contract import Kind

SUCCESS = Outcome.SUCCESS
_CALLS_OF_A_TEST = 15
"""Nobody waits yet: so many times call_timeout may a plugin's own test take."""
_TESTED = (Kind.CONNECTION_FAILOVER, Kind.FOLLOW, Kind.SLOTS, Kind.SYNC)
"""The plugins, beside fences and the promotion, without which a switchover would end half-way."""


async def preflight(on: Scene, run: Run, _: str) -> Result:
    """Whether a switchover can begin: the master is well, a replica is fit, and nothing speaks against it now.

    `refusals`: all that does; `fence`: the one that could stop the master.
    """
    picture = await on.observer.verify()
    on.state.update(assess(on.cluster, picture))
    (master, fence), candidate = await asyncio.gather(_master(on, run, picture), _candidate(on, run, picture))
    (hindrances, (failed, warnings)) = await asyncio.gather(_hindrances(on, run), _tests(on))
    refusals = [*master, *candidate, *([] if run.anyway else hindrances), *failed]
    warnings += hindrances if run.anyway else []
    if refusals:
        return fail("; ".join(refusals), refusals=refusals)
    return success(
        f"{run.old_master} is well and can be stopped, and a replica can take over", warnings=warnings, fence=fence
    )


async def _master(on: Scene, run: Run, picture: Picture) -> tuple[list[str], str]:
    """(what speaks against stopping it, the first fence that could)."""
    seen = picture.of(run.old_master)
    told = "; ".join(seen.notes)
    refusals = []
    if seen.writable is not Answer.YES:
        refusals.append(f"{run.old_master} does not take writes ({told}), so this would be a failover")
    elif seen.running is not Answer.YES:
        refusals.append(f"the service of {run.old_master} is not settled, so stopping it might not be clean ({told})")
    fences = [name for name in run.fences if not on.hands.needs_silence(name)]
    tests = (on.hands.use(Kind.FENCE, "test", name=name, servername=run.old_master) for name in fences)
    results = await asyncio.gather(*tests)
    able = [name for name, result in zip(fences, results, strict=True) if result.outcome is SUCCESS]
    if not able:
        why = "; ".join(f"{name}: {said(result)}" for name, result in zip(fences, results, strict=True))
        refusals.append(f"no fence could prove that {run.old_master} has stopped ({why or 'none is configured'})")
    return refusals, next(iter(able), "")


async def _candidate(on: Scene, run: Run, picture: Picture) -> list[str]:
    """What speaks against each replica that might take over; nothing when one may."""
    choice = await choice_of(on, run, picture, None)
    if choice.candidate is None:
        reasons = "; ".join(f"{excluded.name}: {excluded.reason}" for excluded in choice.excluded)
        return [f"no replica may take over: {reasons or 'the selection plugin named none'}"]
    seen, limit = picture.of(choice.candidate), on.server(choice.candidate).lag_limit
    if seen.replicating is not Answer.YES:
        return [f"{choice.candidate} does not receive from {run.old_master} ({'; '.join(seen.notes)})"]
    if seen.lag is not None and seen.lag > limit:
        return [f"{choice.candidate} is {seen.lag:g} behind (lag_limit {limit:g})"]
    tested = await on.hands.use(Kind.PROMOTION, "test", server=on.server(choice.candidate))
    return [] if tested.outcome is SUCCESS else [f"{choice.candidate} could not be promoted: {said(tested)}"]


async def _hindrances(on: Scene, run: Run) -> list[str]:
    """What is under way on the master for which a switchover should wait."""
    if not on.hands.able(Kind.INSPECT, "hindrances"):
        return []
    told = await on.hands.use(Kind.INSPECT, "hindrances", server=on.server(run.old_master))
    if told.outcome is not SUCCESS:
        return [f"what is under way on {run.old_master} is not known: {said(told)}"]
    return sentences(told.extra.get("hindrances"))


async def _tests(on: Scene) -> tuple[list[str], list[str]]:
    """(the plugins that say they could not work, what those that can want people to know)."""
    configured = {kind: on.hands.configured(kind) for kind in _TESTED}
    kinds = [kind for kind, name in configured.items() if name]
    patience_s = on.hands.calls_s(_CALLS_OF_A_TEST)
    results = await asyncio.gather(*(on.hands.use(kind, "test", patience_s=patience_s) for kind in kinds))
    told = [(configured[kind], result) for kind, result in zip(kinds, results, strict=True)]
    failed = [f"{name}: {said(result)}" for name, result in told if result.outcome is not SUCCESS]
    return failed, [one for _, result in told for one in sentences(result.extra.get("warnings"))]


async def hasten(on: Scene, run: Run, _: str) -> Result:
    """What can be done before clients have to wait."""
    able = [name for name in run.fences if on.hands.able(Kind.FENCE, "hasten", name)]
    if not able:
        await hasten_proxies(on, run, run.new_master)
        return success("nothing can be done before")
    fenced = on.hands.use(Kind.FENCE, "hasten", name=able[0], servername=run.old_master)
    return (await asyncio.gather(fenced, hasten_proxies(on, run, run.new_master)))[0]


async def pause(on: Scene, _: Run, __: str) -> Result:
    """Let clients wait at the proxies, once what they do has ended. It ends in time, or the switchover does."""
    on.state.update(dataclasses.replace(on.cluster, proxies_behind=True))
    patience_s = on.settings.failover.pause_timeout
    return await on.hands.use(Kind.CONNECTION_FAILOVER, "pause", patience_s=patience_s)


async def catch_up(on: Scene, run: Run, _: str) -> Result:
    """Wait until the candidate has everything that the stopped master wrote."""
    wanted = last_lsn_of(run)
    if wanted is None:
        why = f"nothing proves that {run.new_master} has it all"
        return fail(f"the end of {run.old_master}'s WAL was not read on its disk, so {why}")

    async def has_it() -> bool:
        facts = await on.observer.facts(run.new_master)
        return facts is not None and facts.received_lsn >= wanted

    if await on.until(has_it, on.settings.failover.start_timeout):
        return success(f"{run.new_master} has the WAL of {run.old_master} to its end at {wanted}")
    return fail(f"{run.new_master} did not receive the WAL of {run.old_master} to its end at {wanted}")
