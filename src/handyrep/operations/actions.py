"""Operations that act on servers. Each looks afterwards: SUCCESS means that what was asked was seen to be so."""

from handyrep.engine.hands import said
from handyrep.engine.kept_up import let_start
from handyrep.engine.state import to_json
from handyrep.errors import RefusedError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.server import Role, Server
from handyrep.operations.declare import Running, operation
from handyrep.operations.information import member_or_refuse
from handyrep.operations.servers import free_of_runs
from handyrep.plugin_api.contract import Kind


async def only_if_active(on: Running) -> None:
    """Raises RefusedError when another HandyRep is the HandyRep master."""
    active = await on.engine.may_act()
    if active.outcome is not Outcome.SUCCESS:
        raise RefusedError(f"this HandyRep may not act: {said(active)}")


def postgres_or_refuse(on: Running, name: str) -> Server:
    """The enabled PostgreSQL server of that name. Raises RefusedError."""
    server = member_or_refuse(on.engine.cluster, name).server
    if not server.is_postgres:
        raise RefusedError(f"{name} is not a PostgreSQL server of this cluster: its role is {server.role}")
    return server


@operation("Actions", changes=True)
async def init_handyrep_db(on: Running) -> Result:
    """Create HandyRep's table on the master and write the present state into it."""
    async with on.engine.changing("making the handyrep table"):
        master = on.engine.cluster.master
        if master is None:
            raise RefusedError("there is not exactly one recorded master")
        await on.table.create(master.server)
        await on.table.write(master.server, on.engine.cluster, to_json(on.engine.cluster))
        row = await on.table.read(master.server)
        return success(
            f"the table {on.engine.settings.handyrep.handyrep_table} stands on {master.name}", columns=sorted(row or {})
        )


@operation("Actions", changes=True, server="name of the server")
async def startup(on: Running, server: str) -> Result:
    """Start PostgreSQL on a server, and look whether it runs. A former master is not started this way."""
    async with on.engine.changing(f"starting {server}"):
        await only_if_active(on)
        free_of_runs(on)
        return await _restarted(on, postgres_or_refuse(on, server), "start", Answer.YES)


@operation("Actions", changes=True, server="name of the server", fast="stop without waiting for clients")
async def shutdown(on: Running, server: str, fast: bool = True) -> Result:
    """Stop PostgreSQL on a server, and look whether it stopped."""
    async with on.engine.changing(f"stopping {server}"):
        await only_if_active(on)
        free_of_runs(on)
        return await _restarted(on, postgres_or_refuse(on, server), "faststop" if fast else "stop", Answer.NO)


@operation("Actions", changes=True, server="name of the server")
async def restart(on: Running, server: str) -> Result:
    """Restart PostgreSQL on a server, and look whether it runs."""
    async with on.engine.changing(f"restarting {server}"):
        await only_if_active(on)
        free_of_runs(on)
        return await _restarted(on, postgres_or_refuse(on, server), "restart", Answer.YES)


async def _restarted(on: Running, server: Server, runmode: str, wanted: Answer) -> Result:
    seen = (await on.engine.observer.poll(server.name)).of(server.name)
    if seen.stranger:
        raise RefusedError(
            f"a PostgreSQL of another cluster answers in the place of {server.name} (system identifier {seen.stranger})"
        )
    if wanted is Answer.YES:
        await let_start(on.engine.hands, on.engine.settings, on.engine.cluster, server.name)
    ordered = await on.engine.hands.use(Kind.RESTART, server=server, runmode=runmode)
    running = await on.engine.observer.running(server)
    on.engine.take(await on.engine.observer.verify(server.name))
    if running is wanted:
        return success(f"{server.name}: {runmode} done; it {'runs' if running is Answer.YES else 'does not run'}")
    if running is Answer.UNKNOWN:
        return uncertain(f"{server.name}: {runmode} was ordered and whether it runs cannot be told: {said(ordered)}")
    return fail(
        f"{server.name}: {runmode} was ordered and it {'still runs' if wanted is Answer.NO else 'does not run'}: {said(ordered)}"
    )


@operation(
    "Actions", changes=True, replica="name of the replica", newmaster="whom it shall follow; left out: the master"
)
async def remaster(on: Running, replica: str, newmaster: str | None = None) -> Result:
    """Let a replica receive from the master, and look until it does."""
    await only_if_active(on)
    free_of_runs(on)
    server = postgres_or_refuse(on, replica)
    master = on.engine.cluster.master
    if server.role == Role.MASTER or master is None:
        raise RefusedError(f"{replica} cannot follow: it is the master, or there is not exactly one")
    if newmaster not in (None, master.name):
        raise RefusedError(f"{newmaster} is not the master; replicas of replicas are not supported")
    if await on.engine.observer.running(server) is Answer.NO:
        with on.engine.working_on(replica, "bringing it back"):
            result = await on.engine.executor.rejoin(replica, master.name)
    else:
        async with on.engine.changing(f"re-pointing {replica}"):
            result = await on.engine.executor.follow(replica, master.name)
    on.engine.take(await on.engine.observer.verify(replica))
    return result


@operation(
    "Actions",
    changes=True,
    replica="server on which the copy is made",
    reclone="overwrite what is there",
    clonefrom="server to copy; left out: the master",
)
async def clone(on: Running, replica: str, reclone: bool = False, clonefrom: str | None = None) -> Result:
    """Make a replica by copying the master."""
    with on.engine.working_on(replica, "cloning"):
        await only_if_active(on)
        free_of_runs(on)
        server = postgres_or_refuse(on, replica)
        source = clonefrom or (on.engine.cluster.master.name if on.engine.cluster.master else "")
        postgres_or_refuse(on, source)
        if server.role == Role.MASTER or replica == source:
            raise RefusedError(f"{replica} is the master or the source itself; a clone would overwrite it")
        result = await on.engine.hands.use(Kind.CLONE, server=server, clonefrom=source, reclone=reclone)
        if server.enabled:
            on.engine.take(await on.engine.observer.verify(replica))
        return result


@operation("Actions", changes=True, newmaster="whom the proxies shall point at; left out: the master")
async def connection_failover(on: Running, newmaster: str | None = None) -> Result:
    """Point every connection proxy at the master."""
    async with on.engine.changing("re-pointing the proxies"):
        await only_if_active(on)
        free_of_runs(on)
        master = on.engine.cluster.master
        if master is None:
            raise RefusedError("there is not exactly one recorded master to lead the proxies to")
        if newmaster not in (None, master.name):
            raise RefusedError(f"{newmaster} is not the master: proxies would lead writers to a replica")
        return await on.engine.executor.repoint(master.name)


@operation("Actions", changes=True, bouncerserver="one proxy; left out: all")
async def connection_proxy_init(on: Running, bouncerserver: str | None = None) -> Result:
    """Write the configuration of the connection proxies."""
    async with on.engine.changing("writing the proxies' configuration"):
        await only_if_active(on)
        free_of_runs(on)
        return await on.engine.hands.use(Kind.CONNECTION_FAILOVER, "init", bouncerserver=bouncerserver)


@operation("Actions", changes=True)
async def cleanup_archive(on: Running) -> Result:
    """Delete WAL from the archive that is old and needed by nobody."""
    async with on.engine.changing("cleaning the archive"):
        await only_if_active(on)
        return await on.engine.hands.use(Kind.ARCHIVE_DELETE)


@operation("Actions", changes=True)
async def start_archiving(on: Running) -> Result:
    """Start WAL archiving."""
    async with on.engine.changing("starting archiving"):
        await only_if_active(on)
        return await on.engine.hands.use(Kind.ARCHIVE_SCRIPT, "start")


@operation("Actions", changes=True)
async def stop_archiving(on: Running) -> Result:
    """Stop WAL archiving."""
    async with on.engine.changing("stopping archiving"):
        await only_if_active(on)
        return await on.engine.hands.use(Kind.ARCHIVE_SCRIPT, "stop")
