"""Operations that tell what HandyRep knows. They change nothing."""

import logging
from typing import Any, Literal

from handyrep.config.show import rows
from handyrep.decide.agreement import Agreement
from handyrep.decide.protection import Protection, protection
from handyrep.engine.hands import said
from handyrep.engine.proofs import proofs
from handyrep.engine.slots import sentences
from handyrep.errors import RefusedError
from handyrep.model.cluster import Cluster, Member
from handyrep.model.result import Result, fail, success
from handyrep.model.status import Health
from handyrep.operations.declare import Running, operation
from handyrep.plugin_api.check import uses

CheckType = Literal["cached", "poll", "verify"]


def member_or_refuse(cluster: Cluster, name: str) -> Member:
    """The member of that name. Raises RefusedError."""
    member = cluster.members.get(name)
    if member is None:
        known = ", ".join(cluster.members) or "none"
        raise RefusedError(f"there is no server {name!r}", remedy=f"The servers are: {known}.")
    return member


def shown(member: Member) -> dict[str, Any]:
    """A server for answers."""
    server = member.server
    facts = {
        "name": server.name,
        "role": server.role,
        "enabled": server.enabled,
        "hostname": server.hostname,
        "port": server.port,
    }
    return {**facts, "lag": member.lag, "replicating": member.replicating, **member.status.as_dict()}


async def look(on: Running, check_type: str, *names: str) -> None:
    """Refresh what is known as asked: cached does nothing."""
    if check_type == "poll":
        on.engine.take(await on.engine.observer.poll(*names))
    elif check_type == "verify":
        on.engine.take(await on.engine.observer.verify(*names))


@operation(
    "Information", changes=False, check_type="cached: as last seen; poll: look lightly first; verify: look fully first"
)
async def get_status(on: Running, check_type: CheckType = "cached") -> Result:
    """Status of the cluster and of every server."""
    await look(on, check_type)
    cluster = on.engine.cluster
    verdict = on.engine.last_verdict
    return success(
        cluster.status.reason,
        cluster={"name": cluster.name, "epoch": cluster.epoch, "frozen": cluster.frozen, **cluster.status.as_dict()},
        servers={name: shown(member) for name, member in cluster.members.items()},
        protection=_protection(on),
        synchronous=_synchronous(on.check.agreeing.last),
        under_way=_under_way(on),
        given_up=_given_up(on),
        returning=dict(on.check.returning.rungs),
        proxies_behind=on.check.proxies.told if cluster.proxies_behind else "",
        verdict=None
        if verdict is None
        else {"rule": verdict.rule, "move": verdict.move.value, "sentence": verdict.sentence},
    )


def _under_way(on: Running) -> str | None:
    run = on.engine.journal.open_run()
    told = [] if run is None else [f"{run.kind.value} {run.epoch} from {run.old_master}"]
    return "; ".join([*told, *on.engine.worked_on]) or None


def _given_up(on: Running) -> dict[str, Any] | None:
    """What was tried in vain since the master is not well any more, and why the last time: the verdict only says that it is tried."""
    master = on.engine.cluster.master
    if master is None or master.status.since is None or master.status.health in (Health.HEALTHY, Health.LAGGED):
        return None
    since = master.status.since
    vain = [
        (run, text)
        for run, how, text in on.engine.journal.runs()
        if how == "abandoned" and run.old_master == master.name and run.began_at >= since
    ]
    if not vain:
        return None
    last, why = vain[-1]
    return {"times": len(vain), "at": last.began_at.isoformat(), "text": why}


def _protection(on: Running) -> dict[str, Any] | None:
    """As last measured, at a well master; None before that."""
    measured = on.engine.protection
    return None if measured is None else _told(measured)


def _told(measured: Protection) -> dict[str, Any]:
    level, missing = measured.level.value, list(measured.missing)
    return {"level": level, "sentence": measured.sentence, "missing": missing, "uncovered": measured.uncovered}


def _synchronous(now: Agreement | None) -> dict[str, str] | None:
    """What commits wait for and should wait for; None where that is left alone."""
    return None if now is None else {"in_force": now.in_force, "wanted": now.wanted, "why": now.why}


@operation("Information", changes=False, verify="look fully first")
async def get_cluster_status(on: Running, verify: bool = False) -> Result:
    """Status of the cluster alone."""
    await look(on, "verify" if verify else "cached")
    return success(on.engine.cluster.status.reason, **on.engine.cluster.status.as_dict())


@operation("Information", changes=False)
async def get_master_name(on: Running) -> Result:
    """Name of the recorded master."""
    master = on.engine.cluster.master
    if master is None:
        return fail(f"{len(on.engine.cluster.masters)} servers are recorded as master instead of one", master=None)
    return success(master.name, master=master.name)


@operation("Information", changes=False, server="name; all servers when left out", verify="look fully first")
async def get_server_info(on: Running, server: str | None = None, verify: bool = False) -> Result:
    """What is known of one server, or of all."""
    names = [member_or_refuse(on.engine.cluster, server).name] if server else list(on.engine.cluster.members)
    await look(on, "verify" if verify else "cached", *names)
    return success(servers={name: shown(on.engine.cluster.members[name]) for name in names})


@operation("Information", changes=False, role="master, replica, pgbouncer, …", verify="look fully first")
async def get_servers_by_role(on: Running, role: str, verify: bool = False) -> Result:
    """The enabled servers of a role."""
    members = on.engine.cluster.by_role(role)
    if members:
        await look(on, "verify" if verify else "cached", *(member.name for member in members))
    return success(
        f"{len(members)} enabled servers have the role {role}",
        servers={m.name: shown(m) for m in on.engine.cluster.by_role(role)},
    )


@operation("Information", changes=False, numlines="how many of the newest events")
async def read_log(on: Running, numlines: int = 20) -> Result:
    """The newest events, oldest of them first."""
    if not 1 <= numlines <= 10_000:
        raise RefusedError("numlines must be between 1 and 10000")
    return success(lines=on.history.newest(numlines))


@operation("Information", changes=False, category="section of handyrep.conf", setting="directive")
async def get_setting(on: Running, category: str, setting: str) -> Result:
    """The effective value of one directive. Passwords are never told."""
    found = [
        row for row in rows(on.engine.settings, on.loaded.origins) if (row.section, row.key) == (category, setting)
    ]
    if not found:
        raise RefusedError(f"there is no directive {setting!r} in [{category}]")
    if category == "passwords":
        raise RefusedError("passwords are never told")
    return success(found[0].value, value=found[0].value, origin=found[0].origin)


@operation("Information", changes=True, verbose="log every poll")
async def set_verbose(on: Running, verbose: bool = True) -> Result:
    """Log more, or less, until the next restart."""
    logging.getLogger("handyrep").setLevel(logging.DEBUG if verbose else logging.INFO)
    return success(f"verbose logging is {'on' if verbose else 'off'}", events=len(on.history.newest(1)))


@operation("Information", changes=False)
async def doctor(on: Running) -> Result:
    """Ask every configured plugin whether it could do its work on every server it concerns."""
    findings = []
    for kind, name in dict.fromkeys((kind, name) for _, kind, name in uses(on.engine.settings)):
        patience_s = on.engine.settings.failover.start_timeout
        result = await on.engine.hands.use(kind, "test", name=name, patience_s=patience_s)
        findings.append({"plugin": name, "kind": kind.value, **result.as_rd(), "details": said(result)})
    engine = on.engine
    picture = await engine.observer.verify()
    measured = {
        "protection": _told(protection(engine.cluster, picture, await proofs(engine))),
        "synchronous": _synchronous(on.check.agreeing.seen(picture)),
    }
    ill = [finding["plugin"] for finding in findings if finding["result"] != "SUCCESS"]
    if ill:
        return fail(
            f"{len(ill)} of {len(findings)} plugins could not do their work: {', '.join(ill)}",
            plugins=findings,
            **measured,
        )
    notes = "; ".join(one for finding in findings for one in sentences(finding.get("warnings")))
    return success(
        f"all {len(findings)} configured plugins could do their work{f'; note: {notes}' if notes else ''}",
        plugins=findings,
        **measured,
    )
