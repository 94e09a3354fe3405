"""What people do: they call operations while HandyRep is at work, answer its questions, and put servers right on calm days."""

import dataclasses
from collections.abc import Awaitable, Collection
from random import Random
from typing import Literal

from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.model.result import Result
from handyrep.operations.actions import remaster
from handyrep.operations.declare import Running
from handyrep.operations.mastership import answer, confirmed_failover, manual_failover
from handyrep.operations.servers import disable, enable
from tests.simulation.cluster import Box, Runs, World


@dataclasses.dataclass
class Desk:
    """What operations need of declare.Running."""

    engine: Engine
    check: Check


def somebody(rng: Random, on: Running) -> Awaitable[Result]:
    """A person at work: answers when asked, else moves the master or a replica."""
    if on.engine.cluster.frozen:
        decision: Literal["retry", "settled"] = "retry" if rng.random() < 0.7 else "settled"
        return answer(on, decision)
    replicas = [member.name for member in on.engine.cluster.replicas]
    wanted = rng.choice([None, *replicas])
    if wanted is not None and rng.random() < 0.4:
        return remaster(on, wanted)
    return manual_failover(on, wanted)


def sure(rng: Random, on: Running, world: World) -> Awaitable[Result]:
    """A person who says that the master is off, after they pulled its plug; one in twelve errs, and pulled another one or none."""
    master = on.engine.cluster.master
    errs = rng.random() < 1 / 12
    if master is not None and not errs:
        box = world.boxes[master.name]
        box.lose_power()
        box.powered_off = True
    world.tell(
        f"a person {'thinks that they' if errs else 'has'} pulled the plug of {master.name if master else 'nobody'}"
    )
    return confirmed_failover(on, on.engine.cluster.name, "I pulled the plug")


def registrar(rng: Random, on: Running) -> Awaitable[Result]:
    """A person who takes a replica out of the cluster, or lets one in again."""
    member = rng.choice(list(on.engine.cluster.members.values()))
    return disable(on, member.name) if member.server.enabled else enable(on, member.name)


def tidy_up(world: World, engine: Engine, deposed: Collection[str]) -> None:
    """Let the recorded master run and every recorded replica follow it, where that is safe and nothing stands open."""
    master = engine.cluster.master
    if engine.journal.open_run() is not None or master is None:
        return
    box = world.boxes[master.name]
    others_write = any(one.writes for one in world.boxes.values() if one is not box)
    if not box.writes and not others_write and box.name not in deposed:
        _revived(world, box)
    for one in world.boxes.values():
        if box.writes and not one.writes and one is not box and one.follows != box.name:
            _made_a_replica(world, one, box)


def _revived(world: World, box: Box) -> None:
    box.stop()
    box.follow("")
    box.host, box.powered_off, box.fenced, box.signal, box.door, box.guard = True, False, False, False, False, None
    world.start(box.name)


def _made_a_replica(world: World, box: Box, master: Box) -> None:
    box.stop()
    box.follow(master.name)
    box.host, box.powered_off, box.fenced, box.signal, box.door, box.guard = True, False, False, True, False, None
    world.rewind(box.name, master.name)
    world.start(box.name)
    box.runs = Runs.RUNNING
