"""What HandyRep is killed in the middle of: each way that a failover, a switchover, a remaster or a rejoin goes, and how it may end."""

import dataclasses
import functools
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, ClassVar, cast

from handyrep.config.settings import ExtraCommand
from handyrep.decide import progress
from handyrep.operations import actions, mastership
from tests.factories import make_server, make_settings
from tests.simulation import invariants
from tests.simulation.cluster import Ordered, Runs, World
from tests.simulation.disk import Disk
from tests.simulation.door import Door
from tests.simulation.kills import Killer, Lived, Place, WaitingDoor, lived
from tests.simulation.life import Life
from tests.simulation.weather import Trouble

NAMES = ("m1", "r1", "r2")
CYCLES = 12
QUIET_CYCLES = 2
Turn = Callable[["KilledLife"], None]


@dataclasses.dataclass(frozen=True)
class Story:
    """`happens` to the cluster, then HandyRep does `work`; `turns` happen when it makes the call that they are named by.

    `again`: a person repeats the work in the end, as people do with an operation that was cut off. `places`: there are at least
    so many places to be killed at, of which each `stride`th is tried. `as_another_until_its_turn`: until then it goes as another story, in which those places are tried.
    """

    name: str
    places: int
    happens: Turn
    work: Callable[["KilledLife"], Coroutine[Any, Any, Any]]
    turns: Mapping[str, Turn] = dataclasses.field(default_factory=dict)
    failover: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    again: bool = False
    stride: int = 1
    as_another_until_its_turn: bool = False


class KilledLife(Life):
    """The life of one cluster, in one story, always the same until HandyRep is killed."""

    door_type: ClassVar[type[Door]] = WaitingDoor

    def __init__(self, story: Story) -> None:
        self.seed = 7
        self.rng = Random(self.seed)
        self.story = story
        self.world = World(self.rng, NAMES, strict=True, mixed=False)
        for box in self.world.boxes.values():
            box.needed = 1
        self.disk = Disk()
        self.killer = self.weather = Killer(self.world, self.rng)
        self.settings = self._told()
        self.known = invariants.Known(self.world, self.disk, allowed_rows=0)
        self.known.can_be_starved = "fence_starve" in self.settings.failover.fence_methods
        self.violation = ""
        self.turned_at = 0
        self.turns: dict[str, Callable[[], None]] = {
            call: functools.partial(self._turn, turn) for call, turn in story.turns.items()
        }
        self.boot()

    def _turn(self, turn: Turn) -> None:
        self.turned_at = self.killer.passed
        turn(self)

    def _told(self) -> Any:
        servers = tuple(make_server(name, "master" if name == "m1" else "replica") for name in NAMES)
        failover = {
            "auto_failover": True, "start_timeout": 2.0, "failover_cooldown": 0.0, "fence_methods": ("fence_stop",),
            "connection_failover_method": "multi_pgbouncer", **self.story.failover,
        }  # fmt: skip
        extra = (ExtraCommand(name="tell", command="tell_them"),)
        return make_settings(servers=servers, failover=failover, extra_failover_commands=extra)

    def boot(self) -> None:
        super().boot()
        cast("WaitingDoor", self.door).turns = self.turns

    def do(self, work: Coroutine[Any, Any, Any], seen: set[Place] | None = None) -> Lived:
        """HandyRep does something, and the cluster goes on for a while."""
        self.door.answers.clear()
        how = lived(work, self.killer, seen)
        if not self.violation:
            self.world.pass_time(2.0)
        return how

    def cycle(self) -> Lived:
        return self.do(self.check.run(verify=True))


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """How a story went: how often HandyRep could have been killed, in what state the cluster was before and after, what was wrong."""

    passed: int
    turned_at: int
    before: Any
    after: Any
    ending: str
    wrong: str
    told: tuple[str, ...]


def play(story: Story, kill_at: int = 0, *, again_at: int = 0, replaced: bool = False, seen: set[Place] | None = None) -> Played:  # fmt: skip
    """Let it happen, kill HandyRep at that place (0: never), and once more at that place after it was started again."""
    life = KilledLife(story)
    for _ in range(2):
        life.cycle()
    story.happens(life)
    before = shape(life)
    life.killer.live_until(kill_at)
    how = life.do(story.work(life), seen)
    passed = life.killer.passed
    problem = _raised(how)
    if life.killer.dead and not life.violation:
        problem = problem or _taken_over(life, replaced=replaced)
        life.killer.live_until(again_at)
    problem = problem or _until_quiet(life)
    if story.again and not life.violation:
        problem = problem or _raised(life.do(story.work(life)))
    ending = _ending(life)
    wrong = life.violation or problem or _lost(life)
    told = tuple(f"{at_s:9.3f} s  {line}" for at_s, line in life.world.story)
    return Played(passed, life.turned_at, before, shape(life), ending, wrong, told)


def _raised(how: Lived) -> str:
    return f"HandyRep raised {type(how.error).__name__}: {how.error}" if how.error is not None else ""


def _taken_over(life: KilledLife, *, replaced: bool) -> str:
    """HandyRep is started again; or another one is, which may not act at first and must not."""
    life.boot()
    if not replaced:
        return ""
    life.killer.live_until(0)
    life.killer.active = False
    before = len(life.disk.records)
    orders: list[str] = []
    real = life.watch

    def watching() -> None:
        orders.extend(event.what for event in life.world.happened if isinstance(event, Ordered))
        real()

    life.door._watch = watching
    problem = _raised(life.cycle())
    life.killer.active = True
    life.boot()
    if orders or len(life.disk.records) != before:
        return f"it acted and was not the HandyRep master: {orders}"
    return problem


def _until_quiet(life: KilledLife) -> str:
    quiet = 0
    for _ in range(CYCLES):
        before = (life.disk.state, len(life.disk.records))
        problem = _raised(life.cycle())
        if problem or life.violation:
            return problem
        if life.killer.dead:
            life.boot()
            life.killer.live_until(0)
        rests = before == (life.disk.state, len(life.disk.records)) or _ending(life).startswith("waits for ")
        quiet = quiet + 1 if rests else 0
        if quiet == QUIET_CYCLES:
            return ""
    return f"it is not quiet after {CYCLES} cycles"


def healed(shown: Any) -> bool:
    """Whether another than m1 takes the writes, all routes lead to it, and all others follow it."""
    m1_is_master, one_writer, routes, others = shown
    well = all(follows and not fenced for *_, fenced, _, follows in others)
    return not m1_is_master and one_writer and routes == {True} and well


def shape(life: KilledLife) -> Any:
    """The cluster as people see it, whichever of two equal replicas took over."""
    cluster, boxes = life.engine.cluster, life.world.boxes
    master = cluster.master.name if cluster.master is not None else ""
    others = [
        (box.runs.value, box.host, box.in_recovery, box.signal, box.fenced, box.powered_off, box.follows == master)
        for name, box in boxes.items()
        if name != master
    ]
    routes = {route == master and not life.world.held for route in life.world.routes}
    return master == "m1", life.world.writers() == [master], routes, sorted(others)


def _lost(life: KilledLife) -> str:
    writers = life.world.writers()
    if len(writers) != 1:
        return ""
    lost = set(life.world.acknowledged) - set(life.world.boxes[writers[0]].wal)
    return f"{len(lost)} acknowledged rows are not on {writers[0]}" if lost else ""


def _ending(life: KilledLife) -> str:
    """'closed' when nothing stands open; else the question that is asked or what is waited for; '' when neither."""
    run, frozen = life.engine.journal.open_run(), life.engine.cluster.frozen
    if run is None:
        return "" if frozen else "closed"
    move = progress.next_move(run)
    if isinstance(move, progress.Ask) and frozen.startswith(move.question.value):
        return f"asks {move.question.name}"
    return f"waits for {move.step}" if isinstance(move, progress.Wait) and move.reason else ""


def _crash(life: KilledLife) -> None:
    life.world.boxes["m1"].stop()


def _host_off(life: KilledLife) -> None:
    life.world.boxes["m1"].stop()
    life.world.boxes["m1"].host = False
    life.world.pass_time(10.0)


def _isolated(life: KilledLife) -> None:
    life.world.boxes["m1"].cut.update(life.world.handyreps)
    life.world.cuts.update(frozenset(("m1", name)) for name in ("r1", "r2"))
    life.world.routes = ["r1", "r1"]


def _hang(life: KilledLife) -> None:
    life.world.boxes["m1"].runs = Runs.HUNG


def _nothing(_: KilledLife) -> None:
    return


def _replicas_crash(life: KilledLife) -> None:
    for name in ("r1", "r2"):
        life.world.boxes[name].stop()


def _cut_with_a_row_to_send(life: KilledLife) -> None:
    life.world.cuts.update(frozenset(("m1", name)) for name in ("r1", "r2"))
    life.world._write(life.world.boxes["m1"])


def _promote_late(life: KilledLife) -> None:
    life.killer.next_trouble = Trouble.LATE


def _astray(life: KilledLife) -> None:
    life.world.boxes["r2"].follows = ""


def _failed_over(life: KilledLife) -> None:
    _crash(life)
    for _ in range(2):
        life.cycle()


def _checks(life: KilledLife) -> Coroutine[Any, Any, Any]:
    return life.check.run(verify=True)


def _switches(life: KilledLife) -> Coroutine[Any, Any, Any]:
    return cast("Coroutine[Any, Any, Any]", mastership.manual_failover(life.on))


def _remasters(name: str) -> Callable[[KilledLife], Coroutine[Any, Any, Any]]:
    return lambda life: cast("Coroutine[Any, Any, Any]", actions.remaster(life.on, name))


def _takes_a_word(life: KilledLife) -> Coroutine[Any, Any, Any]:
    return cast("Coroutine[Any, Any, Any]", mastership.confirmed_failover(life.on, "handyrep", "I pulled the plug"))


_WITH_POWER: Mapping[str, Any] = {"fence_methods": ("fence_stop", "fence_power")}
_BY_LEASE: Mapping[str, Any] = {"fence_methods": ("fence_lease",), "fence_timeout": 120.0}
_BY_STARVING: Mapping[str, Any] = {"fence_methods": ("fence_stop", "fence_starve")}
STORIES = (
    Story("failover", 200, _crash, _checks),
    Story("failover by the power switch", 200, _host_off, _checks, failover=_WITH_POWER),
    Story("failover by a lease", 150, _isolated, _checks, failover=_BY_LEASE, stride=11),
    Story("failover by starving", 150, _isolated, _checks, failover=_BY_STARVING, stride=11),
    Story("failover on a word", 200, _host_off, _takes_a_word),
    Story("failover with a late promote", 200, _crash, _checks, {"promotion.run": _promote_late}, as_another_until_its_turn=True),
    Story("failover abandoned", 200, _hang, _checks, {"fence.run": _replicas_crash}),
    Story("restart in place", 100, _crash, _checks, failover={"restart_master": True}),
    Story("switchover", 200, _nothing, _switches),
    Story("switchover without catching up", 200, _nothing, _switches, {"fence.run": _cut_with_a_row_to_send}, as_another_until_its_turn=True),
    Story("remaster", 40, _astray, _remasters("r2"), again=True),
    Story("rejoin", 40, _failed_over, _remasters("m1"), again=True),
)  # fmt: skip
