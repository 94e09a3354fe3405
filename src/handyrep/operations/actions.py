"""Operations that act on servers. Each looks afterwards: SUCCESS means that what was asked was seen to be so."""

import dataclasses
from typing import Literal

from handyrep.decide import stages
from handyrep.decide.failover import Situation
from handyrep.engine.check import new_run
from handyrep.engine.hands import said
from handyrep.engine.state import to_json
from handyrep.errors import RefusedError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Run, RunKind, Step
from handyrep.model.server import Role, Server
from handyrep.operations.declare import Running, operation
from handyrep.operations.information import member_or_refuse
from handyrep.operations.servers import free_of_runs
from handyrep.plugin_api.contract import Kind


async def only_if_active(on: Running) -> None:
    """Raises RefusedError when another HandyRep is the HandyRep master."""
    active = await on.engine.hands.may_act()
    if active.outcome is not Outcome.SUCCESS:
        raise RefusedError(f"this HandyRep is not the HandyRep master: {said(active)}")


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
    "Actions",
    changes=True,
    newmaster="the replica to become master; left out: HandyRep chooses",
    remaster="let the others follow the new master; left out: as configured",
)
async def manual_failover(on: Running, newmaster: str | None = None, remaster: bool | None = None) -> Result:
    """Make another server the master: a switchover while the master lives, else a failover, which needs a proof as always."""
    async with on.engine.changing("a change of master"):
        alive = await _looked(on, newmaster)
        kind = RunKind.SWITCHOVER if alive else RunKind.FAILOVER
        run = new_run(on.engine, kind, "asked for by a person", wanted=newmaster or "", remaster=remaster)
        return await on.engine.conductor.begin(run)


@operation(
    "Actions",
    changes=True,
    cluster="name of the cluster, as a proof that this is the one you mean",
    reason="why you are sure that the old master is off and cannot come back by itself; it is recorded",
    newmaster="the replica to become master; left out: HandyRep chooses",
    accept_loss="go on even if acknowledged commits may be lost",
)
async def confirmed_failover(
    on: Running, cluster: str, reason: str, newmaster: str | None = None, accept_loss: bool = False
) -> Result:
    """Fail over on your word that the old master is off, where no fence can prove it. If it is not off, the data forks."""
    if cluster != on.engine.cluster.name:
        raise RefusedError(f"this cluster is named {on.engine.cluster.name}, not {cluster!r}: nothing was done")
    if not reason.strip():
        raise RefusedError("the reason is empty: say why you are sure that the old master is off")
    async with on.engine.changing("a failover on a person's word"):
        if await _looked(on, newmaster):
            raise RefusedError(
                f"{on.engine.cluster.masters[0].name} accepts connections, so it is not off",
                remedy="To change the master while it lives: handyrep manual-failover",
            )
        run = new_run(on.engine, RunKind.FAILOVER, "asked for by a person, on their word", wanted=newmaster or "")
        run = dataclasses.replace(run, confirmed=reason.strip(), loss_accepted=accept_loss)
        return await on.engine.conductor.begin(run)


async def _looked(on: Running, newmaster: str | None) -> bool:
    """Whether the master accepts connections, after everything that a change of master needs first. Raises RefusedError."""
    await only_if_active(on)
    free_of_runs(on)
    if newmaster is not None:
        _can_be_master(on, newmaster)
    picture = await on.engine.observer.suspect(suspected_for_s=on.engine.settings.failover.poll_interval)
    on.engine.take(picture)
    _not_split(Situation(cluster=on.engine.cluster, picture=picture, policy=on.engine.policy))
    master = on.engine.cluster.master
    return master is not None and picture.of(master.name).up is Answer.YES


def _can_be_master(on: Running, name: str) -> None:
    server = postgres_or_refuse(on, name)
    if server.role == Role.MASTER:
        raise RefusedError(f"{name} is the master already")
    if not server.enabled:
        raise RefusedError(f"{name} is disabled", remedy=f"handyrep enable {name}")


def _not_split(situation: Situation) -> None:
    if not situation.master_name:
        raise RefusedError("there is not exactly one recorded master")
    if situation.writable_servers not in ((), (situation.master_name,)):
        raise RefusedError(
            f"{' and '.join(situation.writable_servers)} take writes: which one is right must be settled first"
        )


@operation("Actions", changes=True, newmaster="the replica to promote")
async def promote(on: Running, newmaster: str) -> Result:
    """The same as manual_failover to this replica, without letting the others follow."""
    return await manual_failover(on, newmaster, remaster=False)


@operation(
    "Actions", changes=True, replica="name of the replica", newmaster="whom it shall follow; left out: the master"
)
async def remaster(on: Running, replica: str, newmaster: str | None = None) -> Result:
    """Let a replica receive from the master, and look until it does."""
    async with on.engine.changing(f"re-pointing {replica}"):
        await only_if_active(on)
        free_of_runs(on)
        server = postgres_or_refuse(on, replica)
        master = on.engine.cluster.master
        if server.role == Role.MASTER or master is None:
            raise RefusedError(f"{replica} cannot follow: it is the master, or there is not exactly one")
        if newmaster not in (None, master.name):
            raise RefusedError(f"{newmaster} is not the master; replicas of replicas are not supported")
        if await on.engine.observer.running(server) is Answer.NO:
            result = await on.engine.executor.rejoin(replica, master.name)
        else:
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
    async with on.engine.changing(f"cloning {replica}"):
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
        if newmaster is not None and (master is None or newmaster != master.name):
            raise RefusedError(f"{newmaster} is not the master: proxies would lead writers to a replica")
        return await on.engine.hands.use(Kind.CONNECTION_FAILOVER, newmaster=newmaster)


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


@operation(
    "Actions", changes=True, decision="retry: try once more what failed; settled: it was put right by hand, close it"
)
async def answer(on: Running, decision: Literal["retry", "settled"]) -> Result:
    """Answer the question that HandyRep stands still for."""
    async with on.engine.changing("answering"):
        await only_if_active(on)
        run = on.engine.journal.open_run()
        if run is not None and decision == "settled":
            _is_recorded(on, run)
        on.engine.thaw()
        if run is None:
            return success("automation goes on")
        if decision == "settled":
            on.engine.journal.close(run, "settled", "a person put it right by hand")
            on.engine.take(await on.engine.observer.verify())
            return success(f"{run.kind.value} {run.epoch} is closed; the statuses are fresh", epoch=run.epoch)
        return await on.engine.conductor.lead(run.without_last_failure())


def _is_recorded(on: Running, run: Run) -> None:
    """A new master that was seen to take writes is recorded before anything else: else the old one could be started again."""
    confirmed = run.last(Step(stages.CONFIRM.id))
    if confirmed is None or confirmed.outcome is not Outcome.SUCCESS:
        return
    master = on.engine.cluster.master
    if master is None or master.name != run.new_master:
        raise RefusedError(
            f"{run.new_master} took writes and is not recorded as the master", remedy="Record it: handyrep answer retry"
        )
