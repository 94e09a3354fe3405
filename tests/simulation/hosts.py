"""What the real fence_lease and fence_starve reach in the imagined world: hosts that run their orders, and replicas that heed them.

Owns what their shell programs do, as deeds: the programs themselves are tried on real hosts by tests/lab. An order to renew a lease may
be carried out long after it was sent.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from handyrep.config.settings import Settings
from handyrep.errors import NoAnswerError
from handyrep.model.server import Server
from handyrep.plugin_api.call import World as PluginWorld
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.registry import Registry
from handyrep.plugins import _lease, _lease_guard, _starving
from handyrep.ports import Command, Login, Ran, Row
from tests.simulation.cluster import Box, Guard, Runs, World
from tests.simulation.disk import Disk
from tests.simulation.weather import Trouble, Weather

REAL = frozenset({"fence_lease", "fence_starve"})
LATE_S = 20.0
"""An order that was sent and not heard of may arrive so late."""
_DONE = Ran(0, "", "")
_STEP_S = 2.0
"""In a long wait the world goes on in steps of so long."""


class FineClock:
    """ports.Clock for plugins, which look in hundredths of a second and wait for minutes."""

    def __init__(self, world: World, passes: Callable[[float], Awaitable[None]]) -> None:
        self._passes = passes
        self.monotonic = world.monotonic
        self.now: Callable[[], dt.datetime] = world.now

    async def sleep(self, duration_s: float) -> None:
        """Let everybody else have their turn meanwhile."""
        end = self.monotonic() + duration_s
        while (left_s := end - self.monotonic()) > 0:
            await self._passes(min(max(left_s, 0.05), _STEP_S))


class Servers:
    """ports.Hosts and ports.Databases."""

    def __init__(
        self, world: World, weather: Weather, disk: Disk, wait: Callable[[], Awaitable[None]], name: str
    ) -> None:
        self._world = world
        self._weather = weather
        self._disk = disk
        self._wait = wait
        self._name = name

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        """One of the programs that the two plugins send."""
        box = self._world.boxes[server.name]
        await self._wait()
        trouble = self._weather.trouble(acts=False)
        if not (box.host and box.ssh and not box.cut_from(self._name)) or trouble is Trouble.NOT_DONE:
            raise NoAnswerError("no answer", remedy="")
        if trouble is Trouble.LATE:
            self._later(box, command)
            raise NoAnswerError("no answer in time", remedy="")
        ran = carried_out(self._world, box, command)
        if trouble is not Trouble.NONE:
            raise NoAnswerError("the answer was lost", remedy="")
        return ran

    def _later(self, box: Box, command: Command) -> None:
        def arrives() -> None:
            if box.host and box.ssh:
                self._world.tell(f"a late order of fence_lease or fence_starve arrives at {box.name}")
                carried_out(self._world, box, command)

        at_s = self._world.now_s + self._world.rng.uniform(0.1, LATE_S)
        self._world.deeds.append((at_s, arrives))

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        """fence_lease.json on HandyRep's own disk."""
        await self._wait()
        if command.argv[2] == _lease._READ:
            return Ran(0, self._disk.leases, "")
        if self._weather.no_room():
            return Ran(1, "", "no room")
        self._weather.maybe_killed("before it wrote its leases")
        self._disk.leases = command.stdin.decode()
        self._weather.maybe_killed("just after it wrote its leases")
        return _DONE

    async def query(
        self, server: Server, statement: str, values: Sequence[Any] = (), *, deadline_s: float, login: Login = Login.HANDYREP,
        database: str | None = None, fresh: bool = False,
    ) -> tuple[Row, ...]:  # fmt: skip
        """What a replica is told, or says of itself."""
        box = self._world.boxes[server.name]
        await self._wait()
        trouble = self._weather.trouble(acts=False)
        unreached = not box.host or box.cut_from(self._name) or box.runs is not Runs.RUNNING
        if unreached or trouble in (Trouble.NOT_DONE, Trouble.LATE):
            raise NoAnswerError("no answer", remedy="")
        rows = _said(self._world, box) if statement == _starving._LOOK else _told(box, statement)
        if trouble is not Trouble.NONE:
            raise NoAnswerError("the answer was lost", remedy="")
        return rows


def _said(world: World, box: Box) -> tuple[Row, ...]:
    applied, told = (("" if deaf or not box.in_recovery else _conninfo(box)) for deaf in (box.halted, box.deaf))
    receiving = world.streams(box)
    return (
        {
            "in_recovery": box.in_recovery, "applied": applied, "told": told, "by_alter_system": True, "kept": box.kept,
            "receiving": receiving, "between_attempts": not receiving and box.in_recovery, "can_be_told": True, "cluster_name": "",
            "has_received": True, "lsn": box.lsn, "timeline": box.timeline,
        },
    )  # fmt: skip


def _conninfo(box: Box) -> str:
    return f"host={box.follows or 'nobody'} application_name={box.name}"


def _told(box: Box, statement: str) -> tuple[Row, ...]:
    if statement == _starving._RELOAD:
        box.halted = box.deaf
    else:
        box.deaf = statement == _starving._TO_NOBODY
    return ()


def carried_out(world: World, box: Box, command: Command) -> Ran:
    """What this program does on that host."""
    argv = command.argv
    if argv[0] == "test":
        return _DONE
    if argv[0] == "rm":
        box.kept = None
    elif argv[2] == _lease_guard.LEAVE:
        if argv[7] != str(box.boot) or int(argv[8]) <= int(world.clock_of(box) * 100):
            return Ran(11, "the order came too late, or to a host that was started anew", "")
        box.guard, box.door = None, False
    elif argv[2] in (_lease_guard.RENEW, _lease_guard.ARM):
        return _renewed(world, box, command)
    else:
        box.kept = command.stdin.decode()
    return _DONE


def _renewed(world: World, box: Box, command: Command) -> Ran:
    """RENEW, or ARM."""
    script, boot, until, mark, *how = command.argv[2], *command.argv[7:]
    arms = script == _lease_guard.ARM
    clock = f"boot={box.boot}\nnow={int(world.clock_of(box) * 100)}\n"
    if boot != str(box.boot):
        return Ran(11, "fault=its host was started anew meanwhile\n", "") if arms else Ran(0, clock, "")
    is_late = int(until) <= int(world.clock_of(box) * 100)
    if arms:
        if not box.systemd:
            return Ran(11, "fault=systemd does not run its host\n", "")
        if is_late:
            return Ran(11, "fault=the order came too late\n", "")
        names = tuple(address.removesuffix(".example") for address in how[2:])
        box.guard, box.door = Guard(mark, int(how[0]) / 1000, names, heard_s=world.now_s), True
    guard = box.guard
    if guard is None or not guard.runs or guard.mark != mark or is_late:
        return Ran(0, clock, "")
    guard.until, guard.is_open = int(until), True
    return Ran(0, f"{clock}armed=yes\n", "")


def real_fences(servers: Servers, settings: Settings, clock: FineClock) -> Caller:
    """The door to the real plugins. Their helpers end at `servers`."""
    return Caller(Registry(), PluginWorld(settings, servers, servers, clock))
