"""A cluster that exists only in memory, behind the door through which the engine reaches plugins; every call is written down."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, cast

from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.engine.state import State
from handyrep.errors import StateError
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail, success
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry
from tests.factories import make_cluster, make_settings

Answerer = Callable[[Mapping[str, Any]], Result]
Hangs = Callable[[Kind, str, str], bool]


@dataclasses.dataclass
class Box:
    """One imaginary server."""

    up: bool = True
    host: bool = True
    master: bool = False
    position: int = 1000
    timeline: int = 1
    follows: str = "m1"
    synchronous: str = "ANY 1 (r1, r2)"
    receiving: bool = False
    system_identifier: str = "1"


class VirtualTime:
    """A clock that only sleeping moves; whoever else has something to do does it meanwhile."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.now_s + self.wall_s)

    async def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        await asyncio.sleep(0)


class MemoryStore:
    """ports.StateStore in memory; `broken` makes it fail."""

    def __init__(self) -> None:
        self.content: Mapping[str, Any] | None = None
        self.broken = False

    def load(self) -> Mapping[str, Any] | None:
        return self.content

    def save(self, content: Mapping[str, Any]) -> None:
        if self.broken:
            raise StateError("no room")
        self.content = content


class MemoryLog:
    """ports.RecordLog in memory."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []
        self.broken = False

    def append(self, record: Mapping[str, Any]) -> None:
        if self.broken:
            raise StateError("no room")
        self.records.append(record)

    note = append

    def read(self) -> list[Mapping[str, Any]]:
        return list(self.records)


class Events:
    """ports.EventSink in memory."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        self.told.append((kind, text))

    def of(self, kind: str) -> list[str]:
        """The texts of one kind."""
        return [text for one, text in self.told if one == kind]


class KnownPlugins(Registry):
    """HandyRep's own; `lacking` names optional methods that no plugin has, `silent` fences that need silence.

    `traced` are those that can tell what they have left, and take it back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lacking: set[str] = {"keep", "leave"}
        self.silent: set[str] = set()
        self.traced: set[str] = set()

    def load(self, name: str) -> type[Plugin]:
        """A stand-in with every optional method that is not lacking."""
        optional = {m.name for contract in KINDS.values() for m in contract.methods if m.optional} - self.lacking
        optional |= {"footprint", "take_back"} if name in self.traced else set()
        real = super().load(name)
        facts = {"needs_silence": name in self.silent, "needs_host": real.needs_host, "kinds": real.kinds}
        facts["routes_only"] = real.routes_only
        return type(name, (Plugin,), {**facts, **dict.fromkeys(optional, Plugin.success)})


class FakePlugins:
    """Stands where Caller stands. `instead` replaces the answer of a kind (and method) by a function of the arguments."""

    def __init__(self, boxes: dict[str, Box]) -> None:
        self.boxes = boxes
        self.calls: list[str] = []
        self.instead: dict[str, Answerer] = {}
        self.order: tuple[str, ...] | Result = ("r1", "r2")
        self.registry = KnownPlugins()

    async def select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...] | Result:
        return self.order

    async def call(
        self, kind: Kind, name: str, method: str = "run", arguments: Mapping[str, Any] | None = None, *, cluster: Cluster, deadline_s: float
    ) -> Result:  # fmt: skip
        given = dict(arguments or {})
        key = f"{kind.value}.{method}"
        about = str(next(iter(given.values()), ""))
        runmode = f" {given['runmode']}" if "runmode" in given else ""
        self.calls.append(f"{key} {about}{runmode}".strip())
        if key in self.instead:
            return self.instead[key](given)
        answer = getattr(self, f"_{kind.value}_{method}", None)
        return cast("Result", answer(given)) if answer is not None else success()

    def count(self, start: str) -> int:
        """How many calls begin with this."""
        return sum(call.startswith(start) for call in self.calls)

    def _box(self, given: Mapping[str, Any]) -> Box:
        return self.boxes[str(next(iter(given.values()), "m1"))]

    def _poll_run(self, given: Mapping[str, Any]) -> Result:
        return success() if self._box(given).up else fail("silent")

    _poll_once = _poll_run

    def _inspect_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not box.up:
            return fail("silent")
        lsn = f"0/{box.position:X}"
        return success(
            in_recovery=not box.master, system_identifier=box.system_identifier, timeline=box.timeline, version_num=150000, received_lsn=lsn, receiving=box.receiving,
            synchronous_standby_names=box.synchronous,
            calls_itself="" if box.master else next(iter(given.values())),
        )  # fmt: skip

    def _inspect_write(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        return success() if box.up and box.master else fail("read-only or silent")

    def _inspect_host(self, given: Mapping[str, Any]) -> Result:
        return success() if self._box(given).host else fail("no SSH")

    def _inspect_sees(self, given: Mapping[str, Any]) -> Result:
        if not self._box(given).host:
            return fail("no SSH")
        return success() if self.boxes[given["mastername"]].up else fail("silent", no=True)

    def _restart_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not box.host:
            return fail("no SSH")
        if given["runmode"] in ("start", "restart"):
            box.up = True
        if given["runmode"] in ("stop", "faststop"):
            box.up = False
        return success() if box.up else fail("does not run", running=False)

    def _replication_status_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not any(one.up and one.master for one in self.boxes.values()):
            return fail("the master is away")
        upstream = self.boxes.get(box.follows)
        streams = upstream is not None and upstream.up and upstream.master and box.up and not box.master
        return success(lag=0.0, replicating=streams)

    def _fence_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not box.host:
            return fail("no SSH")
        box.up = False
        return success(proof="no process", last_lsn=f"0/{box.position:X}", ended=True)

    def _fence_test(self, given: Mapping[str, Any]) -> Result:
        return success() if self._box(given).host else fail("no SSH")

    def _promotion_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        box.master, box.timeline = True, box.timeline + 1
        return success()

    def _sync_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not box.up:
            return fail("silent")
        box.synchronous = given["names"]
        return success()

    def _follow_halt(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        if not box.up:
            return fail("silent")
        box.receiving, box.follows = False, ""
        return success()

    def _follow_resume(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        box.follows = "m1"
        return success() if box.up else fail("silent")

    def _rescue_run(self, given: Mapping[str, Any]) -> Result:
        self.boxes[given["candidate"]].position = self._box(given).position
        return success()

    def _follow_run(self, given: Mapping[str, Any]) -> Result:
        self._box(given).follows = given["newmaster"]
        return success()

    def _rejoin_run(self, given: Mapping[str, Any]) -> Result:
        box = self._box(given)
        box.up, box.master, box.follows = True, False, given["newmaster"]
        return success()


class Imagined:
    """An engine over an imaginary cluster m1 (master), r1, r2; `restarted()` is the same after a kill of HandyRep."""

    def __init__(self, **failover: Any) -> None:
        self.boxes = {"m1": Box(master=True), "r1": Box(), "r2": Box()}
        self.plugins = FakePlugins(self.boxes)
        self.clock, self.store, self.log, self.events = VirtualTime(), MemoryStore(), MemoryLog(), Events()
        self.settings = make_settings(failover={"auto_failover": True, **failover})
        self.engine = self._engine(make_cluster(system_identifier="1"))
        self.check = Check(self.engine)

    def _engine(self, cluster: Cluster) -> Engine:
        state = State(cluster, self.store, self.events, self.clock)
        return Engine(self.settings, cast("Caller", self.plugins), state, self.log, self.events, self.clock)

    def restarted(self) -> None:
        """HandyRep was killed and starts again: what was only in memory is gone."""
        self.engine = self._engine(self.engine.cluster)
        self.check = Check(self.engine)

    def seen_by(self, given: Mapping[str, Any], witness: str) -> Result:
        """Who sees the master: only this one."""
        return success() if given["servername"] == witness else fail("silent", no=True)

    def killed(self, _: Mapping[str, Any]) -> Result:
        """HandyRep is killed in the middle of that."""
        raise KeyboardInterrupt

    async def killed_in_select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...]:
        """HandyRep is killed while it chooses."""
        raise KeyboardInterrupt(name)

    async def look(self, times: int = 1) -> Result:
        """So many checks; the last one's result."""
        result = await self.check.run(verify=True)
        for _ in range(times - 1):
            self.clock.now_s += 2
            result = await self.check.run(verify=True)
        return result

    def freeze(self, why: str) -> None:
        """HandyRep stands still."""
        self.engine.state.update(dataclasses.replace(self.engine.cluster, frozen=why))

    def maintenance(self, minutes: int) -> None:
        """HandyRep only looks for so long."""
        until = self.engine.steady.now() + dt.timedelta(minutes=minutes)
        self.engine.state.update(dataclasses.replace(self.engine.cluster, maintenance_until=until))

    @property
    def master(self) -> str:
        return self.engine.cluster.master.name if self.engine.cluster.master else ""


def hanging(world: Imagined, hangs: Hangs) -> asyncio.Event:
    """Calls of which `hangs` is true, by (kind, plugin, method), wait for the event."""
    call, let = world.plugins.call, asyncio.Event()

    async def slow(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
        if hangs(kind, name, method):
            await let.wait()
        return await call(kind, name, method, *rest, **how)

    world.plugins.call = slow  # type: ignore[method-assign]
    return let
