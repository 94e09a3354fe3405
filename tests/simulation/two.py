"""Two HandyReps of one cluster, each with its own disk and its own view: one of them may act, and the other goes on from copies.

Either may be killed, stopped in its tracks for as long as the other one lives on, or cut off together with a part of the servers.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

from handyrep.engine.journal import Journal
from handyrep.errors import HandyRepError
from handyrep.model.cluster import Cluster
from tests.simulation import people
from tests.simulation.cluster import Begun, Event, Ordered, World
from tests.simulation.disk import Disk, Log
from tests.simulation.faults import FAULTS_OF_A_MASTER, all_is_well
from tests.simulation.life import Ending, Life, _killed_beside
from tests.simulation.loop import never_waiting
from tests.simulation.weather import Killed, Weather

NAMES = ("one", "two")
HELD_S = 20.0
"""So long nobody else has the right to act after it was asked for last."""


async def a_turn() -> None:
    """Let whoever is at work do something."""
    await asyncio.sleep(0)


class Agreement:
    """Who may act: first in wins, until it has not asked for HELD_S. A place of its own, which a HandyRep may be cut off from."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[str] = set()
        self.holder = ""
        self._until_s = 0.0

    def may(self, name: str) -> bool:
        """Whether this one may act, which it may from now on."""
        if name in self.cut or (self.holder not in ("", name) and self._world.now_s < self._until_s):
            return False
        self.holder, self._until_s = name, self._world.now_s + HELD_S
        return True


class Stoppable(Weather):
    """May let HandyRep stand still before a call, until somebody wakes it."""

    stop_at: Callable[[str], bool] = staticmethod(lambda _: False)
    woken: asyncio.Event | None = None

    @property
    def stands(self) -> bool:
        """Whether it stands still."""
        return self.woken is not None

    async def maybe_stopped(self, call: str) -> None:
        if self.woken is None and self.stop_at(call):
            self._world.tell(f"HandyRep {self.name} is stopped in its tracks before {call}")
            self.woken = asyncio.Event()
        if self.woken is not None:
            await self.woken.wait()

    def wake(self) -> None:
        if self.woken is not None:
            self._world.tell(f"HandyRep {self.name} wakes up")
            self.woken.set()
        self.woken, self.stop_at = None, staticmethod(lambda _: False)


def newest(managers: Iterable["Manager"], holder: str) -> "Manager":
    """Whose record is the newest: the other one goes on from that before it acts, and a person looks there."""

    def how_new(one: Manager) -> tuple[int, int, bool]:
        return one.engine.cluster.epoch, one.engine.cluster.list_orders, one.name == holder

    return max(managers, key=how_new)


class Manager(Life):
    """One of the two. They share the cluster, its configuration, and what the invariants know."""

    weather: Stoppable

    def __init__(self, first: Life, name: str) -> None:
        self.first, self.name = first, name
        self.seed, self.rng, self.world = first.seed, first.rng, first.world
        self.disk = Disk()
        self.weather = Stoppable(self.world, self.rng, first._fault, name)
        self.weather.people = 1
        self.settings = dataclasses.replace(
            first.settings,
            failover=dataclasses.replace(
                first.settings.failover, journal_method="journal_on_hosts", promote_timeout=HELD_S / 2
            ),
        )
        self.known, self.held = first.known, first.held
        self.violation = ""
        self.task: asyncio.Task[object] | None = None
        self.off_for = 0
        self.others: dict[str, Manager] = {}
        self.boot()

    def _concerns(self, event: Event) -> None:
        """What the cluster does by itself is judged by what the one knows that may act, once it has looked what the other one did."""
        agreement = cast("Agreement", self.world.agreement)
        self._is_mine()
        if not isinstance(event, Ordered | Begun):
            self.known.disk = newest((self, *self.others.values()), agreement.holder).disk

    async def check_once(self) -> None:
        """One check, with what it begins beside itself."""
        try:
            await self.check.run(verify=self.rng.random() < 0.5)
            for work in (self.check.proxies.beside, self.check.returning.beside, self.check.upkeep.beside):
                await work.ended()
        except (Killed, HandyRepError):
            return

    def begin(self) -> None:
        """Start anew if it was killed, and check."""
        if self.off_for:
            self.off_for -= 1
            return
        if self.weather.dead:
            self.boot()
        if self.task is None or self.task.done():
            self.door.answers.clear()
            self.task = asyncio.create_task(self.check_once())

    @property
    def rests(self) -> bool:
        """Whether it stands still or has done its check."""
        return self.weather.stands or self.task is None or self.task.done()


class Two:
    """A cluster and both HandyReps."""

    def __init__(self, seed: int) -> None:
        self.life = Life(seed, NAMES)
        self.world, self.rng = self.life.world, self.life.rng
        self.agreement = self.world.agreement = Agreement(self.world)
        self.managers = tuple(Manager(self.life, name) for name in NAMES)
        for one in self.managers:
            one.others = {other.name: other for other in self.managers}

    @property
    def violation(self) -> str:
        """What is wrong, by either."""
        return next((one.violation for one in self.managers if one.violation), "")

    def cluster(self, name: str) -> Cluster:
        """As this one knows it."""
        return next(one for one in self.managers if one.name == name).engine.cluster

    async def round(self) -> None:
        """A check of each, at the same time."""
        for one in self.managers:
            one.begin()
        while not all(one.rests for one in self.managers):
            await a_turn()
        for one in self.managers:
            if one.task is not None and one.task.done():
                error = one.task.exception()
                if error is not None:
                    one.violation = one.violation or f"HandyRep {one.name} raised {type(error).__name__}: {error}"
        if not self.violation:
            self.world.pass_time(2.0)

    def roughness(self, much: float, faults: int) -> None:
        for one in self.managers:
            one.weather.roughness, one.weather.faults_left = much, faults

    async def live(self) -> None:
        """Days on which one is stopped, is off, or the network is parted; and a calm end."""
        for _ in range(2):
            await self._some_rounds(0.0, 2)
            if self.rng.random() < 0.8:
                self.rng.choice(FAULTS_OF_A_MASTER)(self.world, self.life.weather)
            for happens in self.rng.sample((self._stopped, self._off, self._parted), self.rng.randint(1, 2)):
                happens()
            await self._some_rounds(self.rng.choice((0.0, 0.1, 0.3)), self.rng.randint(4, 24))
            self._well()
        await self._some_rounds(0.0, 8)

    async def _some_rounds(self, much: float, count: int) -> None:
        self.roughness(much, self.rng.randint(0, 2) if much else 0)
        for _ in range(count):
            if self.violation:
                return
            await self.round()

    def _somebody(self) -> Manager:
        """Most often the one that acts."""
        acts = [one for one in self.managers if one.name == self.agreement.holder]
        return self.rng.choice((*self.managers, *acts * 6))

    def _stopped(self) -> None:
        """E3: before any call, most often before one that acts."""
        one = self._somebody()
        calls = ("promotion.run", "fence.run", "connection_failover.run", "journal.run", "follow.run", "inspect.run")
        at = self.rng.choice(calls)
        one.weather.stop_at = lambda call: call == at

    def _off(self) -> None:
        """E2: one is killed, and not started for a while."""
        one = self._somebody()
        if one.rests and not one.weather.stands:
            one.weather.dead, one.off_for = True, self.rng.randint(2, 20)
            self.world.tell(f"HandyRep {one.name} is off")

    def _parted(self) -> None:
        """B17: two halves with a HandyRep in each; the agreement is in one of them."""
        names = list(self.world.boxes)
        self.rng.shuffle(names)
        half = self.rng.randint(0, len(names))
        left, right = names[:half], names[half:]
        for mine, others in ((NAMES[0], right), (NAMES[1], left)):
            for name in others:
                self.world.boxes[name].cut.add(mine)
        self.world.cuts.update(frozenset((a, b)) for a in left for b in right)
        self.agreement.cut = {self.rng.choice(NAMES)}
        self.world.tell(f"the network is parted: one with {left}, two with {right}; {self.agreement.cut} may not act")

    def _well(self) -> None:
        for one in self.managers:
            one.weather.wake()
            one.off_for = 0
        all_is_well(self.world, self.life.weather)
        for one in self.managers:
            one.weather.power_works = True
        self.agreement.cut = set()
        if not self.violation and all(one.engine.journal.open_run() is None for one in self.managers):
            best = newest(self.managers, self.agreement.holder)
            people.tidy_up(self.world, best.engine, self.life.known.deposed)


def _ended(two: Two) -> Counter[str]:
    epochs: dict[int, str] = {}
    for one in two.managers:
        for run, how, _ in Journal(Log(one.disk, one.world, one.weather, one.watch), one.engine.clock).runs():
            epochs[run.epoch] = epochs.get(run.epoch) or how
    counts = Counter("waiting" if not how else "asked" if how == "settled" else how for how in epochs.values())
    counts["failovers"] = len(epochs)
    return counts


def run_two(seed: int) -> Ending:
    """Live it to its end."""
    two = Two(seed)
    with asyncio.Runner(loop_factory=lambda: never_waiting(two.world.monotonic)) as runner:
        runner.get_loop().set_exception_handler(_killed_beside)
        runner.run(two.live())
    wrong = two.violation
    story = tuple(f"{at_s:9.3f} s  {sentence}" for at_s, sentence in two.world.story) if wrong else ()
    return Ending(seed, _ended(two), wrong, story)
