"""The steps of a failover before its promote: the last look, the fence, the receivers, the rescue of WAL, the choice, its list.

All of them can be taken back.
"""

import asyncio
import dataclasses

from handyrep.decide import stages
from handyrep.decide.agreement import list_of_next_master
from handyrep.decide.assess import assess
from handyrep.decide.candidates import choose
from handyrep.decide.estimate import estimated_end
from handyrep.decide.foresight import foresee
from handyrep.engine.hands import said
from handyrep.engine.slots import would_lack
from handyrep.engine.steps.after import hasten_proxies
from handyrep.engine.steps.scene import Scene
from handyrep.model.answer import Answer, Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Run, RunKind
from handyrep.model.verdict import Choice
from handyrep.plugin_api.contract import Kind

_NOTHING_BETWEEN_S = 0.25
"""No longer than it takes to judge a look, and to write down what follows from it."""
_LIKELY_FOR_S = 2.0
"""So long what was seen of the replicas tells who is likely to be chosen."""
_SLOWEST_RESCUE_BYTES_PER_S = 1 << 20
"""How long a rescue may take grows with what it carries; the plugin ends one that does not get on."""
_CALLS_OF_A_HOLD = 3
"""So many times call_timeout may holding clients back take: a failover does not wait for a proxy that is away."""


async def recheck(on: Scene, run: Run, _: str) -> Result:
    """Look once more from everywhere. SUCCESS: it is still gone, with `signs` of life that some fences do not stand.

    The look that led here is not repeated if nothing has come between, and the master's own host said that it is dead: of one that is
    merely silent a second look may hear something.
    """
    picture = on.everywhere.seen_within(_NOTHING_BETWEEN_S)
    if picture is None or picture.of(run.old_master).sees_master is not Answer.NO:
        failover = on.settings.failover
        look = on.everywhere.look(max(failover.fail_retry_interval, failover.call_timeout))
        picture = await on.meanwhile(look, _hasten_for_the_first(on, run))
    on.state.heed(assess(on.cluster, picture))
    seen = picture.of(run.old_master)
    stalled = seen.up is Answer.YES and seen.stalled is Answer.YES
    dead_at_home = seen.host_answers is Answer.YES and seen.sees_master is Answer.NO
    others = [name for name, one in picture.seen.items() if name != run.old_master and one.sees_master is Answer.YES]
    if not stalled and (seen.up is Answer.YES or (seen.alive is Answer.YES and not dead_at_home)):
        return fail(f"{run.old_master} answers again")
    if others and not dead_at_home and not stalled:
        return fail(f"{' and '.join(others)} can still see {run.old_master}")
    signs = [f"{name} can still see it" for name in others]
    signs += ["PostgreSQL answers there"] if seen.alive is Answer.YES else []
    how = "still ends no commit" if stalled else "is still gone"
    return success(f"{run.old_master} {how}", signs=signs)


async def hold(on: Scene, _: Run, __: str) -> Result:
    """Begin to let clients wait at the proxies. Nothing that follows needs its end but what leads them elsewhere, which sees for itself."""
    on.state.update(dataclasses.replace(on.cluster, proxies_behind=True))
    await on.holding.ended()
    on.holding.begin(_held_back(on))
    await asyncio.sleep(0)  # so that it has begun before the fence does
    return success("it was begun; what they do not do is told")


async def _held_back(on: Scene) -> None:
    """A proxy that does not answer is not waited for: it is re-pointed when it is back."""
    patience_s = on.settings.failover.call_timeout * _CALLS_OF_A_HOLD
    held = await on.hands.use(Kind.CONNECTION_FAILOVER, "block", patience_s=patience_s)
    if held.outcome is not Outcome.SUCCESS:
        on.events.record("hold", f"not all clients are held back: {said(held)}", {})


async def fence(on: Scene, run: Run, name: str) -> Result:
    """SUCCESS only with a proof. One that leaves the master running is not even tried while there is a sign of life."""
    if name == stages.CONFIRMATION:
        word = f"a person is sure that {run.old_master} is off and stays off: {run.confirmed}"
        return success(word, proof=word, ended=True)
    if run.signs_of_life and on.hands.needs_silence(name):
        why = "; ".join(run.signs_of_life)
        return fail(
            f"{name} proves nothing of a master that gives a sign of life ({why}): nothing was done", untouched=True
        )
    known = on.hands.proof(name, Answer.UNKNOWN, "")
    if known.routes_only:
        await on.holding.ended()
        on.state.update(dataclasses.replace(on.cluster, proxies_behind=True))
    if known.final and run.kind is RunKind.FAILOVER:
        why = await _in_vain(on, run)
        if why:
            return fail(f"{name} cannot be taken back, and would be in vain: {why}. Nothing was done", untouched=True)
    proven = on.hands.use(Kind.FENCE, name=name, servername=run.old_master)
    result = await on.meanwhile(proven, _hasten_for_the_first(on, run))
    if result.outcome is Outcome.SUCCESS and not result.extra.get("proof"):
        return fail(f"{name} said SUCCESS without telling its proof, which proves nothing")
    return result


async def _hasten_for_the_first(on: Scene, run: Run) -> None:
    """Prepare the proxies for the replica that is likely to be chosen; in a switchover that was done. If it is another one in the end, confirm does it for that."""
    if run.kind is not RunKind.FAILOVER or not on.hands.able(Kind.CONNECTION_FAILOVER, "hasten"):
        return
    ordered, _ = await on.hands.select()
    picture = on.everywhere.seen_within(_LIKELY_FOR_S) or Picture()
    likely = run.wanted or foresee(ordered, on.cluster, picture, on.policy, final=False, estimated=None).candidate
    await hasten_proxies(on, run, likely or "")


async def _in_vain(on: Scene, run: Run) -> str:
    """Why nobody could take over once nobody can read the old master's disk any more, as far as that is known now; '' when one could."""
    ordered, _ = await on.hands.select()
    picture = await on.observer.glance(*run.replicas)
    policy = dataclasses.replace(on.policy, loss_accepted=run.loss_accepted)
    estimated = estimated_end(on.cluster.last_seen, on.clock.monotonic())
    choice = foresee(ordered, on.cluster, picture, policy, final=True, estimated=estimated)
    return (
        "" if choice.candidate else "; ".join(f"{e.name}: {e.reason}" for e in choice.excluded) or "there is no replica"
    )


async def freeze(on: Scene, run: Run, _: str) -> Result:
    """Let every replica's position stand still: `standing` are those that were seen to, `halted` those told to receive nothing."""
    if not run.old_master_ended:
        on.listening.begin(run.old_master)
    on.standing.void()
    picture = await on.observer.glance(*run.replicas)
    found = await asyncio.gather(*(_frozen(on, run, name, picture.of(name).facts) for name in run.replicas))
    why_not = {name: why for name, (why, _) in zip(run.replicas, found, strict=True) if why}
    halted = [name for name, (_, told) in zip(run.replicas, found, strict=True) if told]
    standing = [name for name in run.replicas if name not in why_not]
    if run.old_master_ended and standing and not halted and not any(_may_move(picture, name) for name in standing):
        on.standing.keep(picture)
    told = "; ".join(f"{name}: {why}" for name, why in why_not.items())
    details = f"{', '.join(standing) or 'no replica'} can receive nothing more{f' ({told})' if told else ''}"
    return (success if standing else fail)(details, standing=standing, halted=halted)


async def _frozen(on: Scene, run: Run, name: str, facts: PostgresFacts | None) -> tuple[str, bool]:
    """(why its position may still move, or ''; whether it may have been told to receive nothing)."""
    if name in on.busy:
        return "it is being worked on", False
    if facts is None or not facts.in_recovery:
        return "it does not answer" if facts is None else "it is not in recovery", False
    if run.old_master_ended and not facts.receiving:
        return "", False
    if on.hands.able(Kind.FOLLOW, "halt"):
        return await _halted(on, name), True
    return await _waited_for(on, name) if run.old_master_ended else "the old master may still send to it", False


def _may_move(picture: Picture, name: str) -> bool:
    facts = picture.of(name).facts
    return facts is None or facts.receiving


async def _halted(on: Scene, name: str) -> str:
    """Tell it to receive from nobody; why that is not so, or ''."""
    told = await on.hands.use(Kind.FOLLOW, "halt", server=on.server(name))
    if told.outcome is not Outcome.SUCCESS:
        return f"its receiver could not be stopped: {said(told)}"
    return "" if await _receives_nothing(on, name) else "it goes on receiving"


async def _waited_for(on: Scene, name: str) -> str:
    """The follow plugin cannot stop a receiver, and the master's end will: why it has not, or ''."""
    calm = await on.until(lambda: _receives_nothing(on, name), on.settings.failover.call_timeout)
    return "" if calm else "it goes on receiving"


async def _receives_nothing(on: Scene, name: str) -> bool:
    facts = await on.observer.facts(name)
    return facts is not None and not facts.receiving


async def rescue(on: Scene, run: Run, _: str) -> Result:
    """Give the candidate what the old master wrote and never sent, where its disk can still be read."""
    end = last_lsn_of(run)
    if end is None:
        return success("the old master's disk was not read, so there is nothing to give")
    picture = await _where_they_stand(on, run)
    if (await choice_of(on, run, picture, end)).lost_bytes == 0:
        return success("no replica needs it")
    best = (await choice_of(on, dataclasses.replace(run, loss_accepted=True), picture, end)).candidate
    facts = picture.of(best or "").facts
    if best is None or facts is None:
        return success("there is no replica to give it to")
    on.standing.void()
    patience_s = on.settings.failover.start_timeout + (end - facts.received_lsn) / _SLOWEST_RESCUE_BYTES_PER_S
    return await on.hands.use(
        Kind.RESCUE, patience_s=patience_s, servername=run.old_master, candidate=best, upto=str(end)
    )


async def select(on: Scene, run: Run, _: str) -> Result:
    """The replica that shall become the master, in `candidate`, with what may be lost."""
    lives, picture = await asyncio.gather(on.listening.hears_master(run.old_master), _where_they_stand(on, run))
    if run.kind is RunKind.FAILOVER and lives:
        return fail(f"{run.old_master} takes logins as a master again, so what was proven of it is void")
    choice = await choice_of(on, run, picture, last_lsn_of(run))
    excluded = {e.name: e.reason for e in choice.excluded}
    if choice.candidate is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in excluded.items())
        return fail(f"no replica may take over: {reasons or 'the selection plugin named none'}", excluded=excluded)
    # In a failover the master cannot be asked any more; what is lost then is told once the slots are made.
    lacks = await would_lack(on.hands, choice.candidate) if run.kind is RunKind.SWITCHOVER else []
    found = {"candidate": choice.candidate, "lost_bytes": choice.lost_bytes, "excluded": excluded, "warnings": lacks}
    return success(f"{choice.candidate}: {choice.proof}", **found)


async def _where_they_stand(on: Scene, run: Run) -> Picture:
    """Where the replicas stand now."""
    return on.standing.still or await on.observer.glance(*run.replicas)


async def choice_of(on: Scene, run: Run, picture: Picture, last_lsn: Lsn | None) -> Choice:
    """Who may take over, as these rules see it. In a switchover the master still writes when the candidate is chosen: catch_up gives the data proof later."""
    ordered, _ = await on.hands.select()
    slack_bytes, estimated = 0, None
    if on.policy.estimate_lost_wal and run.kind is RunKind.FAILOVER:
        estimated = estimated_end(on.cluster.last_seen, on.clock.monotonic())
    if run.kind is RunKind.SWITCHOVER:
        slack_bytes = on.policy.max_lost_wal_bytes
        known = [seen.facts.received_lsn for seen in picture.seen.values() if seen.facts is not None]
        last_lsn = max(known, default=None)
    return choose(
        ordered,
        on.cluster,
        picture,
        dataclasses.replace(on.policy, loss_accepted=run.loss_accepted),
        last_lsn=last_lsn,
        wanted=run.wanted,
        slack_bytes=slack_bytes,
        estimated=estimated,
        standing=frozenset(run.replicas if run.standing is None else run.standing) - on.busy,
    )


def last_lsn_of(run: Run) -> Lsn | None:
    """Where the fence read that the old master's WAL ends."""
    try:
        return Lsn.parse(run.last_lsn)
    except ValueError:
        return None


async def agree(on: Scene, run: Run, _: str) -> Result:
    """Give the candidate the list of those that its commits will wait for. While it is a replica the list does nothing."""
    policy = dataclasses.replace(on.policy, synchronous_required=run.synchronous)
    names, why = list_of_next_master(on.cluster, run.new_master, policy)
    if names is None:
        return fail(f"{run.new_master} can have no list of synchronous replicas: {why}")
    return await on.hands.use(Kind.SYNC, server=on.server(run.new_master), names=names.text)
