"""Carries out one step of a failover or switchover by calling plugins, then looks. Never decides what comes next.

A step that acts and gets no clear answer is UNCERTAIN. The table at the end is the only link from a stage's id to what it does.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from handyrep.config.settings import Settings
from handyrep.decide import stages
from handyrep.decide.assess import assess
from handyrep.decide.candidates import choose
from handyrep.decide.policy import Policy
from handyrep.engine.hands import Hands, numbered, said
from handyrep.engine.observe import Observer
from handyrep.engine.state import State
from handyrep.model.answer import Answer, Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Run, RunKind, Step
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Clock

_LOOK_EVERY_S = 0.05
_CONFIRM_FOR_S = 5.0
"""One confirm step looks for so long; the engine repeats it for as long as it takes."""


class Executor:
    """One method a stage. Each returns a Result whose extra keys go into the journal."""

    def __init__(
        self, hands: Hands, observer: Observer, state: State, settings: Settings, policy: Policy, clock: Clock
    ) -> None:
        self._hands = hands
        self._observer = observer
        self._state = state
        self._settings = settings
        self._policy = policy
        self._clock = clock

    async def execute(self, run: Run, step: Step) -> Result:
        """Do it, and say how it ended."""
        return await _STAGES[step.stage](self, run, step.subject)

    def _server(self, name: str) -> Server:
        return self._state.cluster.members[name].server

    async def _recheck(self, run: Run, _: str) -> Result:
        picture = await self._observer.suspect(suspected_for_s=self._settings.failover.fail_retry_interval)
        self._state.update(assess(self._state.cluster, picture))
        seen = picture.of(run.old_master)
        dead_at_home = seen.host_answers is Answer.YES and seen.sees_master is Answer.NO
        others = [
            name for name, one in picture.seen.items() if name != run.old_master and one.sees_master is Answer.YES
        ]
        if seen.up is Answer.YES or (seen.alive is Answer.YES and not dead_at_home):
            return fail(f"{run.old_master} answers again")
        if others and not dead_at_home:
            return fail(f"{' and '.join(others)} can still see {run.old_master}")
        return success(f"{run.old_master} is still gone")

    async def _preflight(self, run: Run, _: str) -> Result:
        picture = await self._observer.verify()
        self._state.update(assess(self._state.cluster, picture))
        seen = picture.of(run.old_master)
        if seen.writable is not Answer.YES:
            return fail(f"{run.old_master} does not take writes ({'; '.join(seen.notes)}), so this would be a failover")
        if seen.running is not Answer.YES:
            said_so = "; ".join(seen.notes)
            return fail(
                f"the service of {run.old_master} is not settled, so stopping it might not be clean ({said_so})"
            )
        for fence in run.fences:
            possible = await self._hands.use(Kind.FENCE, "test", name=fence, servername=run.old_master)
            if possible.outcome is Outcome.SUCCESS:
                return success(f"{run.old_master} is well and {fence} can stop it")
        return fail(
            f"none of {', '.join(run.fences) or 'no fence_methods'} could prove that {run.old_master} has stopped"
        )

    async def _fence(self, run: Run, fence: str) -> Result:
        if fence == stages.CONFIRMATION:
            word = f"a person is sure that {run.old_master} is off and stays off: {run.confirmed}"
            return success(word, proof=word)
        result = await self._hands.use(Kind.FENCE, name=fence, servername=run.old_master)
        if result.outcome is Outcome.SUCCESS and not result.extra.get("proof"):
            return fail(f"{fence} said SUCCESS without telling its proof, which proves nothing")
        return result

    async def _choose(self, run: Run, _: str) -> Result:
        picture, old = await asyncio.gather(self._observer.verify(*run.replicas), self._observer.facts(run.old_master))
        if run.kind is RunKind.FAILOVER and old is not None and not old.in_recovery:
            return fail(f"{run.old_master} takes logins as a master again, so what was proven of it is void")
        ordered, why_none = await self._hands.select()
        last_lsn = self._last_lsn(run, picture)
        slack_bytes = self._policy.max_lost_wal_bytes if run.kind is RunKind.SWITCHOVER else 0
        choice = choose(
            ordered,
            self._state.cluster,
            picture,
            dataclasses.replace(self._policy, loss_accepted=run.loss_accepted),
            last_lsn=last_lsn,
            wanted=run.wanted,
            slack_bytes=slack_bytes,
        )
        excluded = {e.name: e.reason for e in choice.excluded}
        if choice.candidate is None:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in excluded.items())
            return fail(
                f"no replica may take over: {reasons or why_none or 'the selection plugin named none'}",
                excluded=excluded,
            )
        return success(
            f"{choice.candidate}: {choice.proof}",
            candidate=choice.candidate,
            lost_bytes=choice.lost_bytes,
            excluded=excluded,
        )

    def _last_lsn(self, run: Run, picture: Picture) -> Lsn | None:
        """In a switchover the master still writes when the candidate is chosen: catch_up gives the data proof later."""
        if run.kind is RunKind.SWITCHOVER:
            known = [seen.facts.received_lsn for seen in picture.seen.values() if seen.facts is not None]
            return max(known, default=None)
        try:
            return Lsn.parse(run.last_lsn)
        except ValueError:
            return None

    async def _catch_up(self, run: Run, _: str) -> Result:
        try:
            wanted = Lsn.parse(run.last_lsn)
        except ValueError:
            return fail(
                f"the end of {run.old_master}'s WAL was not read on its disk, so nothing proves that {run.new_master} has it all"
            )

        async def has_it() -> bool:
            facts = await self._observer.facts(run.new_master)
            return facts is not None and facts.received_lsn >= wanted

        if await self._until(has_it, self._settings.failover.start_timeout):
            return success(f"{run.new_master} has the WAL of {run.old_master} to its end at {wanted}")
        return fail(f"{run.new_master} did not receive the WAL of {run.old_master} to its end at {wanted}")

    async def _promote(self, run: Run, _: str) -> Result:
        return await self._hands.use(Kind.PROMOTION, server=self._server(run.new_master))

    async def _confirm(self, run: Run, _: str) -> Result:
        told: dict[str, object] = {}

        async def writes() -> bool:
            facts = await self._observer.facts(run.new_master)
            if facts is None or facts.in_recovery:
                return False
            told.update(timeline=facts.timeline, synchronous_standby_names=facts.synchronous_standby_names)
            written = await self._hands.use(Kind.INSPECT, "write", server=self._server(run.new_master))
            return written.outcome is Outcome.SUCCESS

        if await self._until(writes, _CONFIRM_FOR_S):
            return success(f"{run.new_master} takes writes", **told)
        return uncertain(f"{run.new_master} was ordered to become the master and does not take writes yet")

    async def _record(self, run: Run, _: str) -> Result:
        cluster = self._state.cluster
        old, new = cluster.members[run.old_master], cluster.members[run.new_master]
        cluster = cluster.with_member(
            dataclasses.replace(old, server=dataclasses.replace(old.server, role=Role.REPLICA))
        )
        cluster = cluster.with_member(
            dataclasses.replace(new, server=dataclasses.replace(new.server, role=Role.MASTER))
        )
        confirmed = run.last(Step(stages.CONFIRM.id))
        told = confirmed.extra if confirmed is not None else {}
        cluster = dataclasses.replace(
            cluster,
            epoch=run.epoch,
            failed_over_at=self._clock.now(),
            timeline=max(cluster.timeline, int(told.get("timeline", 0))),
            synchronous_standby_names=str(told.get("synchronous_standby_names", "")),
        )
        self._state.update(cluster)
        return success(f"{run.new_master} is the master in epoch {run.epoch}")

    async def _repoint(self, run: Run, _: str) -> Result:
        if not self._hands.configured(Kind.CONNECTION_FAILOVER):
            return success("no connection proxies are configured")
        return await self._hands.use(Kind.CONNECTION_FAILOVER, newmaster=run.new_master)

    async def _follow(self, run: Run, name: str) -> Result:
        return await self.follow(name, run.new_master)

    async def follow(self, name: str, master: str) -> Result:
        """Let a running replica receive from `master`, and look until it does."""
        ordered = await self._hands.use(Kind.FOLLOW, server=self._server(name), newmaster=master)
        if ordered.outcome is Outcome.FAIL:
            return ordered
        if await self._until(lambda: self._streams(name), self._settings.failover.start_timeout):
            return success(f"{name} receives from {master}")
        return fail(f"{name} was told to receive from {master} and does not yet")

    async def _streams(self, name: str) -> bool:
        result = await self._hands.use(Kind.REPLICATION_STATUS, server=self._server(name))
        return result.outcome is Outcome.SUCCESS and result.extra.get("replicating") is True

    async def _rejoin(self, run: Run, _: str) -> Result:
        return await self.rejoin(run.old_master, run.new_master)

    async def rejoin(self, name: str, master: str) -> Result:
        """Bring a stopped former master back as a replica of `master`, and look until it receives."""
        result = await self._hands.use(Kind.REJOIN, server=self._server(name), newmaster=master)
        if result.outcome is Outcome.FAIL:
            return result
        if await self._until(lambda: self._streams(name), self._settings.failover.start_timeout):
            return success(f"{name} is a replica of {master}", **dict(result.extra))
        return fail(f"{name} was started as a replica of {master} and does not receive yet: {said(result)}")

    async def _extra(self, _: Run, name: str) -> Result:
        command = next((c for c in self._settings.extra_failover_commands if c.name == name), None)
        if command is None:
            return fail(f"there is no command {name!r} in the configuration any more")
        return await self._hands.use(Kind.EXTRA_COMMAND, name=command.command, **numbered(command.parameters))

    async def _release(self, run: Run, fence: str) -> Result:
        if fence == stages.CONFIRMATION:
            return success("a person's word left nothing behind")
        return await self._hands.use(Kind.FENCE, "release", name=fence, servername=run.old_master)

    async def _start(self, run: Run, _: str) -> Result:
        server = self._server(run.old_master)
        await self._hands.use(Kind.RESTART, server=server, runmode="start")

        async def writes() -> bool:
            written = await self._hands.use(Kind.INSPECT, "write", server=server)
            return written.outcome is Outcome.SUCCESS

        if await self._until(writes, self._settings.failover.start_timeout):
            return success(f"{run.old_master} takes writes again")
        return fail(f"{run.old_master} was started again and takes no writes")

    async def _until(self, holds: Callable[[], Awaitable[bool]], limit_s: float) -> bool:
        """Look again and again until it holds or `limit_s` has passed; at least once."""
        end = self._clock.monotonic() + limit_s
        while True:
            if await holds():
                return True
            if self._clock.monotonic() >= end:
                return False
            await self._clock.sleep(_LOOK_EVERY_S)


_STAGES: dict[str, Callable[[Executor, Run, str], Awaitable[Result]]] = {
    stages.RECHECK.id: Executor._recheck,  # noqa: SLF001 - the table belongs to the class
    stages.PREFLIGHT.id: Executor._preflight,  # noqa: SLF001
    stages.FENCE.id: Executor._fence,  # noqa: SLF001
    stages.CHOOSE.id: Executor._choose,  # noqa: SLF001
    stages.CATCH_UP.id: Executor._catch_up,  # noqa: SLF001
    stages.PROMOTE.id: Executor._promote,  # noqa: SLF001
    stages.CONFIRM.id: Executor._confirm,  # noqa: SLF001
    stages.RECORD.id: Executor._record,  # noqa: SLF001
    stages.REPOINT.id: Executor._repoint,  # noqa: SLF001
    stages.FOLLOW.id: Executor._follow,  # noqa: SLF001
    stages.REJOIN.id: Executor._rejoin,  # noqa: SLF001
    stages.EXTRA.id: Executor._extra,  # noqa: SLF001
    stages.RELEASE.id: Executor._release,  # noqa: SLF001
    stages.START.id: Executor._start,  # noqa: SLF001
}
