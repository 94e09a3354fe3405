"""What can happen to a cluster, one function each. The letters are the rows of the fault catalogue."""

from collections.abc import Callable

from tests.simulation.cluster import Box, Runs, World
from tests.simulation.weather import Weather

Fault = Callable[[World, Weather], None]


def _any(world: World) -> Box:
    return world.boxes[world.rng.choice(list(world.boxes))]


def _master(world: World) -> Box:
    return next((box for box in world.boxes.values() if box.writes), _any(world))


def _replica(world: World) -> Box:
    return world.rng.choice([box for box in world.boxes.values() if not box.writes] or [_any(world)])


def _crash(world: World, box: Box) -> None:
    was_master = box.writes
    box.stop()
    if was_master and box.host and world.rng.random() < 0.4:
        box.orphan = world.rng.randint(1, 4)
    world.tell(f"PostgreSQL on {box.name} crashes{' and a busy backend runs on' if box.orphan else ''}")


def crash_master(world: World, _: Weather) -> None:
    """A1, A2: kill -9 of the postmaster, with or without a busy backend."""
    _crash(world, _master(world))


def crash_replica(world: World, _: Weather) -> None:
    """C4, C5: a replica dies."""
    _crash(world, _replica(world))


def stop_by_hand(world: World, _: Weather) -> None:
    """A5: an administrator stops the master cleanly."""
    box = _master(world)
    world.stop_cleanly(box.name)
    world.tell(f"an administrator stops {box.name}")


def hang_master(world: World, _: Weather) -> None:
    """A3, A10: the postmaster lets nobody in and its sessions go on writing."""
    box = _master(world)
    if box.host and box.runs is Runs.RUNNING:
        box.runs = Runs.HUNG
        world.tell(f"the postmaster of {box.name} hangs")


def wake(world: World, _: Weather) -> None:
    """A3: a hung postmaster goes on as if nothing had been."""
    for box in world.boxes.values():
        if box.runs is Runs.HUNG:
            box.runs = Runs.RUNNING
            world.tell(f"the postmaster of {box.name} goes on")


def crash_loop(world: World, _: Weather) -> None:
    """A6, A7, A9: the master crashes and does not come up again by itself."""
    box = _master(world)
    box.broken = True
    _crash(world, box)
    if box.host and not box.orphan:
        box.runs = world.rng.choice((Runs.STOPPED, Runs.STARTING))
    world.tell(f"PostgreSQL on {box.name} cannot start any more")


def repaired(world: World, _: Weather) -> None:
    """A6: what kept PostgreSQL from starting is gone."""
    for box in world.boxes.values():
        if box.broken:
            box.broken = False
            box.runs = Runs.STOPPED if box.runs is Runs.STARTING else box.runs
            world.tell(f"PostgreSQL on {box.name} could start again")


def host_off(world: World, _: Weather) -> None:
    """A20: the master's host loses its power."""
    _host_off(world, _master(world))


def any_host_off(world: World, _: Weather) -> None:
    """A20, C4: any host loses its power."""
    _host_off(world, _any(world))


def _host_off(world: World, box: Box) -> None:
    box.lose_power()
    world.tell(f"the host of {box.name} goes off")


def host_back(world: World, _: Weather) -> None:
    """A20: a host boots, and its service may start PostgreSQL. One that was powered off as a fence stays off."""
    for box in world.boxes.values():
        if not box.host and not box.powered_off:
            box.host = True
            world.tell(f"the host of {box.name} is back")
            if world.rng.random() < 0.5:
                world.start(box.name)


def autostart(world: World, _: Weather) -> None:
    """A14, A20: whatever looks after PostgreSQL on a host starts it again."""
    for box in world.boxes.values():
        if world.rng.random() < 0.7 and not box.powered_off:
            world.start(box.name)


def cut_from_handyrep(world: World, _: Weather) -> None:
    """B3: HandyRep does not reach the master, and everybody else does."""
    box = _master(world)
    box.cut.update(world.handyreps)
    world.tell(f"HandyRep and {box.name} are cut from one another")


def handyrep_cut_off(world: World, _: Weather) -> None:
    """B2: HandyRep reaches nobody."""
    for box in world.boxes.values():
        box.cut.update(world.handyreps)
    world.tell("HandyRep is cut off from every server")


def cut_servers(world: World, _: Weather) -> None:
    """B4: two servers do not reach one another."""
    names = list(world.boxes)
    pair = frozenset(world.rng.sample(names, 2)) if len(names) > 1 else frozenset(names)
    world.cuts.add(pair)
    world.tell(f"{' and '.join(sorted(pair))} are cut from one another")


def isolate_master(world: World, _: Weather) -> None:
    """B1: the master is cut off from everybody."""
    box = _master(world)
    box.cut.update(world.handyreps)
    world.cuts.update(frozenset((box.name, other)) for other in world.boxes if other != box.name)
    world.tell(f"{box.name} is cut off from everybody")


def heal(world: World, _: Weather) -> None:
    """B9: every link works again."""
    for box in world.boxes.values():
        box.cut.clear()
    world.cuts.clear()
    world.dead_routes.clear()
    world.tell("every link works again")


def sshd_down(world: World, _: Weather) -> None:
    """A16: no command runs on a host, and PostgreSQL works."""
    box = _any(world)
    box.ssh = False
    world.tell(f"sshd of {box.name} is down")


def sshd_back(world: World, _: Weather) -> None:
    """A16: commands run again."""
    for box in world.boxes.values():
        box.ssh = True


def proxy_away(world: World, _: Weather) -> None:
    """B6, D1: a proxy cannot be reached by HandyRep and goes on leading clients to where it did."""
    world.dead_routes.add(world.rng.randrange(len(world.routes)))
    world.tell("a proxy cannot be reached any more")


def pause_replay(world: World, _: Weather) -> None:
    """C2: a replica receives and does not replay."""
    _replica(world).paused = True


def wall_clock_jumps(world: World, _: Weather) -> None:
    """E: the wall clock of HandyRep's host is set, forwards or back."""
    world.wall_s += world.rng.choice((-86400.0, -100.0, 100.0, 86400.0))
    world.tell("the wall clock jumps")


def power_switch_fails(_: World, weather: Weather) -> None:
    """D: the power switch answers, or does not answer any more."""
    weather.power_works = not weather.power_works


FAULTS_OF_A_MASTER: tuple[Fault, ...] = (
    crash_master, crash_master, host_off, hang_master, isolate_master, cut_from_handyrep, crash_loop, stop_by_hand,
)  # fmt: skip
FAULTS: tuple[Fault, ...] = (
    *FAULTS_OF_A_MASTER, crash_replica, any_host_off, host_back, host_back, autostart, autostart, wake, repaired, handyrep_cut_off,
    cut_servers, heal, heal, sshd_down, sshd_back, proxy_away, pause_replay, wall_clock_jumps, power_switch_fails,
)  # fmt: skip


def all_is_well(world: World, weather: Weather) -> None:
    """Everything that is broken is repaired, and hosts that were not powered off as a fence are on."""
    for fault in (heal, sshd_back, repaired, wake):
        fault(world, weather)
    weather.power_works = True
    for box in world.boxes.values():
        box.host = box.host or not box.powered_off
