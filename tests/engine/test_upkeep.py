"""What a fence keeps up on the master: renewed beside the checks, never while a run stands open, and taken away where it is not wanted."""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import pytest

from handyrep.engine.check import new_run
from handyrep.engine.state import from_json, to_json
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Ended, RunKind, Step
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined

KEEP, LEAVE = "fence.keep m1", "fence.leave m1"


@pytest.fixture
def world() -> Imagined:
    made = Imagined(fence_methods=("fence_lease",))
    made.plugins.registry.lacking = set()
    made.plugins.registry.silent = {"fence_lease"}
    return made


async def rounds(world: Imagined, times: int = 1) -> None:
    """Looks, each with the round that it begins."""
    for _ in range(times):
        await world.look()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def new_master(world: Imagined, name: str) -> None:
    """As if a switchover had made it the master, and the old one its replica."""
    cluster = world.engine.cluster
    for box in world.boxes.values():
        box.master, box.follows = box is world.boxes[name], name
    for member in cluster.members.values():
        role = "master" if member.name == name else "replica"
        cluster = cluster.with_member(dataclasses.replace(member, server=dataclasses.replace(member.server, role=role)))
    world.engine.state.update(cluster)


async def test_it_is_kept_up_at_each_look_at_a_well_master(world: Imagined) -> None:
    await rounds(world, 3)
    assert world.plugins.count(KEEP) == 3
    assert world.plugins.count("fence.keep") == 3
    assert world.engine.cluster.kept_up == (("fence_lease", "m1"),)
    assert world.events.of("upkeep") == []


async def test_a_fence_that_keeps_nothing_up_is_not_asked_to(world: Imagined) -> None:
    world.plugins.registry.lacking = {"keep"}
    await rounds(world)
    assert world.plugins.count("fence.keep") == 0
    assert world.engine.cluster.kept_up == ()


async def test_where_it_is_kept_up_is_written_down_before_and_survives_a_restart(world: Imagined) -> None:
    seen: list[object] = []

    def keep(_: Mapping[str, Any]) -> Result:
        assert world.store.content is not None
        seen.extend(from_json(world.store.content).kept_up)
        return uncertain("the line is dead")

    world.plugins.instead["fence.keep"] = keep
    await rounds(world)
    assert seen == [("fence_lease", "m1")]
    assert from_json(to_json(world.engine.cluster)).kept_up == (("fence_lease", "m1"),)


async def test_what_cannot_be_written_down_is_not_done(world: Imagined) -> None:
    await rounds(world)
    world.engine.state.update(dataclasses.replace(world.engine.cluster, kept_up=()))
    world.store.broken = True
    await rounds(world)
    assert world.plugins.count(KEEP) == 1
    assert world.events.of("upkeep") == ["fence_lease on m1: keep failed: no room"]


async def test_a_master_that_is_not_well_is_not_kept_up(world: Imagined) -> None:
    world.boxes["m1"].up = world.boxes["m1"].host = False
    world.engine.state.update(dataclasses.replace(world.engine.cluster, kept_up=(("fence_lease", "m1"),)))
    await rounds(world)
    assert world.plugins.count("fence.keep") == world.plugins.count("fence.leave") == 0


async def test_a_round_that_a_failover_overtakes_asks_nobody(world: Imagined) -> None:
    def begun_meanwhile(_: Mapping[str, Any]) -> Result:
        world.engine.journal.open(new_run(world.engine, RunKind.FAILOVER, "asked for by a person"))
        return success()

    world.plugins.instead["master_check.run"] = begun_meanwhile
    await rounds(world)
    assert world.engine.journal.open_run() is not None
    assert world.plugins.count("fence.keep") == 0


@pytest.mark.parametrize("during", ["master_check.run", "fence.keep"])
async def test_a_master_that_was_failed_over_meanwhile_is_never_kept_up_again(world: Imagined, during: str) -> None:
    """The round outlasts the whole failover. It must not renew what the proof counted on."""
    world.settings = dataclasses.replace(
        world.settings,
        failover=dataclasses.replace(world.settings.failover, fence_methods=("fence_stop", "fence_lease")),
    )
    world.restarted()

    def meanwhile(_: Mapping[str, Any]) -> Result:
        new_master(world, "r1")
        world.engine.state.update(dataclasses.replace(world.engine.cluster, deposed=("m1",)))
        return success()

    world.plugins.instead[during] = meanwhile
    await rounds(world)
    kept = [call for call in world.plugins.calls if call.startswith("fence.keep")]
    assert kept == (["fence.keep r1"] * 2 if during == "master_check.run" else ["fence.keep m1"])
    assert world.plugins.count("fence.leave") == 0


async def test_only_one_round_is_under_way(world: Imagined) -> None:
    release = asyncio.Event()
    real = world.plugins.call

    async def call(*given: Any, **more: Any) -> Result:
        answer = await real(*given, **more)
        if given[2:3] == ("keep",):
            await release.wait()
        return answer

    world.plugins.call = call  # type: ignore[method-assign] # one that does not answer
    await rounds(world, 3)
    assert world.plugins.count(KEEP) == 1
    release.set()
    await asyncio.sleep(0)
    await rounds(world)
    assert world.plugins.count(KEEP) == 2
    release.clear()
    await rounds(world)
    await world.check.close()


async def test_only_the_handyrep_that_may_act_keeps_it_up(world: Imagined) -> None:
    world.plugins.instead["master_check.run"] = lambda _: fail("another one")
    await rounds(world)
    assert world.plugins.count("fence.keep") == 0


async def test_it_goes_on_while_handyrep_only_looks(world: Imagined) -> None:
    world.maintenance(5)
    await rounds(world)
    world.freeze("a person must decide")
    await rounds(world)
    assert world.plugins.count(KEEP) == 2


async def test_a_failure_is_told_once_and_its_end_too(world: Imagined) -> None:
    world.plugins.instead["fence.keep"] = lambda _: fail("no systemd")
    await rounds(world, 2)
    del world.plugins.instead["fence.keep"]
    await rounds(world, 2)
    told = ["fence_lease on m1: keep failed: no systemd", "fence_lease is kept up on m1"]
    assert world.events.of("upkeep") == told


async def test_a_former_master_that_is_a_replica_is_left(world: Imagined) -> None:
    await rounds(world)
    new_master(world, "r1")
    await rounds(world)
    assert world.plugins.count(LEAVE) == 1
    assert world.engine.cluster.kept_up == (("fence_lease", "r1"),)
    await rounds(world)
    assert world.plugins.count("fence.leave") == 1


@pytest.mark.parametrize("why", ["deposed", "silent", "frozen", "maintenance"])
async def test_what_holds_a_former_master_down_stays_until_it_is_a_replica(world: Imagined, why: str) -> None:
    await rounds(world)
    new_master(world, "r1")
    deposed = ("m1",) if why == "deposed" else ()
    world.engine.state.update(dataclasses.replace(world.engine.cluster, deposed=deposed))
    world.boxes["m1"].follows = "" if deposed else "r1"
    world.boxes["m1"].up = why != "silent"
    if why == "frozen":
        world.freeze("a person must decide")
    if why == "maintenance":
        world.maintenance(5)
    await rounds(world)
    assert world.plugins.count("fence.leave") == 0
    assert ("fence_lease", "m1") in world.engine.cluster.kept_up


async def test_after_maintenance_it_is_taken_away(world: Imagined) -> None:
    await rounds(world)
    new_master(world, "r1")
    world.maintenance(5)
    world.clock.now_s += 301
    await rounds(world)
    assert world.plugins.count("fence.leave") == 1


async def test_one_that_could_not_be_left_is_left_later(world: Imagined) -> None:
    await rounds(world)
    new_master(world, "r1")
    world.plugins.instead["fence.leave"] = lambda _: uncertain("the line is dead")
    await rounds(world)
    assert ("fence_lease", "m1") in world.engine.cluster.kept_up
    world.plugins.instead["fence.leave"] = lambda _: success()
    await rounds(world)
    assert ("fence_lease", "m1") not in world.engine.cluster.kept_up


async def test_a_fence_that_is_not_configured_any_more_leaves_the_master(world: Imagined) -> None:
    await rounds(world)
    world.settings = dataclasses.replace(
        world.settings, failover=dataclasses.replace(world.settings.failover, fence_methods=("fence_stop",))
    )
    world.plugins.registry.lacking = {"keep"}
    world.restarted()
    await rounds(world)
    assert world.plugins.calls.count(LEAVE) == 1
    assert world.engine.cluster.kept_up == ()


async def test_before_the_master_is_started_in_place_it_is_let_go(world: Imagined) -> None:
    world.settings = dataclasses.replace(
        world.settings, failover=dataclasses.replace(world.settings.failover, restart_master=True)
    )
    world.restarted()
    await rounds(world)
    world.boxes["m1"].up = False
    world.plugins.calls.clear()
    await world.look()
    assert [call for call in world.plugins.calls if call in (KEEP, "restart.run m1 start")][:2] == [
        KEEP,
        "restart.run m1 start",
    ]


async def test_before_an_undo_starts_the_old_master_it_is_let_go(world: Imagined) -> None:
    await rounds(world)
    world.plugins.calls.clear()
    run = new_run(world.engine, RunKind.FAILOVER, "given up")
    await world.engine.executor.execute(run, Step("start", ""))
    assert world.plugins.calls[:2] == [KEEP, "restart.run m1 start"]


async def test_before_a_former_master_is_promoted_again_it_is_let_go(world: Imagined) -> None:
    await rounds(world)
    new_master(world, "r1")
    world.plugins.calls.clear()
    run = dataclasses.replace(new_run(world.engine, RunKind.SWITCHOVER, "back again"), ended=(chosen("m1"),))
    await world.engine.executor.execute(run, Step("promote"))
    assert world.plugins.calls == [LEAVE, "promotion.run m1"]


def chosen(name: str) -> Ended:
    return Ended(Step("choose"), Outcome.SUCCESS, "", {"candidate": name}, 0.0)


@pytest.mark.parametrize(("server", "times"), [("m1", 1), ("r1", 0)])
async def test_before_a_person_starts_the_master_it_is_let_go(world: Imagined, server: str, times: int) -> None:
    await rounds(world)
    before = world.plugins.count("fence.keep")
    nothing = cast("Any", None)
    on = Running(world.engine, world.check, nothing, nothing, nothing, nothing)
    assert (await invoke(on, "startup", {"server": server}))["result"] == "SUCCESS"
    assert world.plugins.count("fence.keep") - before == times
