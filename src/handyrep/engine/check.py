"""The periodic check: look, decide by the rule table, and act on the verdict. Also behind the operation failover_check."""

import dataclasses

from handyrep.decide.failover import Proof, Situation, judge
from handyrep.decide.foresight import foresee, is_final
from handyrep.decide.protection import protection
from handyrep.engine.agreeing import Agreeing
from handyrep.engine.doubt import Doubt
from handyrep.engine.engine import Engine
from handyrep.engine.fork import fence_returned, hold_clients
from handyrep.engine.hands import said
from handyrep.engine.heirs import Heirs
from handyrep.engine.kept_up import let_start
from handyrep.engine.pauses import cooldown_left_s, maintenance_left_s
from handyrep.engine.preparing import Preparing
from handyrep.engine.proofs import fenced_by, looked_and_tested, proofs
from handyrep.engine.proxies import Proxies
from handyrep.engine.returning import Returning
from handyrep.engine.rounds import Rounds
from handyrep.engine.slots import KeptForNobody
from handyrep.engine.upkeep import Upkeep
from handyrep.engine.verdicts import InMemory, Verdicts
from handyrep.errors import BusyError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Run, RunKind
from handyrep.model.verdict import Choice, Move, Verdict
from handyrep.plugin_api.contract import Kind
from handyrep.ports import VerdictLog

YES, NO = Answer.YES, Answer.NO


class Check:
    """Holds what must be remembered from one check to the next: since when the master is suspected, and restarts tried.

    `verdicts`: those that were kept in `log`.
    """

    def __init__(self, engine: Engine, log: VerdictLog | None = None) -> None:
        self._engine = engine
        self._polls = 0
        self._suspected_since: float | None = None
        self._unheard_since = 0.0
        self._restarts_tried = 0
        self._told = ""
        self._unwritten = False
        self._late: tuple[Picture, ...] = ()
        self._epoch = 0
        self.verdicts = Verdicts(InMemory(engine.clock) if log is None else log, engine.clock)
        self.returning = Returning(engine)
        self.proxies = Proxies(engine)
        self.preparing = Preparing(engine)
        self.upkeep = Upkeep(engine)
        failover = engine.settings.failover
        self.rounds = Rounds(engine.observer, engine.state, engine.clock, failover.call_timeout)
        self._doubt = Doubt(engine.observer, engine.clock, failover)
        self._slots = KeptForNobody(engine.hands, engine.events)
        self.agreeing = Agreeing(engine)
        self.heirs = Heirs(engine)

    async def run(self, *, verify: bool) -> Result:
        """One check. With `verify` the look is a full one in any case."""
        engine = self._engine
        if engine.copies.behind:
            await engine.may_act()
        self._epoch = engine.journal.last_epoch()
        resumed = await self._resumed()
        if resumed is not None:
            return resumed
        began = engine.clock.monotonic()
        picture = await self._look(verify=verify)
        master = engine.cluster.master
        if master is None or picture.of(master.name).up is YES:
            engine.take(picture)
            if master is not None and picture.of(master.name).stalled is YES:
                self.upkeep.tend(picture)
            doubtful = any(_doubtful(one, engine.cluster) for one in (picture, *self._late))
            return await (self._suspect(began) if doubtful else self._found_well(picture))
        if self._suspected_since is None and not await self._doubt.lasts(master, began):
            self._doubt.is_over(began)
            return success(f"{master.name} answers again after a pause")
        return await self._suspect(began)

    async def _found_well(self, picture: Picture) -> Result:
        """The master is; what else is to be seen to?"""
        engine = self._engine
        if self._suspected_since is not None:
            self._doubt.is_over(self._suspected_since)
        self._calm()
        self.upkeep.tend(picture)
        await self._measure(picture)
        left_s = maintenance_left_s(engine)
        if not engine.cluster.frozen and not left_s:
            await self._tend(picture)
        situation = Situation(cluster=engine.cluster, picture=picture, policy=engine.policy, maintenance_left_s=left_s)
        verdict = self._tell(situation)
        return success(verdict.sentence, rule=verdict.rule)

    async def _suspect(self, began: float) -> Result:
        """Something is wrong since the look that began then: the look from everywhere, a verdict, and what it says."""
        if self._suspected_since is None:
            self._suspected_since = self._unheard_since = began
        return await self._act(await self._situation())

    async def _tend(self, picture: Picture) -> None:
        """What is put right while the master is well: the list of synchronous replicas at once, the rest beside the checks."""
        if picture.verified and await self.agreeing.tend(picture):
            self._polls = 0
        self.proxies.tend(picture)
        for full in (one for one in (picture, *self._late) if one.verified):
            self.returning.tend(full)
            self.heirs.tend(full)
        self.preparing.tend(picture)

    async def close(self) -> None:
        """End what is done beside the checks."""
        engine = self._engine
        await self.rounds.close()
        for work in (self.proxies.beside, self.returning.beside, self.upkeep.beside, engine.giving_way, engine.holding):
            await work.close()

    async def _look(self, *, verify: bool) -> Picture:
        self._polls += 1
        full = self._unwritten or self._polls % self._engine.settings.failover.verify_frequency == 0
        whole = verify or self._polls == 1
        picture = await (self._engine.observer.verify() if whole else self.rounds.look(verified=full))
        self._late = () if whole else self.rounds.late
        for late in self._late:
            self._engine.take(late)
        master = self._engine.cluster.master
        seen = picture.of(master.name if master else "")
        self._unwritten = picture.verified and seen.up is YES and seen.writable is not YES
        return picture

    async def _resumed(self) -> Result | None:
        """A run that stands open comes before anything else. It is read again once nobody else can lead it."""
        engine = self._engine
        run = engine.journal.open_run()
        if run is None:
            return None
        active = await engine.may_act()
        if active.outcome is not Outcome.SUCCESS:
            return fail(f"a {run.kind.value} stands open, but this HandyRep may not act: {said(active)}")
        async with engine.changing(f"{run.kind.value} {run.epoch}"):
            run = engine.journal.open_run()
            return None if run is None else await engine.conductor.lead(run)

    async def _situation(self) -> Situation:
        """The look from everywhere, and all else that the rules ask for.

        What a replica heard counts from about the look before on: call_timeout earlier, so that none falls between two looks.
        """
        engine = self._engine
        active = await engine.may_act()
        began = engine.clock.monotonic()
        silent_s = began - self._unheard_since
        picture, possible = await looked_and_tested(engine, silent_s)
        self._unheard_since = max(self._unheard_since, began - engine.settings.failover.call_timeout)
        engine.heed(picture)
        return Situation(
            cluster=engine.cluster,
            picture=picture,
            policy=engine.policy,
            is_active=YES if active.outcome is Outcome.SUCCESS else NO,
            passive=active.details,
            proofs=possible,
            choice=await foreseen(engine, picture, possible),
            cooldown_left_s=cooldown_left_s(engine),
            maintenance_left_s=maintenance_left_s(engine),
            restarts_tried=self._restarts_tried,
        )

    @property
    def _suspected_for_s(self) -> float:
        now_s = self._engine.clock.monotonic()
        return now_s - (now_s if self._suspected_since is None else self._suspected_since)

    async def _act(self, situation: Situation) -> Result:
        verdict = self._tell(situation)
        if verdict.move is Move.PROCEED:
            return await self._fail_over(verdict, situation)
        self._engine.state.update(self._engine.cluster)
        if verdict.move is Move.RESTART:
            return await self._restart_in_place(verdict)
        if verdict.move is Move.FENCE:
            self._not_overtaken()
            self._polls = 0
            return await fence_returned(self._engine, situation.returned)
        if verdict.move is Move.HOLD:
            return await hold_clients(self._engine, verdict)
        if verdict.move is Move.NOTHING:
            return success(verdict.sentence, rule=verdict.rule)
        return fail(verdict.sentence, rule=verdict.rule, failover_ok=False)

    async def _fail_over(self, verdict: Verdict, situation: Situation) -> Result:
        engine, picture = self._engine, situation.picture
        async with engine.changing("an automatic failover"):
            self._not_overtaken()
            run = new_run(engine, RunKind.FAILOVER, f"{verdict.rule}: {verdict.sentence}")
            seen = picture.of(run.old_master)
            run = dataclasses.replace(
                fenced_by(run, situation.proofs),
                was_running=seen.running is YES,
                suspected_for_s=round(self._suspected_for_s, 4),
                verdict=self.verdicts.number or 0,
            )
            result = await engine.conductor.begin(run)
        self._calm()
        self._polls = 0
        return result

    def _not_overtaken(self) -> None:
        """Raises BusyError when somebody began a change of master since this check began: what it saw is of another day."""
        if self._engine.journal.last_epoch() != self._epoch:
            raise BusyError("a change of master was begun meanwhile", remedy="The next check looks anew.")

    async def _restart_in_place(self, verdict: Verdict) -> Result:
        engine = self._engine
        self._restarts_tried += 1
        master = engine.cluster.master
        if master is None:
            return fail(verdict.sentence)
        async with engine.changing("a restart of the master in place"):
            self._not_overtaken()
            await let_start(engine.hands, engine.settings, engine.cluster, master.name)
            result = await engine.hands.use(Kind.RESTART, server=master.server, runmode="start")
        engine.events.record("restart", f"{master.name} was started in place: {result.outcome.value.lower()}", {})
        return result

    async def _measure(self, picture: Picture) -> None:
        """The level of protection, by a dry run of each fence, whenever the look was a full one."""
        engine = self._engine
        if not picture.verified:
            return
        now = protection(engine.cluster, picture, await proofs(engine))
        if engine.protection is None or engine.protection.level is not now.level:
            told = f"protection: {now.sentence}" + (f"; not covered: {now.uncovered}" if now.uncovered else "")
            facts = {"level": now.level.value, "missing": "; ".join(now.missing), "uncovered": now.uncovered}
            engine.events.record("protection", told, facts)
        engine.protection = now
        await self._slots.look()

    def _calm(self) -> None:
        self._suspected_since = None
        self._restarts_tried = 0

    def _tell(self, situation: Situation) -> Verdict:
        """Judge, keep the verdict for explain, and tell of it once, when it changes."""
        engine, verdict = self._engine, judge(situation)
        if verdict.rule != self._told and not (self._told == "" and verdict.rule == "F07"):
            facts = {"rule": verdict.rule, "move": verdict.move.value, "because": list(verdict.because)}
            engine.events.record("verdict", f"{verdict.rule}: {verdict.sentence}", facts)
        self._told = verdict.rule
        engine.last_verdict = verdict
        self.verdicts.take(situation, verdict)
        return verdict


def _doubtful(picture: Picture, cluster: Cluster) -> bool:
    """Whether a rule may have something to say although connections are accepted in the master's place."""
    if cluster.master is None:
        return True
    seen = picture.of(cluster.master.name)
    second = (one.facts for name, one in picture.seen.items() if name != cluster.master.name)
    is_replica = seen.facts is not None and seen.facts.in_recovery
    odd = is_replica or bool(seen.stranger) or seen.stalled is YES
    return odd or any(facts is not None and not facts.in_recovery for facts in second)


async def foreseen(engine: Engine, picture: Picture, found: tuple[Proof, ...]) -> Choice:
    """The candidate as it looks before the first of these fences that could give its proof."""
    ordered, _ = await engine.hands.select()
    final, estimated = is_final(found), engine.estimated_end
    return foresee(ordered, engine.cluster, picture, engine.policy, final=final, estimated=estimated)


def new_run(engine: Engine, kind: RunKind, reason: str, *, wanted: str = "", remaster: bool | None = None) -> Run:
    """A run of the next epoch from the cluster as it is recorded now. Needs exactly one recorded master."""
    cluster = engine.cluster
    if cluster.master is None:
        raise AssertionError("the rules let a run begin only with one recorded master")
    return Run(
        kind=kind,
        epoch=engine.journal.next_epoch(cluster.epoch),
        old_master=cluster.master.name,
        began_at=engine.clock.now(),
        reason=reason,
        fences=engine.settings.failover.fence_methods,
        replicas=tuple(member.name for member in cluster.replicas),
        extra_commands=tuple(command.name for command in engine.settings.extra_failover_commands),
        wanted=wanted,
        remaster=engine.policy.remaster if remaster is None else remaster,
        was_running=kind is RunKind.SWITCHOVER,
        proxies=engine.hands.configured(Kind.CONNECTION_FAILOVER) if engine.hands.can_hold_clients(kind) else "",
        synchronous=engine.policy.synchronous_required,
    )
