"""What HandyRep has left on the servers: the list, and taking it back so that nothing of it acts by itself."""

import dataclasses
import datetime as dt
from typing import Any

from handyrep.engine import footprint as prints
from handyrep.engine.footprint import Footprint, Left
from handyrep.engine.hands import said
from handyrep.errors import RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.operations.actions import only_if_active
from handyrep.operations.declare import Running, operation
from handyrep.operations.information import member_or_refuse
from handyrep.operations.maintenance import LONGEST_MINUTES
from handyrep.operations.mastership import is_this_cluster
from handyrep.operations.servers import free_of_runs

_REASON = "released: HandyRep took back what it left on the servers"


@operation("Information", changes=False, bare="server", server="one server; left out: all")
async def footprint(on: Running, server: str | None = None) -> Result:
    """Everything that HandyRep has left on the servers, and what 'handyrep release' would do with each."""
    names = (member_or_refuse(on.engine.cluster, server).name,) if server else ()
    found = await prints.look(on.engine, *names)
    told = {"traces": [shown(one) for one in found.left], "unknown": _unknown(found)}
    going = f"{len(found.left)} things of HandyRep, of which release takes back {len(found.going)}"
    if found.unknown:
        return uncertain(f"{going}; not all could be asked: {_sentence(found)}", **told)
    return success(going, **told)


@operation(
    "Actions",
    changes=True,
    cluster="name of the cluster, as a proof that this is the one you mean",
    dry_run="say only what it would do",
)
async def release(on: Running, cluster: str, dry_run: bool = False) -> Result:
    """Take back what HandyRep has left on the servers, all but what PostgreSQL or clients need. HandyRep only looks afterwards."""
    is_this_cluster(on, cluster)
    async with on.engine.changing("taking back what HandyRep left on the servers"):
        await only_if_active(on)
        _nothing_rests_on_it(on)
        before = await prints.look(on.engine)
        if dry_run:
            return _foretold(before)
        _only_look(on)
        await on.check.upkeep.beside.ended()
        failed = await prints.take_back(on.engine, await prints.look(on.engine))
        result = _outcome(before, await prints.look(on.engine), failed)
        on.engine.events.record("release", result.details, {})
        return result


def _nothing_rests_on_it(on: Running) -> None:
    """Raises RefusedError while something that was left on a server is what keeps the data safe at this moment."""
    free_of_runs(on)
    cluster = on.engine.cluster
    if cluster.frozen:
        raise RefusedError(f"HandyRep stands still: {cluster.frozen}", remedy="Answer first: handyrep answer")
    fenced = [name for name in cluster.deposed if name in cluster.members and cluster.members[name].server.enabled]
    if fenced:
        raise RefusedError(
            f"{' and '.join(fenced)} is fenced, and was not seen to be a replica yet: the fence holds it down",
            remedy=f"Bring it back, or take it out: handyrep remaster {fenced[0]}, handyrep disable {fenced[0]}",
        )
    if on.engine.worked_on:
        raise RefusedError(f"{'; '.join(on.engine.worked_on)} is under way", remedy="Wait for it to end.")


def _only_look(on: Running) -> None:
    """Maintenance, so that nothing is put back at once. A longer one that is under way stays."""
    cluster = on.engine.cluster
    until = on.engine.steady.now() + dt.timedelta(minutes=LONGEST_MINUTES)
    until = max(until, cluster.maintenance_until or until)
    on.engine.state.update(
        dataclasses.replace(cluster, maintenance_until=until, maintenance_reason=_REASON, released=True)
    )


def _foretold(found: Footprint) -> Result:
    told = {"going": _all(found.going), "staying": _all(found.staying), "unknown": _unknown(found), "dry_run": True}
    what = f"nothing was done; {len(found.going)} things would be taken back, {len(found.staying)} would stay"
    return uncertain(f"{what}; not known: {_sentence(found)}", **told) if found.unknown else success(what, **told)


def _outcome(before: Footprint, after: Footprint, failed: dict[str, Result]) -> Result:
    problems = [f"{where}: {said(answer)}" for where, answer in failed.items()]
    there = {one.place for one in after.left}
    asked = {(server, plugin) for server, plugin, _ in after.unknown}
    gone = [one for one in before.left if one.place not in there and not asked & {(one.server, p) for p in one.plugins}]
    told = {
        "taken": _all(gone),
        "staying": _all(after.staying),
        "still_there": _all(after.going),
        "unknown": _unknown(after),
        "problems": problems,
    }
    what = (
        f"{len(gone)} things were taken back, {len(after.staying)} stay, since they are needed or a person's to judge"
    )
    then = "HandyRep only looks now; if it runs on, it puts back what it keeps up once maintenance ends (handyrep end-maintenance)"
    still = [*(f"{one.server}: {one.trace.where}" for one in after.going), *problems]
    what += f"; not taken back: {'; '.join(still)}" if still else ""
    what += f"; not known: {_sentence(after)}" if after.unknown else ""
    if after.unknown or any(answer.outcome is Outcome.UNCERTAIN for answer in failed.values()):
        return uncertain(f"{what}. {then}", **told)
    return (fail if still else success)(f"{what}. {then}", **told)


def shown(one: Left) -> dict[str, Any]:
    """A trace for answers."""
    return {"server": one.server, "plugins": list(one.plugins), **one.trace.as_dict()}


def _all(some: tuple[Left, ...] | list[Left]) -> list[dict[str, Any]]:
    return [shown(one) for one in some]


def _unknown(found: Footprint) -> list[dict[str, str]]:
    return [{"server": server, "plugin": plugin, "why": why} for server, plugin, why in found.unknown]


def _sentence(found: Footprint) -> str:
    """Each reason once, with whom it concerns."""
    whom: dict[str, list[str]] = {}
    for server, plugin, why in found.unknown:
        whom.setdefault(f"{server or plugin}: {why}", []).append(plugin)
    return "; ".join(whom)
