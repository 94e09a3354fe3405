"""The engine's parts, put together, and the one lock that lets a single operation change the cluster at a time.

Owns no logic of its own beyond what every operation needs: looking and taking the look over into the state.
"""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from handyrep.config.settings import Settings
from handyrep.decide.assess import assess
from handyrep.decide.estimate import estimated_end, seen_again
from handyrep.decide.policy import Policy
from handyrep.decide.promise import remembered
from handyrep.decide.protection import Protection
from handyrep.engine.beside import Beside
from handyrep.engine.conduct import Conductor
from handyrep.engine.copies import Copies
from handyrep.engine.everywhere import Everywhere
from handyrep.engine.execute import Executor
from handyrep.engine.hands import Hands
from handyrep.engine.journal import Journal
from handyrep.engine.listening import Listening
from handyrep.engine.observe import Observer
from handyrep.engine.standing import Standing
from handyrep.engine.state import State
from handyrep.engine.steady import Steady
from handyrep.engine.steps.scene import Scene
from handyrep.errors import BusyError, HandyRepError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success
from handyrep.model.verdict import Verdict
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Clock, EventSink, RecordLog

_POLLS_OF_A_YES = 2
"""Whoever may act is left that right for at least three polls after it has asked for it."""


class Engine:
    """What operations and the monitor work with. `last_verdict`: what the rules said last, for `explain`.

    `protection`: as measured at the last full look at a well master; None before the first one. `giving_way`: work beside the checks that
    ends, wherever it stands, when an operation begins. `holding`: clients are being held back beside the steps of a failover.
    """

    def __init__(
        self, settings: Settings, caller: Caller, state: State, log: RecordLog, events: EventSink, clock: Clock
    ) -> None:
        self.settings = settings
        self.policy = policy_from(settings)
        self.state = state
        self.clock = clock
        self.events = events
        self.caller = caller
        self.hands = Hands(caller, settings, state)
        self.observer = Observer(self.hands, state)
        self.everywhere = Everywhere(self.observer, self.hands, state, clock)
        self.journal = Journal(log, clock)
        self.steady = Steady(clock)
        self.giving_way, self.holding = Beside(), Beside()
        self._worked_on: dict[str, str] = {}
        scene = Scene(
            self.hands,
            self.observer,
            self.everywhere,
            Listening(self.observer, clock),
            Standing(clock),
            state,
            events,
            settings,
            self.policy,
            clock,
            self.steady,
            self.holding,
            busy=self._worked_on.keys(),
        )
        self.executor = Executor(scene)
        self.copies = Copies(self.hands, self.journal, state, events, settings.failover.call_timeout)
        self._allowed_at = -math.inf
        self.conductor = Conductor(
            self.executor, self.journal, self.copies, state, events, clock, still_may_act=self.still_may_act
        )
        self.last_verdict: Verdict | None = None
        self.protection: Protection | None = None
        self._changing, self._what = asyncio.Lock(), ""

    @property
    def cluster(self) -> Cluster:
        """The present snapshot."""
        return self.state.cluster

    async def may_act(self) -> Result:
        """SUCCESS when this HandyRep is the one that may act, and knows what another one did before.

        Since a yes of long ago another one may have had the right and lost it again.
        """
        asked_at = self.clock.monotonic()
        if asked_at - self._allowed_at > self.settings.failover.poll_interval * _POLLS_OF_A_YES:
            self.copies.forget()
        active = await self.hands.may_act()
        if active.outcome is not Outcome.SUCCESS:
            self.copies.forget()
            return active
        try:
            await self.copies.catch_up()
        except HandyRepError as error:
            return fail(str(error))
        self._allowed_at = asked_at
        return active

    async def still_may_act(self) -> Result:
        """As may_act, in the midst of a run that another HandyRep may go on with. A yes counts for call_timeout from when it was asked for."""
        is_fresh = self.clock.monotonic() - self._allowed_at <= self.settings.failover.call_timeout
        if is_fresh or not self.hands.configured(Kind.JOURNAL):
            return success()
        known = self.journal.last_records()
        self.copies.forget()
        active = await self.may_act()
        if active.outcome is Outcome.SUCCESS and self.journal.last_records() != known:
            return fail("another HandyRep went on with it meanwhile")
        return active

    @asynccontextmanager
    async def changing(self, what: str) -> AsyncIterator[None]:
        """One operation at a time changes the cluster. Raises BusyError while another one does."""
        if self._changing.locked():
            raise BusyError(f"{self._what} is under way", remedy="Wait for it to end: 'handyrep status' shows it.")
        async with self._changing:
            self._what = what
            await self.giving_way.close()
            yield

    @property
    def is_changing(self) -> bool:
        """Whether an operation changes the cluster now."""
        return self._changing.locked()

    @contextmanager
    def working_on(self, name: str, what: str) -> Iterator[None]:
        """Long work on one server that is not the master, beside which HandyRep may fail over. Raises BusyError."""
        if self._changing.locked() or name in self._worked_on:
            under_way = self._worked_on.get(name) or self._what
            raise BusyError(f"{under_way} is under way", remedy="Wait for it to end: 'handyrep status' shows it.")
        self._worked_on[name] = f"{what} ({name})"
        try:
            yield
        finally:
            del self._worked_on[name]

    @property
    def worked_on(self) -> tuple[str, ...]:
        """What is being done to single servers, for people."""
        return tuple(self._worked_on.values())

    def take(self, picture: Picture) -> Cluster:
        """Make the statuses what the picture shows, and remember what will be needed once the master is gone."""
        self.state.update(self._seen(picture))
        return self.cluster

    def heed(self, picture: Picture) -> None:
        """As take, but not saved before the next change of the state is."""
        self.state.heed(self._seen(picture))

    def _seen(self, picture: Picture) -> Cluster:
        known = remembered(self.cluster, picture) if picture.orders == self.state.orders else self.cluster
        return assess(self._dated(known, picture), picture)

    def _dated(self, cluster: Cluster, picture: Picture) -> Cluster:
        """The cluster with where its master stands at this moment, if that was seen."""
        facts = picture.of(cluster.master.name).facts if cluster.master is not None else None
        if facts is None or facts.in_recovery:
            return cluster
        last = seen_again(cluster.last_seen, facts.received_lsn, self.clock.monotonic())
        return dataclasses.replace(cluster, last_seen=last)

    @property
    def estimated_end(self) -> Lsn | None:
        """Where the master's WAL may end now; None where the operator does not want to be judged by that, or nothing is known."""
        last = self.cluster.last_seen if self.policy.estimate_lost_wal else None
        return estimated_end(last, self.clock.monotonic())


def policy_from(settings: Settings) -> Policy:
    """What the operator allows, as the rules want it."""
    failover = settings.failover
    return Policy(
        auto_failover=failover.auto_failover,
        restart_master=failover.restart_master,
        remaster=failover.remaster,
        failover_cooldown_s=failover.failover_cooldown,
        estimate_lost_wal=failover.estimate_lost_wal,
        synchronous_required=failover.synchronous_required,
        synchronous_replicas=failover.synchronous_replicas,
        max_lost_wal_bytes=int(failover.max_lost_wal * 1024 * 1024),
    )
