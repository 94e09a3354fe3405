"""Operations on who the master is: switchover, failover by hand, a person's word, an adoption, and the answers to HandyRep's questions."""

import dataclasses
from typing import Literal

from handyrep.decide import stages
from handyrep.decide.failover import Situation
from handyrep.engine.check import new_run
from handyrep.engine.fork import let_clients_on
from handyrep.engine.observe import Trying
from handyrep.engine.slots import sentences
from handyrep.errors import RefusedError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Seen
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Ended, Run, RunKind, Step
from handyrep.model.server import Role
from handyrep.operations.actions import only_if_active, postgres_or_refuse
from handyrep.operations.declare import Running, operation
from handyrep.operations.servers import free_of_runs


@operation(
    "Actions",
    changes=True,
    bare="newmaster",
    newmaster="the replica to become master; left out: HandyRep chooses",
    remaster="let the others follow the new master; left out: as configured",
    dry_run="only say what would be done, and all that speaks against it",
    anyway="do not wait for long or prepared transactions, nor for the archive",
)
async def manual_failover(
    on: Running,
    newmaster: str | None = None,
    remaster: bool | None = None,
    dry_run: bool = False,
    anyway: bool = False,
) -> Result:
    """Make another server the master: a switchover while the master lives, else a failover, which needs a proof as always."""
    async with on.engine.changing("a change of master"):
        master = await _looked(on, newmaster)
        able = master.up is Answer.YES and master.stalled is not Answer.YES
        kind = RunKind.SWITCHOVER if able else RunKind.FAILOVER
        run = new_run(on.engine, kind, "asked for by a person", wanted=newmaster or "", remaster=remaster)
        run = dataclasses.replace(run, anyway=anyway)
        return await (_rehearsed(on, run) if dry_run else on.engine.conductor.begin(run))


async def _rehearsed(on: Running, run: Run) -> Result:
    """What would be done, by steps that change nothing."""
    if run.kind is not RunKind.SWITCHOVER:
        raise RefusedError(
            f"{run.old_master} does not answer, so this would be a failover",
            remedy=f'See what it would do: handyrep what-if "{run.old_master} unreachable"',
        )
    for step in (Step(stages.PREFLIGHT.id), Step(stages.CHOOSE.id)):
        result = await on.engine.executor.execute(run, step)
        if result.outcome is not Outcome.SUCCESS:
            return fail(f"nothing was done, and nothing would be: {result.details}", **dict(result.extra))
        run = run.with_end(Ended(step, result.outcome, result.details, result.extra))
    warnings = [one for ended in run.ended for one in sentences(ended.extra.get("warnings"))]
    plan = stages.planned(run, str(run.ended[0].extra["fence"]), run.new_master)
    told = f"nothing was done; {run.new_master} would become the master"
    return success(told, candidate=run.new_master, plan=plan, warnings=warnings)


@operation(
    "Actions",
    changes=True,
    bare="newmaster",
    cluster="name of the cluster, as a proof that this is the one you mean",
    reason="why you are sure that the old master is off and cannot come back by itself; it is recorded",
    newmaster="the replica to become master; left out: HandyRep chooses",
    accept_loss="go on even if acknowledged commits may be lost",
)
async def confirmed_failover(
    on: Running, cluster: str, reason: str, newmaster: str | None = None, accept_loss: bool = False
) -> Result:
    """Fail over on your word that the old master is off, where no fence can prove it. If it is not off, the data forks."""
    is_this_cluster(on, cluster)
    if not reason.strip():
        raise RefusedError("the reason is empty: say why you are sure that the old master is off")
    async with on.engine.changing("a failover on a person's word"):
        if (await _looked(on, newmaster)).up is Answer.YES:
            raise RefusedError(
                f"{on.engine.cluster.masters[0].name} accepts connections, so it is not off",
                remedy="To change the master while it lives: handyrep manual-failover",
            )
        run = new_run(on.engine, RunKind.FAILOVER, "asked for by a person, on their word", wanted=newmaster or "")
        run = dataclasses.replace(run, confirmed=reason.strip(), loss_accepted=accept_loss)
        return await on.engine.conductor.begin(run)


def is_this_cluster(on: Running, cluster: str) -> None:
    """Raises RefusedError when a person means another cluster."""
    if cluster != on.engine.cluster.name:
        raise RefusedError(f"this cluster is named {on.engine.cluster.name}, not {cluster!r}: nothing was done")


async def _looked(on: Running, newmaster: str | None) -> Seen:
    """What is seen of the master, after everything that a change of master needs first. Raises RefusedError."""
    await only_if_active(on)
    free_of_runs(on)
    if newmaster is not None:
        _can_be_master(on, newmaster)
    picture = await on.engine.everywhere.look(on.engine.settings.failover.poll_interval, Trying.AGAIN)
    on.engine.take(picture)
    situation = Situation(cluster=on.engine.cluster, picture=picture, policy=on.engine.policy)
    _not_split(situation)
    return situation.master


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
    "Actions",
    changes=True,
    server="the server that takes writes and shall be the recorded master",
    cluster="name of the cluster, as a proof that this is the one you mean",
)
async def adopt(on: Running, server: str, cluster: str) -> Result:
    """Record a server that was promoted by hand as the master. The recorded one is fenced if it ever comes up as a master again."""
    is_this_cluster(on, cluster)
    async with on.engine.changing(f"making {server} the recorded master"):
        await only_if_active(on)
        free_of_runs(on)
        _can_be_master(on, server)
        picture = await on.engine.observer.verify()
        on.engine.take(picture)
        situation = Situation(cluster=on.engine.cluster, picture=picture, policy=on.engine.policy)
        if not situation.master_name:
            raise RefusedError("there is not exactly one recorded master")
        if situation.writable_servers != (server,):
            writable = " and ".join(situation.writable_servers) or "no server"
            raise RefusedError(
                f"{writable} takes writes: only a server that alone does can be adopted",
                remedy="Stop the others first: handyrep shutdown NAME",
            )
        _thaw(on)
        run = new_run(on.engine, RunKind.ADOPTION, "a person made it the master", wanted=server)
        return await on.engine.conductor.begin(run)


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
        clients = await let_clients_on(on.engine) if run is None and on.engine.cluster.frozen else ""
        _thaw(on)
        if run is None:
            return success(f"automation goes on{f'; {clients}' if clients else ''}")
        if decision == "settled":
            on.engine.journal.close(run, "settled", "a person put it right by hand")
            await on.engine.copies.spread()
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


def _thaw(on: Running) -> None:
    """A person has decided: automation goes on."""
    on.engine.state.update(dataclasses.replace(on.engine.cluster, frozen=""))
