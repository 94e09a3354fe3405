"""Operations that change what HandyRep knows of the servers: who takes part, with which definition."""

import dataclasses
from typing import Any

from handyrep.config.contradictions import clashes, unusable
from handyrep.config.values import SERVER_NAME
from handyrep.directives import ValueProblem, directives_of
from handyrep.errors import RefusedError
from handyrep.model.cluster import Member
from handyrep.model.result import Result, fail, success
from handyrep.model.server import Role, Server
from handyrep.model.status import Health, Status
from handyrep.operations.declare import Running, operation
from handyrep.operations.information import member_or_refuse, shown


def not_the_master(on: Running, name: str, what: str) -> Member:
    """The member, when it is not the recorded master. Raises RefusedError."""
    member = member_or_refuse(on.engine.cluster, name)
    if member.server.role == Role.MASTER and member.server.enabled:
        raise RefusedError(
            f"{name} is the master and cannot be {what}",
            remedy="Switch over to another server first: handyrep manual-failover",
        )
    return member


def free_of_runs(on: Running) -> None:
    """Raises RefusedError while a failover stands open: it counts on the servers as they were when it began."""
    run = on.engine.journal.open_run()
    if run is not None:
        raise RefusedError(
            f"{run.kind.value} {run.epoch} stands open", remedy="See 'handyrep status' and 'handyrep explain'."
        )


@operation("Servers", changes=True, server="name of the server")
async def enable(on: Running, server: str) -> Result:
    """Let a server take part again, once it was seen to be what it is recorded as."""
    async with on.engine.changing(f"enabling {server}"):
        free_of_runs(on)
        member = member_or_refuse(on.engine.cluster, server)
        if member.server.enabled:
            return success(f"{server} is enabled already", **shown(member))
        if member.server.role == Role.MASTER and on.engine.cluster.masters:
            raise RefusedError(
                f"{server} is recorded as a master, and {on.engine.cluster.masters[0].name} is the master already",
                remedy="Give it the role replica first: handyrep alter-server-def",
            )
        _redefine(on, member, enabled=True)
        on.engine.take(await on.engine.observer.verify(server))
        seen = on.engine.cluster.members[server]
        if seen.status.health not in (Health.HEALTHY, Health.LAGGED):
            _redefine(on, seen, enabled=False)
            return fail(f"{server} stays disabled: {seen.status.reason}", **shown(on.engine.cluster.members[server]))
        return success(f"{server} is enabled: {seen.status.reason}", **shown(seen))


@operation("Servers", changes=True, server="name of the server")
async def disable(on: Running, server: str) -> Result:
    """Leave a server alone: it is neither looked at nor acted on. The master cannot be disabled."""
    async with on.engine.changing(f"disabling {server}"):
        free_of_runs(on)
        _redefine(on, not_the_master(on, server, "disabled"), enabled=False)
        return success(f"{server} is disabled", **shown(on.engine.cluster.members[server]))


@operation("Servers", changes=True, server="name of the server")
async def remove(on: Running, server: str) -> Result:
    """Forget a server. Nothing is done to the server itself. The master cannot be removed."""
    async with on.engine.changing(f"removing {server}"):
        free_of_runs(on)
        not_the_master(on, server, "removed")
        on.engine.state.update(on.engine.cluster.without(server))
        return success(f"{server} is forgotten")


@operation("Servers", changes=True, server="name of the new server", definition="directives, as key=value,key=value")
async def add_server(on: Running, server: str, definition: str) -> Result:
    """Add a server: disabled, and a replica unless the definition says otherwise."""
    async with on.engine.changing(f"adding {server}"):
        free_of_runs(on)
        if server in on.engine.cluster.members:
            raise RefusedError(f"there is a server {server!r} already", remedy="handyrep alter-server-def changes it.")
        _good_name(server)
        like = on.engine.cluster.servers[0] if on.engine.cluster.servers else Server(name=server)
        base = dataclasses.replace(
            like, name=server, hostname="", role=Role.REPLICA, enabled=False, failover_priority=999
        )
        new = dataclasses.replace(base, **{**_directives(definition), "enabled": False})
        _acceptable(on, new)
        on.engine.state.update(on.engine.cluster.with_member(Member(new)))
        return success(
            f"{server} is known and disabled; next: handyrep clone {server}, handyrep enable {server}",
            **shown(on.engine.cluster.members[server]),
        )


@operation(
    "Servers", changes=True, server="name of the server", definition="directives to change, as key=value,key=value"
)
async def alter_server_def(on: Running, server: str, definition: str) -> Result:
    """Change the definition of a server. The master keeps its role, unless there is another one recorded."""
    async with on.engine.changing(f"changing {server}"):
        free_of_runs(on)
        member = member_or_refuse(on.engine.cluster, server)
        wanted = _directives(definition)
        if "enabled" in wanted:
            raise RefusedError("enabled is not changed here", remedy="Use 'handyrep enable' or 'handyrep disable'.")
        if member.server.enabled and wanted.get("role", member.server.role) != member.server.role:
            raise RefusedError(
                f"{server} is enabled; its role is changed by a switchover",
                remedy=f"To correct a record by hand: handyrep disable {server} first.",
            )
        new = dataclasses.replace(member.server, **wanted)
        _acceptable(on, new)
        on.engine.state.update(
            on.engine.cluster.with_member(Member(new, Status(Health.UNKNOWN, "changed; not looked at yet")))
        )
        return success(f"{server} is changed", **shown(on.engine.cluster.members[server]))


def _redefine(on: Running, member: Member, *, enabled: bool) -> None:
    server = dataclasses.replace(member.server, enabled=enabled)
    status = member.status if enabled else Status(Health.UNKNOWN, "disabled: not looked at")
    on.engine.state.update(on.engine.cluster.with_member(dataclasses.replace(member, server=server, status=status)))


def _directives(definition: str) -> dict[str, Any]:
    known = directives_of(Server)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for part in filter(None, (piece.strip() for piece in definition.split(","))):
        key, sign, text = part.partition("=")
        if not sign or key.strip() not in known:
            problems.append(f"{part!r} is not key=value with a directive of a server")
            continue
        try:
            values[key.strip()] = known[key.strip()].parse(text.strip())
        except ValueProblem as problem:
            problems.append(f"{key.strip()} {problem}")
    if problems:
        raise RefusedError("; ".join(problems))
    return values


def _good_name(server: str) -> None:
    if not SERVER_NAME.fullmatch(server):
        raise RefusedError(
            f"{server!r} is not a server's name: at most 63 letters, digits, '_', '-' and '.', beginning with no sign"
        )


def _acceptable(on: Running, new: Server) -> None:
    if not new.hostname:
        raise RefusedError("hostname is required")
    if new.is_postgres and not new.pgdata:
        raise RefusedError("pgdata is required for a PostgreSQL server")
    others = [other for other in on.engine.cluster.servers if other.name != new.name]
    for _, key, what in (*unusable(new), *clashes([*others, new])):
        raise RefusedError(f"{key or new.name} {what}")
