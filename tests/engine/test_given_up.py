"""What was tried in vain while the master is away is told by status: the verdict alone would say that it fails over."""

import dataclasses
from typing import Any, cast

from handyrep.model.result import fail
from handyrep.model.status import Health, Status
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def told(world: Imagined) -> dict[str, Any] | None:
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    given_up: dict[str, Any] | None = (await invoke(on, "get_status", {}))["given_up"]
    return given_up


async def lost_in_vain() -> Imagined:
    """Its master crashed with WAL that no replica has, and that may not be lost."""
    world = Imagined(rescue_method="failplugin", max_lost_wal=0.0)
    world.boxes["m1"].synchronous = ""
    world.plugins.instead["rescue.run"] = lambda _: fail("it stands in for one that is not wanted")
    await world.look()
    world.boxes["m1"].up, world.boxes["m1"].position = False, 5000
    return world


async def test_how_often_and_why_the_last_time() -> None:
    world = await lost_in_vain()
    assert await told(world) is None
    for times in (1, 2):
        await world.look()
        given_up = await told(world)
        assert given_up is not None
        assert given_up["times"] == times
        assert "lacks 4000 bytes" in given_up["text"]
        assert given_up["at"] == world.engine.journal.runs()[-1][0].began_at.isoformat()


async def test_none_while_the_master_is_well() -> None:
    world = await lost_in_vain()
    await world.look()
    world.boxes["m1"].up = True
    await world.look()
    assert world.engine.cluster.members["m1"].status.health.word == "healthy"
    assert await told(world) is None


async def test_a_master_of_which_nothing_is_known_is_not_taken_for_well() -> None:
    world = await lost_in_vain()
    await world.look()
    master = world.engine.cluster.members["m1"]
    world.engine.state.update(
        world.engine.cluster.with_member(dataclasses.replace(master, status=Status(Health.UNKNOWN)))
    )
    assert await told(world) is not None


async def test_what_was_given_up_in_an_earlier_outage_is_not_told_in_the_next() -> None:
    world = await lost_in_vain()
    await world.look()
    world.boxes["m1"].up = True
    await world.look()
    world.clock.now_s += 3600
    world.plugins.instead["fence.test"] = lambda _: fail("no fence any more")
    world.boxes["m1"].up = False
    await world.look()
    assert world.engine.last_verdict is not None
    assert world.engine.last_verdict.rule == "F16"
    assert await told(world) is None


async def test_none_after_one_that_came_to_its_end() -> None:
    world = await lost_in_vain()
    await world.look()
    world.boxes["r1"].position = 5000
    await world.look()
    assert world.master == "r1"
    assert await told(world) is None
