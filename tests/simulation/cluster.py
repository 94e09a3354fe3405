"""An imagined cluster with physics: hosts, links, PostgreSQL, WAL, clients. Everything that happens is written down in `happened`.

A row is a number that is given once, so the row at the end of a WAL tells the whole history before it.
"""

import dataclasses
import datetime as dt
import enum
from collections.abc import Callable
from random import Random
from typing import Protocol

from handyrep.decide.quorum import parse_sync_list
from handyrep.plugins._lease_guard import CHECK_S, STOP_S

ROW_BYTES = 1024 * 1024
FIRST_BYTE = 16 * ROW_BYTES
DEAD_RECEIVER_S = 6.0


class Runs(enum.Enum):
    """What the postmaster does. HUNG: it lets nobody in, and its sessions go on; STARTING: it answers and lets nobody in."""

    STOPPED = "stopped"
    RUNNING = "running"
    HUNG = "hung"
    STARTING = "starting"


@dataclasses.dataclass(slots=True)
class Guard:
    """What fence_lease put on a host. `until`: when the lease ends, in hundredths of a second of that host's clock.

    `heard_s`: when anything was heard from one of `peers` last. `ends_at_s`: when the stop that the guard has begun is done.
    """

    mark: str
    silence_s: float
    peers: tuple[str, ...]
    heard_s: float
    until: int = 0
    runs: bool = True
    is_open: bool = False
    ends_at_s: float | None = None


@dataclasses.dataclass(slots=True)
class Box:
    """One imaginary server. `orphan`: rows that a backend still writes though its postmaster is dead. `waiting`: rows that
    were not acknowledged yet, each with how long the WAL must be at a replica that has it. `cut`: the HandyReps that do not reach it.
    `deaf`: its settings name nobody to receive from, `halted`: those in force do not; `kept`: what fence_starve keeps of them.
    `door`: PostgreSQL starts only with a lease. `rate`: of its clock.
    """

    name: str
    host: bool = True
    ssh: bool = True
    cut: set[str] = dataclasses.field(default_factory=set)
    broken: bool = False
    runs: Runs = Runs.RUNNING
    in_recovery: bool = True
    signal: bool = True
    fenced: bool = False
    powered_off: bool = False
    follows: str = ""
    timeline: int = 1
    wal: list[int] = dataclasses.field(default_factory=lambda: [0])
    waiting: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    orphan: int = 0
    needed: int = 0
    named: tuple[str, ...] = ()
    paused: bool = False
    halted: bool = False
    deaf: bool = False
    kept: str | None = None
    heard_s: float = 0.0
    guard: Guard | None = None
    door: bool = False
    systemd: bool = True
    boot: int = 1
    copy: str = ""
    rate: float = 1.0

    @property
    def lsn(self) -> str:
        """The end of its WAL as PostgreSQL writes it."""
        return f"0/{FIRST_BYTE + len(self.wal) * ROW_BYTES:X}"

    @property
    def writes(self) -> bool:
        """Whether anybody who is connected to it can write."""
        alive = self.runs is Runs.RUNNING or self.runs is Runs.HUNG
        return self.host and ((alive and not self.in_recovery) or self.orphan > 0)

    @property
    def sync(self) -> str:
        """Its synchronous_standby_names."""
        return f"ANY {self.needed} ({', '.join(self.named)})" if self.named else ""

    def cut_from(self, handyrep: str) -> bool:
        """Whether this HandyRep does not reach it."""
        return handyrep in self.cut

    def halt(self) -> None:
        """It receives from nobody, and will not after a restart."""
        self.halted = self.deaf = True

    def follow(self, name: str) -> None:
        """It receives from this server."""
        self.follows, self.halted, self.deaf, self.kept = name, False, False, None

    def lose_power(self) -> None:
        """All that is in memory is gone, and what lies in /run."""
        self.stop()
        self.host, self.guard = False, None
        self.boot += 1

    def stop(self) -> None:
        """No process is left, and what was not acknowledged never will be."""
        self.runs, self.orphan = Runs.STOPPED, 0
        self.waiting.clear()


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledged:
    """A client was told that its row is committed."""

    row: int
    by: str
    timeline: int


@dataclasses.dataclass(frozen=True, slots=True)
class Promoted:
    """A replica left recovery."""

    name: str
    timeline: int
    lost: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """PostgreSQL came up."""

    name: str
    as_master: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Ordered:
    """HandyRep ordered something that acts; the journal as it was then can be read."""

    what: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Agreed:
    """A list of synchronous replicas that HandyRep ordered is in force."""

    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """HandyRep wrote down that a failover or switchover begins, and by which rule ('' when a person asked for it)."""

    epoch: int
    rule: str
    old_master: str


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """HandyRep replaced its state."""

    text: str


Event = Acknowledged | Promoted | Started | Ordered | Agreed | Begun | Saved


class Agreement(Protocol):
    """Between several HandyReps, about which of them may act."""

    def may(self, name: str) -> bool:
        """Whether this one may."""
        ...


class World:
    """The cluster, its clients and its time."""

    def __init__(self, rng: Random, names: tuple[str, ...], *, strict: bool, mixed: bool) -> None:
        self.rng = rng
        self.now_s = 1000.0
        self.wall_s = 0.0
        self.boxes = {name: Box(name, follows=names[0]) for name in names}
        self.master_at_first = names[0]
        self.handyreps: tuple[str, ...] = ("HandyRep",)
        self.agreement: Agreement | None = None
        self.begun: set[tuple[object, ...]] = set()
        first = self.boxes[names[0]]
        first.in_recovery, first.signal, first.follows = False, False, ""
        self.routes = [names[0], names[0]]
        self.dead_routes: set[int] = set()
        self.held = False
        self.cuts: set[frozenset[str]] = set()
        self.later: list[tuple[float, str, str]] = []
        self.deeds: list[tuple[float, Callable[[], None]]] = []
        self.happened: list[Event] = []
        self.acknowledged: dict[int, int] = {}
        self.story: list[tuple[float, str]] = []
        self._timeline_of = [1]
        self._make_synchronous(strict=strict, mixed=mixed)

    def _make_synchronous(self, *, strict: bool, mixed: bool) -> None:
        for box in self.boxes.values():
            others = tuple(name for name in self.boxes if name != box.name)
            if others and (self.rng.random() < 0.5 if mixed else strict):
                box.named = others
                box.needed = self.rng.randint(1, len(others)) if mixed else self.rng.choice((1, 1, len(others)))

    def tell(self, sentence: str) -> None:
        self.story.append((self.now_s, sentence))

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.now_s + self.wall_s)

    def linked(self, one: str, other: str) -> bool:
        """Whether the two hosts reach one another."""
        hosts = self.boxes[one].host and self.boxes[other].host
        return hosts and (one == other or frozenset((one, other)) not in self.cuts)

    def streams(self, box: Box) -> bool:
        """Whether it receives from whom it follows."""
        upstream = self.boxes.get(box.follows)
        if upstream is None or box.halted or not box.in_recovery or box.runs not in (Runs.RUNNING, Runs.HUNG):
            return False
        alive = upstream.runs in (Runs.RUNNING, Runs.HUNG)
        return alive and self.linked(box.name, box.follows) and is_prefix(box.wal, upstream.wal)

    def writers(self) -> list[str]:
        """Which servers take writes."""
        return [name for name, box in self.boxes.items() if box.writes]

    def pass_time(self, duration_s: float) -> None:
        """Clients write, WAL flows, and orders that were late are carried out."""
        self.now_s += duration_s
        for due in [one for one in self.later if one[0] <= self.now_s] if self.later else ():
            self.later.remove(due)
            self._late(due[1], due[2])
        for deed in [one for one in self.deeds if one[0] <= self.now_s] if self.deeds else ():
            self.deeds.remove(deed)
            deed[1]()
        for box in self.boxes.values():
            if box.writes and self.rng.random() < 0.5:
                self._write(box)
        for box in self.boxes.values():
            if box.follows and self.streams(box):
                box.heard_s = self.now_s
                if self.rng.random() < 0.7:
                    self._receive(box, self.boxes[box.follows], self.rng.choice((1.0, 1.0, self.rng.random())))
        for box in self.boxes.values():
            if box.guard is not None and box.guard.runs:
                self._guarded(box, box.guard)

    def clock_of(self, box: Box) -> float:
        """Seconds since some moment, as its host counts them."""
        return self.now_s * box.rate

    def _guarded(self, box: Box, guard: Guard) -> None:
        """The guard's look: a lease that is over, and nobody heard of, ends PostgreSQL a little later; a replica is left alone."""
        if any(b.name in guard.peers and b.follows == box.name and self.streams(b) for b in self.boxes.values()):
            guard.heard_s = self.now_s
        if self.clock_of(box) * 100 <= guard.until:
            guard.ends_at_s = None
            return
        if box.runs is Runs.STOPPED and not box.orphan:
            guard.is_open = False
            return
        attached = (self.now_s - guard.heard_s) * box.rate <= guard.silence_s
        if box.in_recovery or attached:
            guard.ends_at_s = None
            return
        if guard.ends_at_s is None:
            guard.is_open, guard.ends_at_s = False, self.now_s + self.rng.uniform(0, CHECK_S + STOP_S)
        if self.now_s >= guard.ends_at_s:
            guard.ends_at_s = None
            box.stop()
            self.tell(f"the guard on {box.name} stops PostgreSQL: its lease is over")

    def can_acknowledge(self, box: Box) -> bool:
        """Whether a commit of it can end now."""
        return box.writes and sum(self._confirmed(name, box) > 0 for name in box.named) >= box.needed

    def _late(self, what: str, name: str) -> None:
        box = self.boxes[name]
        if not box.host:
            return
        self.tell(f"the late order to {what} {name} is carried out now")
        if what.startswith("ANY"):
            self.agree(name, what)
        if what == "promote":
            self.promote(name)
        if what == "start":
            self.start(name)
        if what == "stop":
            box.stop()

    def _append(self, box: Box) -> int:
        row = len(self._timeline_of)
        self._timeline_of.append(box.timeline)
        box.wal.append(row)
        return row

    def _write(self, box: Box) -> None:
        box.waiting.append((self._append(box), len(box.wal)))
        box.orphan = max(box.orphan - 1, 0)
        self._acknowledge(box)

    def _receive(self, box: Box, upstream: Box, share: float = 1.0) -> None:
        missing = len(upstream.wal) - len(box.wal)
        if missing:
            upto = len(box.wal) + max(int(missing * share), 1)
            box.wal.extend(upstream.wal[len(box.wal) : upto])
            box.timeline = self._timeline_of[box.wal[-1]]
        if upstream.writes and upstream.waiting:
            self._acknowledge(upstream)

    def _acknowledge(self, box: Box) -> None:
        held = len(box.wal)
        if box.needed:
            held = sorted((self._confirmed(name, box) for name in box.named), reverse=True)[box.needed - 1]
        while box.waiting and box.waiting[0][1] <= held:
            row, _ = box.waiting.pop(0)
            self.acknowledged[row] = box.timeline
            self.happened.append(Acknowledged(row, box.name, box.timeline))

    def _confirmed(self, name: str, master: Box) -> int:
        box = self.boxes[name]
        return len(box.wal) if box.follows == master.name and self.streams(box) else 0

    def promote(self, name: str) -> bool:
        """The replica becomes a master, if it still is a replica that runs."""
        box = self.boxes[name]
        if box.runs is not Runs.RUNNING or not box.in_recovery:
            return False
        box.follow("")
        box.in_recovery, box.signal, box.paused = False, False, False
        box.timeline += 1
        self._append(box)
        has = set(box.wal)
        lost = tuple(row for row in self.acknowledged if row not in has)
        self.acknowledged = {row: t for row, t in self.acknowledged.items() if row in has}
        self.happened.append(Promoted(name, box.timeline, lost))
        self.tell(
            f"{name} is promoted to timeline {box.timeline}; {len(lost)} acknowledged rows are not in its history"
        )
        return True

    def agree(self, name: str, text: str) -> bool:
        """Its commits wait for this list from now on, if it runs."""
        box, promise = self.boxes[name], parse_sync_list(text)
        if box.runs not in (Runs.RUNNING, Runs.HUNG) or promise is None:
            return False
        box.needed, box.named = promise.needed, promise.names
        self.happened.append(Agreed(name, text))
        self._acknowledge(box)
        return True

    def forget_orders(self, name: str) -> None:
        """The sessions that carried lists to this server are gone."""
        self.later = [one for one in self.later if one[2] != name or not one[1].startswith("ANY")]

    def start(self, name: str) -> bool:
        """PostgreSQL starts, unless something forbids it; standby.signal says in which way."""
        box = self.boxes[name]
        if not box.host or box.orphan or box.runs is not Runs.STOPPED:
            return False
        if box.door and not box.signal and not (box.guard is not None and box.guard.is_open):
            self.tell(f"{name} may not start without a lease")
            return False
        if box.broken:
            box.runs = self.rng.choice((Runs.STOPPED, Runs.STARTING))
            return False
        self.forget_orders(name)
        box.runs, box.in_recovery, box.halted = Runs.RUNNING, box.signal, box.deaf
        self.happened.append(Started(name, not box.signal))
        self.tell(f"{name} starts {'in recovery' if box.signal else 'as a master'}")
        return True

    def rewind(self, name: str, newmaster: str) -> None:
        """What pg_rewind leaves: the history that both share, and the rest of it to be streamed."""
        box, new = self.boxes[name], self.boxes[newmaster]
        if not is_prefix(box.wal, new.wal):
            shared = next((n for n, (a, b) in enumerate(zip(box.wal, new.wal, strict=False)) if a != b), len(new.wal))
            box.wal = box.wal[:shared]
            box.timeline = self._timeline_of[box.wal[-1]]

    def give_wal(self, name: str, candidate: str) -> bool:
        """The candidate gets what stands on the disk of a stopped server, if that goes on from what it has."""
        source, box = self.boxes[name], self.boxes[candidate]
        if source.runs is not Runs.STOPPED or source.orphan or not is_prefix(box.wal, source.wal):
            return False
        box.wal, box.timeline = list(source.wal), self._timeline_of[source.wal[-1]]
        return True

    def stop_cleanly(self, name: str) -> None:
        """A fast shutdown: what streams receives everything first."""
        box = self.boxes[name]
        for other in self.boxes.values():
            if box.runs is Runs.RUNNING and other.follows == name and self.streams(other):
                self._receive(other, box)
        box.stop()


def is_prefix(history: list[int], whole: list[int]) -> bool:
    """Whether `whole` goes on from where `history` ends."""
    return len(history) <= len(whole) and (not history or history[-1] == whole[len(history) - 1])
