"""A check and a person at work at the same time, and a second failover soon after the first. Found by tests/simulation."""

from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.engine.check import new_run
from handyrep.errors import BusyError, RefusedError
from handyrep.model.result import Result, success
from handyrep.model.run import RunKind
from tests.engine.world import Imagined


def somebody_begins(world: Imagined) -> None:
    world.engine.journal.open(new_run(world.engine, RunKind.FAILOVER, "asked for by a person"))


async def test_a_run_that_somebody_ended_meanwhile_is_not_led_again() -> None:
    world = Imagined(auto_failover=False)
    world.boxes["m1"].up = False
    somebody_begins(world)
    run = world.engine.journal.open_run()
    assert run is not None

    def ended_meanwhile(_: Mapping[str, Any]) -> Result:
        if world.engine.journal.open_run() is not None:
            world.engine.journal.close(run, "finished", "by a person")
        return success()

    world.plugins.instead["master_check.run"] = ended_meanwhile
    await world.look()
    assert (world.plugins.count("fence.run"), world.plugins.count("promotion.run")) == (0, 0)


@pytest.mark.parametrize("restart_master", [False, True])
async def test_e18_a_verdict_is_dropped_when_somebody_began_a_failover_meanwhile(restart_master: bool) -> None:
    world = Imagined(restart_master=restart_master)
    world.boxes["m1"].up = False

    def begun_meanwhile(_: Mapping[str, Any]) -> Result:
        somebody_begins(world)
        return success()

    world.plugins.instead["fence.test"] = begun_meanwhile
    with pytest.raises(BusyError, match="meanwhile"):
        await world.look()
    assert len(world.engine.journal.runs()) == 1
    assert [call for call in world.plugins.calls if call in ("fence.run m1", "restart.run m1 start")] == []


@pytest.mark.parametrize("how", ["", "abandoned"])
async def test_what_was_seen_since_before_somebody_began_a_failover_does_not_count_even_if_that_is_over(
    how: str,
) -> None:
    world = Imagined()
    world.boxes["m1"].up = False
    polled = world.plugins._poll_run

    def begun_meanwhile(given: Mapping[str, Any]) -> Result:
        if not world.engine.journal.runs():
            somebody_begins(world)
            run = world.engine.journal.open_run()
            if run is not None and how:
                world.engine.journal.close(run, how, "m1 answers again")
        return polled(given)

    world.plugins.instead["poll.run"] = begun_meanwhile
    with pytest.raises(BusyError, match="meanwhile"):
        await world.look()
    assert [run.epoch for run, _, _ in world.engine.journal.runs()] == [1]
    assert (world.plugins.count("fence.run"), world.plugins.count("promotion.run")) == (0, 0)


async def test_a_former_master_is_not_fenced_when_somebody_adopted_it_meanwhile() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    world.boxes["m1"].up, world.boxes["m1"].master = True, True
    world.plugins.calls.clear()

    def adopted_meanwhile(_: Mapping[str, Any]) -> Result:
        run = new_run(world.engine, RunKind.ADOPTION, "asked for by a person", wanted="m1")
        world.engine.journal.open(run)
        world.engine.journal.close(run, "finished", "m1 is the master")
        return success()

    world.plugins.instead["fence.test"] = adopted_meanwhile
    with pytest.raises(BusyError, match="meanwhile"):
        await world.look()
    assert world.plugins.count("fence.run") == 0


async def test_e18_no_run_begins_while_one_stands_open() -> None:
    world = Imagined()
    somebody_begins(world)
    second = new_run(world.engine, RunKind.FAILOVER, "asked for by a person")
    with pytest.raises(RefusedError, match="failover 1 stands open"):
        await world.engine.conductor.begin(second)
    assert [run.epoch for run, _, _ in world.engine.journal.runs()] == [1]


async def test_the_old_masters_promise_is_not_taken_for_the_new_ones() -> None:
    world = Imagined()
    await world.look()
    assert world.engine.cluster.synchronous_standby_names == "ANY 1 (r1, r2)"
    world.boxes["m1"].up = False
    world.boxes["r1"].synchronous = "ANY 1 (m1, r2)"
    await world.look()
    assert (world.master, world.engine.cluster.synchronous_standby_names) == ("r1", "ANY 1 (m1, r2)")


async def test_a_new_master_that_promises_nothing_leaves_no_promise() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    world.boxes["r1"].synchronous = ""
    await world.look()
    assert (world.master, world.engine.cluster.synchronous_standby_names) == ("r1", "")


async def test_c8_a_replica_that_never_followed_the_new_master_is_not_promoted() -> None:
    world = Imagined(failover_cooldown=0.0, remaster=False)
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert (world.master, world.engine.cluster.timeline) == ("r1", 2)
    world.boxes["r1"].up = False
    result = await world.look()
    assert "r2: it is on timeline 1, the master was on 2" in result.details
    assert world.plugins.count("promotion.run") == 1


async def test_a_strangers_timeline_is_not_remembered() -> None:
    world = Imagined()
    await world.look()
    world.plugins.instead["inspect.run"] = lambda _: success(
        in_recovery=False, system_identifier="2", timeline=57, version_num=150000, received_lsn="0/1"
    )
    await world.look()
    assert world.engine.cluster.timeline == 1
