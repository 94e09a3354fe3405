"""One life of an imagined cluster, wholly decided by its seed: calm days, bad days, HandyRep at work, people, and the end."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable
from random import Random
from typing import Any, ClassVar, cast

from handyrep.decide import progress
from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.engine.journal import Journal
from handyrep.engine.state import State, from_json
from handyrep.errors import HandyRepError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.operations.declare import Running
from handyrep.plugin_api.caller import Caller
from handyrep.plugins._lease import RATE_ERROR
from tests.factories import make_cluster, make_server, make_settings
from tests.simulation import hosts, invariants, people
from tests.simulation.cluster import Event, World
from tests.simulation.disk import Clock, Disk, Events, Log, Store
from tests.simulation.door import Door
from tests.simulation.faults import FAULTS, FAULTS_OF_A_MASTER, all_is_well
from tests.simulation.loop import never_waiting
from tests.simulation.weather import Killed, Weather

CHAPTERS = 3
LISTS_EVERY = 3
"""In so many of the strict worlds HandyRep keeps the list itself, and only the first master has one from the beginning."""
RARE_FENCES_EVERY = 8
"""So many of the clusters fence by what needs no answer of the old master: a lease that runs out, or replicas that receive nothing."""
RARE_FENCES = (
    ("fence_lease",), ("fence_stop", "fence_lease"), ("fence_stop", "fence_lease", "fence_power"), ("fence_stop", "fence_starve"),
    ("fence_starve",), ("fence_starve", "fence_lease"),
)  # fmt: skip
PREFIXES_EVERY = 8
"""Every so many lives the run is gone on with from every prefix of its journal: that takes as long as the life."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How one life went. `violation` is '' when nothing was wrong, or when a person had erred: that counts as `misled`."""

    seed: int
    counts: Counter[str]
    violation: str = ""
    story: tuple[str, ...] = ()


class Life:
    """HandyRep and its cluster from the first day to the last."""

    held: tuple[invariants.OnEvent, ...] = invariants.ON_EVENT

    door_type: ClassVar[type[Door]] = Door
    name = "HandyRep"

    def __init__(self, seed: int, handyreps: tuple[str, ...] = ("HandyRep",)) -> None:
        self.seed = seed
        self.rng = Random(seed)
        names = ("m1", "r1", "r2", "r3", "r4")[: self.rng.choice((2, 3, 3, 3, 4, 5))]
        self.strict = self.rng.random() < 0.5
        self.world = World(self.rng, names, strict=self.strict, mixed=not self.strict and self.rng.random() < 0.5)
        self.world.handyreps = handyreps
        self.keeps_list = self.strict and seed % LISTS_EVERY == 0
        self.disk = Disk()
        self.weather = Weather(self.world, self.rng, self._fault)
        self.settings = self._settings(names)
        if self.keeps_list:
            self.held = (*self.held, *invariants.ON_EVENT_WITH_LISTS)
        rows = 0 if self.strict else int(self.settings.failover.max_lost_wal)
        self.known = invariants.Known(
            self.world,
            self.disk,
            rows,
            self.settings.failover.synchronous_required,
            self.settings.failover.failover_cooldown,
        )
        self.known.can_be_starved = "fence_starve" in self.settings.failover.fence_methods
        self.violation = ""
        self.boot()

    def _settings(self, names: tuple[str, ...]) -> Any:
        pick = self.rng.choice
        servers = tuple(make_server(name, "master" if name == names[0] else "replica") for name in names)
        fences = self._fences()
        lease = {"lease": f"{pick((6, 20))}", "silence": f"{pick((3, 15))}"}
        return make_settings(
            servers=servers,
            plugins={"fence_lease": lease},
            failover={
                "fence_timeout": 120.0,
                "auto_failover": True, "fence_methods": fences, "start_timeout": 2.0, "max_lost_wal": pick((0.0, 2.0, 16.0)),
                "restart_master": pick((True, False)), "remaster": pick((True, True, False)), "failover_cooldown": pick((0.0, 5.0, 60.0)),
                "connection_failover_method": "multi_pgbouncer", "rescue_method": pick(("rescue_wal", "")),
                "synchronous_required": self._required() if self.keeps_list else 0,
            },
        )  # fmt: skip

    def _fences(self) -> tuple[str, ...]:
        """By what this cluster fences. Its hosts' clocks differ as far as fence_lease allows for."""
        pick = self.rng.choice
        both = (("fence_stop", "fence_power"), ("fence_power", "fence_stop"))
        fences = pick((("fence_stop",), ("fence_stop",), *both, *((("fence_power",),) if self.strict else ())))
        if self.seed % RARE_FENCES_EVERY == 0:
            for box in self.world.boxes.values():
                box.rate, box.systemd = self.rng.uniform(1 - RATE_ERROR, 1 + RATE_ERROR), self.rng.random() < 0.95
            fences = pick([one for one in RARE_FENCES if self.strict or "fence_starve" not in one])
        return cast("tuple[str, ...]", fences)

    def _required(self) -> int:
        """How many must confirm. What the replicas themselves would promise as masters is not to be relied upon."""
        for name, box in self.world.boxes.items():
            if name != self.world.master_at_first:
                box.needed, box.named = 0, ()
        return self.rng.choice((1, 1, 1, min(2, len(self.world.boxes) - 1)))

    def _somebody(self) -> Awaitable[Result] | None:
        if self.rng.random() >= 0.25:
            return None
        if self.rng.random() < 0.3:
            return people.sure(self.rng, self.on, self.world)
        changes_members = self.keeps_list and self.rng.random() < 0.5
        return (people.registrar if changes_members else people.somebody)(self.rng, self.on)

    def boot(self) -> None:
        """HandyRep starts from what is on its disk."""
        if self.weather.power_was_lost():
            self.disk.lose_power()
        self.weather.dead = False
        parts = (self.disk, self.world, self.weather, self.watch)
        store, events, clock = Store(*parts), Events(self.world), Clock(*parts[1:])
        cluster = make_cluster(*self.settings.servers)
        content = store.load()
        if content is not None:
            cluster = from_json(content)
        self.door = self.door_type(self.world, self.weather, self.watch, self.name)
        if hosts.REAL.intersection(self.settings.failover.fence_methods):
            self.door.let_in(self.settings, self.disk)
        self.clock_ahead_s = self.world.wall_s
        state = State(cluster, store, events, clock)
        self.engine = Engine(self.settings, cast("Caller", self.door), state, Log(*parts), events, clock)
        self.check = Check(self.engine)
        self.on = cast("Running", people.Desk(self.engine, self.check))

    def watch(self) -> None:
        """Look at every invariant; the first thing that is wrong ends this life. What happened was done by this HandyRep."""
        self._is_mine()
        if len(self.world.writers()) > 1:
            for holds in invariants.ALWAYS:
                self._hold(holds(self.known))
        for event in self.world.happened:
            self._concerns(event)
            for holds_for in self.held:
                self._hold(holds_for(self.known, event))
        self.world.happened.clear()

    def _is_mine(self) -> None:
        """What is asked is judged by what this HandyRep knows."""
        known = self.known
        known.disk, known.answers, known.clock_ahead_s = self.disk, self.door.answers, self.clock_ahead_s

    def _concerns(self, event: Event) -> None:
        """With one HandyRep everything concerns it."""

    def _hold(self, wrong: str) -> None:
        self.violation = self.violation or wrong
        if self.violation:
            self.weather.dead = True
            raise Killed(self.violation)

    def _fault(self) -> None:
        self.rng.choice(FAULTS)(self.world, self.weather)

    async def live(self) -> None:
        """All chapters, and the last day, on which everything works."""
        for _ in range(CHAPTERS):
            await self._calm_days()
            await self._bad_days()
            if self.violation:
                return
        all_is_well(self.world, self.weather)
        self.weather.roughness = 0.0
        self.world.tell("the last days are calm")
        self.boot()
        for _ in range(4):
            await self._cycle()

    async def _calm_days(self) -> None:
        self.weather.roughness = 0.0
        if self.rng.random() < 0.85:
            all_is_well(self.world, self.weather)
            people.tidy_up(self.world, self.engine, self.known.deposed)
        for _ in range(self.rng.randint(1, 2)):
            await self._cycle()

    async def _bad_days(self) -> None:
        self.weather.roughness = self.rng.choice((0.1, 0.3, 1.0))
        self.weather.faults_left = self.rng.randint(0, 5)
        if self.rng.random() < 0.9:
            self.rng.choice(FAULTS_OF_A_MASTER)(self.world, self.weather)
        for _ in range(self.rng.randint(2, 6)):
            await self._cycle(self._somebody())
            if self.violation:
                return

    async def _cycle(self, person: Awaitable[Result] | None = None) -> None:
        """One check, perhaps with a person at work at the same time."""
        self.door.answers.clear()
        self.weather.people = 0 if person is None else 2
        work = [self.check.run(verify=self.rng.random() < 0.5), *([person] if person is not None else [])]
        ends = await asyncio.gather(*work, return_exceptions=True)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            await asyncio.gather(*left, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, Killed | HandyRepError):
                self.violation = self.violation or f"HandyRep raised {type(end).__name__}: {end}"
        if self.violation:
            return
        if self.weather.dead:
            self.boot()
        self.world.pass_time(2.0)


def _ended(life: Life) -> Counter[str]:
    """How many runs were begun, and how they ended or stand."""
    counts: Counter[str] = Counter()
    for run, how, _ in Journal(Log(life.disk, life.world, life.weather, life.watch), life.engine.clock).runs():
        counts["failovers"] += 1
        counts["promotes"] += run.promote_was_sent
        standing = "asked" if life.engine.cluster.frozen else "waiting"
        counts[{"": standing, "settled": "asked"}.get(how, how)] += 1
    return counts


def _final_problem(life: Life) -> str:
    """What is wrong on the last day: a run that neither ended nor stands still for a reason, or a journal that cannot be gone on from."""
    run = life.engine.journal.open_run()
    move = progress.next_move(run) if run is not None else None
    if isinstance(move, progress.Do):
        return f"I6: after calm days {move.step} of epoch {run.epoch if run else 0} is still to be done"
    wrong = invariants.i3_who_writes_has_it_all(life.known)
    if wrong or life.seed % PREFIXES_EVERY:
        return wrong
    outcomes = [life.rng.choice(list(Outcome)) for _ in range(7)]
    return invariants.i6_any_prefix_ends(life.disk, lambda run: outcomes[len(run.ended) % 7], life.world)


def _killed_beside(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Work beside the checks ends with the HandyRep that began it, and nobody waits for it."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


def run_seed(seed: int) -> Ending:
    """Live it to its end."""
    life = Life(seed)
    with asyncio.Runner(loop_factory=lambda: never_waiting(life.world.monotonic)) as runner:
        runner.get_loop().set_exception_handler(_killed_beside)
        runner.run(life.live())
    wrong = life.violation or _final_problem(life)
    if life.known.misled:
        return Ending(seed, _ended(life) + Counter(misled=1))
    story = tuple(f"{at_s:9.3f} s  {sentence}" for at_s, sentence in life.world.story) if wrong else ()
    return Ending(seed, _ended(life), wrong, story)
