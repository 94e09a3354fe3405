"""The promote and what follows it. From here there is only forward: nothing in this file takes anything back."""

import asyncio
import dataclasses

from handyrep.decide import stages
from handyrep.decide.promise import UNDER_NO_LIST
from handyrep.engine.hands import numbered, said
from handyrep.engine.kept_up import let_promote
from handyrep.engine.slots import sentences
from handyrep.engine.steps.scene import Scene
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Run, Step
from handyrep.plugin_api.contract import Kind

_CATCH_UP_S = 0.05
"""So long those that commits wait for are left alone with the new master, once they have been told to follow: it is what clients wait for."""
_CONFIRM_FOR_S = 5.0
"""One confirm step looks for so long; the engine repeats it for as long as it takes."""


async def promote(on: Scene, run: Run, _: str) -> Result:
    """Order it. Whether it happened is looked for by confirm."""
    await let_promote(on.hands, on.cluster, run.new_master)
    return await on.hands.use(Kind.PROMOTION, server=on.server(run.new_master))


async def confirm(on: Scene, run: Run, _: str) -> Result:
    """SUCCESS once the new master was seen to take a write. What clients would wait for next begins meanwhile; `hastened`: who follows already."""
    told: dict[str, object] = {}

    async def writes() -> bool:
        if on.hands.able(Kind.INSPECT, "promoted"):
            await on.hands.use(Kind.INSPECT, "promoted", server=on.server(run.new_master))
        facts = await on.observer.facts(run.new_master)
        if facts is None or facts.in_recovery:
            return False
        told.update(timeline=facts.timeline, synchronous_standby_names=facts.synchronous_standby_names)
        told.update(lsn=str(facts.received_lsn))
        written = await on.hands.use(Kind.INSPECT, "write", server=on.server(run.new_master))
        return written.outcome is Outcome.SUCCESS

    async def hasten() -> None:
        told.update(hastened=await _hastened_replicas(on, run))

    seen = on.until(writes, _CONFIRM_FOR_S)
    if await on.meanwhile(seen, _bring_to_proxies(on, run), hasten()):
        return success(f"{run.new_master} takes writes", **told)
    return uncertain(
        f"{run.new_master} was ordered to become the master and does not take writes yet. Look at its log; if it still is a replica,"
        " promote it by hand: HandyRep will see it and go on"
    )


async def hasten_proxies(on: Scene, run: Run, new_master: str) -> None:
    """What can be done at the proxies before they are led to the new master. How it went is not heeded: repoint sees for itself."""
    if new_master and on.hands.able(Kind.CONNECTION_FAILOVER, "hasten"):
        to_be = recorded(on.cluster, run, new_master)
        await on.hands.use(Kind.CONNECTION_FAILOVER, "hasten", newmaster=new_master, cluster=to_be)


async def _bring_to_proxies(on: Scene, run: Run) -> None:
    """Let them have what they are to lead clients by. repoint sees for itself; where they cannot be brought it, they prepare at least."""
    if _was_ordered(run) and on.hands.able(Kind.CONNECTION_FAILOVER, "bring"):
        await on.holding.ended()
        to_be = recorded(on.cluster, run, run.new_master)
        await on.hands.use(Kind.CONNECTION_FAILOVER, "bring", newmaster=run.new_master, cluster=to_be)
    else:
        await hasten_proxies(on, run, run.new_master)


def _was_ordered(run: Run) -> bool:
    """A promote that was not sent may be another HandyRep's to send."""
    promoted = run.last(Step(stages.PROMOTE.id))
    return promoted is not None and promoted.outcome is Outcome.SUCCESS


async def _hastened_replicas(on: Scene, run: Run) -> list[str]:
    """Where commits wait for replicas, tell them to receive from the new master while it is becoming one. follow sees for itself.

    Only after a promote that was ordered: before it there is a way back.
    """
    if not (run.synchronous and _was_ordered(run) and on.hands.able(Kind.FOLLOW, "hasten")):
        return []
    named = [name for name in stages.subjects(stages.FOLLOW, run) if name not in on.busy]
    asked = [on.hands.use(Kind.FOLLOW, "hasten", server=on.server(name), newmaster=run.new_master) for name in named]
    told = await asyncio.gather(*asked)
    return [name for name, one in zip(named, told, strict=True) if one.outcome is Outcome.SUCCESS]


async def record(on: Scene, run: Run, _: str) -> Result:
    """Write down who the master is."""
    behind = bool(on.hands.configured(Kind.CONNECTION_FAILOVER))
    known = dataclasses.replace(
        recorded(on.cluster, run, run.new_master), failed_over_at=on.steady.now(), proxies_behind=behind
    )
    on.state.update(known)
    return success(f"{run.new_master} is the master in epoch {run.epoch}")


def recorded(cluster: Cluster, run: Run, new_master: str) -> Cluster:
    """The cluster after a run whose new master was seen to take writes."""
    confirmed = run.last(Step(stages.CONFIRM.id))
    told = confirmed.extra if confirmed is not None else {}
    return dataclasses.replace(
        cluster.handed_over(run.old_master, new_master),
        epoch=run.epoch,
        astray=tuple(name for name in run.replicas if name != new_master) if run.remaster else (),
        deposed=tuple(sorted({*cluster.deposed, run.old_master} - {new_master})),
        timeline=max(cluster.timeline, int(told.get("timeline", 0))),
        synchronous_standby_names=str(told.get("synchronous_standby_names", "")),
        older_lists=(UNDER_NO_LIST,),
        ordered_lists=_may_be_ordered(run),
        last_seen=None,
        list_since=str(told.get("lsn", "")),
    )


def _may_be_ordered(run: Run) -> tuple[str, ...]:
    """While it was a replica HandyRep may have ordered a list there that is not in force yet. Only the stage that gives one rules that out."""
    given = run.last(Step(stages.AGREE.id))
    return () if given is not None or not run.synchronous else (UNDER_NO_LIST,)


async def slots(on: Scene, run: Run, _: str) -> Result:
    """Make the slots that the others use, before they follow."""
    confirmed, followers = run.last(Step(stages.CONFIRM.id)), stages.subjects(stages.FOLLOW, run)
    if followers and confirmed is not None and list(followers) == confirmed.extra.get("hastened"):
        await on.clock.sleep(_CATCH_UP_S)
    return await make_slots(on, run.new_master)


async def make_slots(on: Scene, master: str) -> Result:
    """Make the slots that the replicas use on `master`."""
    return await on.hands.use(Kind.SLOTS, newmaster=master)


async def repoint(on: Scene, run: Run, _: str) -> Result:
    """Lead the clients to the new master."""
    if not on.hands.configured(Kind.CONNECTION_FAILOVER):
        return success("no connection proxies are configured")
    return await repoint_proxies(on, run.new_master)


async def repoint_proxies(on: Scene, master: str) -> Result:
    """Until every proxy was seen to lead to the recorded master, it is written down that some may not."""
    await on.holding.ended()
    pointed = await on.hands.use(Kind.CONNECTION_FAILOVER, newmaster=master)
    if pointed.outcome is Outcome.SUCCESS:
        on.state.update(dataclasses.replace(on.cluster, proxies_behind=False))
    return pointed


async def follow(on: Scene, run: Run, name: str) -> Result:
    """Let one replica receive from the new master."""
    return await follow_master(on, name, run.new_master)


async def follow_master(on: Scene, name: str, master: str) -> Result:
    """Let a running replica receive from `master`, and look until it does."""
    ordered = await on.hands.use(Kind.FOLLOW, server=on.server(name), newmaster=master)
    if ordered.outcome is Outcome.FAIL:
        return ordered
    if await on.until(lambda: _streams(on, name), on.settings.failover.start_timeout):
        return success(f"{name} receives from {master}", warnings=sentences(ordered.extra.get("warnings")))
    return fail(f"{name} was told to receive from {master} and does not yet")


async def _streams(on: Scene, name: str) -> bool:
    result = await on.hands.use(Kind.REPLICATION_STATUS, server=on.server(name))
    return result.outcome is Outcome.SUCCESS and result.extra.get("replicating") is True


async def rejoin(on: Scene, run: Run, _: str) -> Result:
    """Bring the old master back after a switchover."""
    return await rejoin_master(on, run.old_master, run.new_master)


async def rejoin_master(on: Scene, name: str, master: str) -> Result:
    """Bring a stopped former master back as a replica of `master`, and look until it receives."""
    result = await on.hands.use(Kind.REJOIN, server=on.server(name), newmaster=master)
    if result.outcome is Outcome.FAIL:
        return result
    if await on.until(lambda: _streams(on, name), on.settings.failover.start_timeout):
        return success(f"{name} is a replica of {master}{_own_wal(result)}", **dict(result.extra))
    told = f"{name} was started as a replica of {master} and does not receive yet: {said(result)}"
    return fail(told, **dict(result.extra))


def _own_wal(result: Result) -> str:
    """What was kept of a history of its own, as the rest of a sentence."""
    own = result.extra.get("diverged")
    if not isinstance(own, dict):
        return ""
    return f"; {own.get('headline')}" + (f"; kept in {own['kept']}" if own.get("kept") else "")


async def extra(on: Scene, _: Run, name: str) -> Result:
    """One of extra_failover_commands."""
    command = next((c for c in on.settings.extra_failover_commands if c.name == name), None)
    if command is None:
        return fail(f"there is no command {name!r} in the configuration any more")
    return await on.hands.use(Kind.EXTRA_COMMAND, name=command.command, **numbered(command.parameters))
