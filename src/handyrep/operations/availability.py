"""Operations that look at servers, and the periodic check. Only failover_check acts."""

from handyrep.errors import RefusedError
from handyrep.model.result import Result, fail, success
from handyrep.model.server import Role
from handyrep.model.status import Health
from handyrep.operations.declare import Running, operation
from handyrep.operations.information import member_or_refuse, shown

_WELL = (Health.HEALTHY, Health.LAGGED, Health.WARNING)


@operation("Availability", changes=False, server="name of the server")
async def poll(on: Running, server: str) -> Result:
    """Look at one server lightly."""
    member_or_refuse(on.engine.cluster, server)
    picture = await on.engine.observer.poll(server)
    on.engine.take(picture)
    seen, member = picture.of(server), on.engine.cluster.members[server]
    told = {**shown(member), "up": seen.up.value, "alive": seen.alive.value}
    return (
        success(member.status.reason, **told)
        if seen.up.value == "yes"
        else fail("; ".join(seen.notes) or "not looked at: it is not enabled", **told)
    )


@operation("Availability", changes=False)
async def poll_master(on: Running) -> Result:
    """Look at the recorded master lightly."""
    return await poll(on, _master_name(on))


@operation("Availability", changes=False)
async def poll_all(on: Running) -> Result:
    """Look at all servers lightly."""
    on.engine.take(await on.engine.observer.poll())
    return _all(on)


@operation("Availability", changes=False, server="name of the server")
async def verify_server(on: Running, server: str) -> Result:
    """Look at one server fully."""
    member_or_refuse(on.engine.cluster, server)
    on.engine.take(await on.engine.observer.verify(server))
    member = on.engine.cluster.members[server]
    well = member.status.health in (Health.HEALTHY, Health.LAGGED)
    return (success if well else fail)(member.status.reason, **shown(member))


@operation("Availability", changes=False)
async def verify_master(on: Running) -> Result:
    """Look at the recorded master fully."""
    return await verify_server(on, _master_name(on))


@operation("Availability", changes=False, replicaserver="name of the replica")
async def verify_replica(on: Running, replicaserver: str) -> Result:
    """Look at a replica fully."""
    if member_or_refuse(on.engine.cluster, replicaserver).server.role != Role.REPLICA:
        raise RefusedError(f"{replicaserver} is not recorded as a replica")
    return await verify_server(on, replicaserver)


@operation("Availability", changes=False)
async def verify_all(on: Running) -> Result:
    """Look at all servers fully."""
    on.engine.take(await on.engine.observer.verify())
    return _all(on)


@operation("Availability", changes=True, verify="look fully, not only lightly")
async def failover_check(on: Running, verify: bool = False) -> Result:
    """The periodic check: look, decide, and fail over if the rules say so."""
    return await on.check.run(verify=verify)


def _master_name(on: Running) -> str:
    master = on.engine.cluster.master
    if master is None:
        raise RefusedError(f"{len(on.engine.cluster.masters)} servers are recorded as master instead of one")
    return master.name


def _all(on: Running) -> Result:
    cluster = on.engine.cluster
    fit = [m.name for m in cluster.replicas if m.status.health in (Health.HEALTHY, Health.LAGGED)]
    told = {"servers": {name: shown(member) for name, member in cluster.members.items()}, "failover_ok": bool(fit)}
    well = cluster.status.health in _WELL
    return (success if well else fail)(cluster.status.reason, **told, **cluster.status.as_dict())
