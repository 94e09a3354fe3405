"""After a failover: replicas that follow nobody are told whom to follow, a former master is fenced when it comes up and brought back."""

import asyncio
import itertools
from types import MappingProxyType
from typing import Any

import pytest

from handyrep.decide.promise import UNDER_NO_LIST
from handyrep.errors import BusyError
from handyrep.model.answer import Answer
from handyrep.model.observation import Picture, Seen
from handyrep.model.result import Result, fail, success
from handyrep.plugin_api.contract import Kind
from tests.engine.world import Imagined


async def failed_over(**failover: Any) -> Imagined:
    """r1 is the master since m1's PostgreSQL was gone; m1's host answers."""
    world = Imagined(**failover)
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert (world.master, world.engine.cluster.deposed) == ("r1", ("m1",))
    return world


async def look(world: Imagined) -> Result:
    """A full check, and the end of what it began beside it."""
    result = await world.check.run(verify=True)
    await world.check.returning.beside.ended()
    return result


def ordered(world: Imagined, *kinds: str) -> list[str]:
    return [call for call in world.plugins.calls if call.startswith(kinds)]


async def test_a_former_master_is_brought_back_and_is_none_any_more() -> None:
    world = await failed_over()
    await look(world)
    assert ordered(world, "rejoin") == ["rejoin.run m1"]
    await look(world)
    assert world.engine.cluster.deposed == ()
    assert world.check.returning.rungs == {}
    assert not world.boxes["m1"].master


@pytest.mark.parametrize(
    ("rejoin_up_to", "calls", "says"),
    [
        ("nothing", [], "bring it back with: handyrep remaster m1"),
        ("follow", ["rejoin.follow m1"], "is not back: it has parted"),
        ("rewind", ["rejoin.run m1"], "is not back: pg_rewind cannot"),
        ("reclone", ["rejoin.run m1", "clone.run m1"], "was started as a replica of r1"),
    ],
)
async def test_it_climbs_no_higher_than_it_may(rejoin_up_to: str, calls: list[str], says: str) -> None:
    world = await failed_over(rejoin_up_to=rejoin_up_to)
    world.plugins.instead["rejoin.follow"] = lambda _: fail("it has parted", parted=True)
    world.plugins.instead["rejoin.run"] = lambda _: fail("pg_rewind cannot")
    await look(world)
    assert ordered(world, "rejoin", "clone") == calls
    assert says in world.check.returning.rungs["m1"]


OWN = {"headline": "3 transactions in 2 tables were only on m1", "kept": "/kept"}
KEPT = f"{OWN['headline']}; kept in /kept"


async def test_wal_that_only_a_former_master_had_is_told_once_however_it_ends() -> None:
    world = await failed_over(rejoin_up_to="reclone")
    world.plugins.instead["rejoin.run"] = lambda _: fail("pg_rewind cannot", diverged=OWN)
    world.plugins.instead["clone.run"] = lambda _: fail("nor this", diverged=OWN)
    for _ in range(20):
        await look(world)
        world.clock.now_s += 10
    assert world.plugins.count("rejoin") > 1
    assert world.events.of("diverged") == [f"m1: {KEPT}"]


async def test_it_is_in_the_sentence_of_one_that_came_back() -> None:
    world = await failed_over()
    world.plugins.instead["rejoin.run"] = lambda _: success("started", diverged=OWN)
    world.plugins.instead["replication_status.run"] = lambda _: success(replicating=True)
    result = await world.engine.executor.rejoin("m1", "r1")
    assert result.details.endswith(f"; {KEPT}")
    assert result.extra["diverged"] == OWN


async def test_a_replica_that_came_back_to_the_old_master_is_led_to_the_new_one() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = world.boxes["r2"].up = False
    world.boxes["r1"].synchronous = world.boxes["m1"].synchronous = ""
    world.plugins.instead["follow.run"] = lambda _: fail("r2 is silent")
    await world.look()
    assert (world.master, world.engine.cluster.astray) == ("r1", ("r2",))
    del world.plugins.instead["follow.run"]
    world.restarted()
    await look(world)
    world.boxes["r2"].up = world.boxes["r2"].receiving = True
    before = world.plugins.count("follow.run r2")
    for _ in range(3):
        world.clock.now_s += 100
        await look(world)
    assert world.plugins.count("follow.run r2") == before + 1
    assert world.boxes["r2"].follows == "r1"
    await look(world)
    assert world.engine.cluster.astray == ()


async def test_one_that_was_started_is_counted_on_again_before_it_is_seen_to_receive() -> None:
    world = await failed_over()
    await look(world)
    assert world.boxes["m1"].up
    assert world.engine.worked_on == ()
    assert world.plugins.count("rejoin.run") == 1


async def test_nothing_is_copied_anew_from_a_master_that_is_gone() -> None:
    world = await failed_over(rejoin_up_to="reclone")

    def the_master_dies_meanwhile(_: object) -> Result:
        world.boxes["r1"].up = False
        world.engine.take(Picture(seen=MappingProxyType({"r1": Seen(up=Answer.NO)})))
        return fail("r1 does not answer")

    world.plugins.instead["rejoin.run"] = the_master_dies_meanwhile
    await look(world)
    assert world.plugins.count("clone.run") == 0
    assert "is not back: r1 does not answer" in world.check.returning.rungs["m1"]


async def test_after_a_failure_it_waits_longer_each_time() -> None:
    world = await failed_over()
    world.plugins.instead["rejoin.run"] = lambda _: fail("not now")
    times = []
    for _ in range(60):
        before = world.plugins.count("rejoin")
        await look(world)
        if world.plugins.count("rejoin") > before:
            times.append(world.clock.now_s)
        world.clock.now_s += 1
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) == 3
    assert pauses == sorted(pauses)
    assert pauses[0] >= 10


async def test_a_master_that_comes_back_by_itself_is_fenced_at_first_sight() -> None:
    world = await failed_over()
    world.boxes["m1"].up, world.boxes["m1"].master = True, True
    world.plugins.calls.clear()
    result = await world.check.run(verify=False)
    assert result.extra.get("rule") is None
    assert "was fenced by fence_stop" in result.details
    assert ordered(world, "fence.run") == ["fence.run m1"]
    assert not world.boxes["m1"].up
    assert world.engine.cluster.frozen == ""


async def test_a_fence_that_needs_silence_is_not_asked_of_one_that_is_seen_to_live() -> None:
    world = await failed_over(fence_methods=("fence_starve", "fence_stop"))
    world.plugins.registry.silent = {"fence_starve"}
    world.boxes["m1"].up, world.boxes["m1"].master, world.boxes["m1"].host = True, True, False
    result = await world.check.run(verify=True)
    assert "could not be fenced: fence_stop: no SSH" in result.details


async def test_a_replica_that_follows_nobody_is_told_whom_to_follow() -> None:
    world = Imagined()
    world.boxes["r2"].follows = ""
    await look(world)
    assert ordered(world, "follow.run") == ["follow.run r2"]
    await look(world)
    assert ordered(world, "follow.run") == ["follow.run r2"]


@pytest.mark.parametrize("hindrance", ["maintenance", "not active", "frozen"])
async def test_nothing_is_brought_back_when_handyrep_may_not_act(hindrance: str) -> None:
    world = await failed_over()
    if hindrance == "not active":
        world.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    if hindrance == "frozen":
        world.freeze("somebody must look")
    if hindrance == "maintenance":
        world.maintenance(minutes=5)
    await look(world)
    assert ordered(world, "rejoin", "follow.run m1") == []


async def test_a_failover_may_begin_while_a_server_is_brought_back_and_does_not_count_on_it() -> None:
    world = await failed_over(failover_cooldown=0.0)
    world.boxes["r2"].timeline = 2
    going_on, done = asyncio.Event(), asyncio.Event()

    async def long_work() -> None:
        with world.engine.working_on("r2", "cloning"):
            going_on.set()
            await done.wait()

    work = asyncio.create_task(long_work())
    await going_on.wait()
    world.boxes["r1"].up = False
    result = await world.check.run(verify=True)
    assert "r2: it is being worked on" in result.details
    assert world.plugins.count("promotion") == 1, "the first one alone"
    with pytest.raises(BusyError, match="cloning"), world.engine.working_on("r2", "cloning"):
        pass
    done.set()
    await work
    assert world.engine.worked_on == ()


async def test_what_is_under_way_ends_with_handyrep() -> None:
    world = await failed_over()

    real = world.plugins.call

    async def never_back(kind: Kind, *arguments: Any, **named: Any) -> Result:
        if kind is Kind.REJOIN:
            await asyncio.Event().wait()
        return await real(kind, *arguments, **named)

    world.plugins.call = never_back  # type: ignore[method-assign] # it never comes back
    await world.check.run(verify=True)
    await asyncio.sleep(0)
    assert list(world.engine.worked_on) == ["bringing it back (m1)"]
    await world.check.close()
    assert world.check.returning.beside.idle
    assert list(world.engine.worked_on) == []
    await Imagined().check.close()


async def test_a_new_masters_list_promises_nothing_of_what_came_before_it() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    await world.check.run(verify=True)
    assert world.master == "r1"
    assert world.engine.cluster.older_lists == (UNDER_NO_LIST,)
