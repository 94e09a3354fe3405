"""The level of protection follows what is: measured at each full look, told when it changes, shown by status and doctor."""

from typing import Any, cast

from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def level(world: Imagined, operation: str = "get_status") -> str | None:
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    told: dict[str, Any] = await invoke(on, operation, {})
    return None if told["protection"] is None else str(told["protection"]["level"])


async def test_e21_it_follows_the_fence_and_the_replicas() -> None:
    world = Imagined()
    assert await level(world) is None
    levels = []
    for host, up in ((True, True), (False, True), (False, False), (True, False), (True, True)):
        world.boxes["m1"].host, world.boxes["r2"].up = host, up
        await world.look()
        levels.append(await level(world))
    assert levels == ["P4", "P3", "P0", "P2", "P4"]


async def test_each_change_is_told_once() -> None:
    world = Imagined()
    await world.look(3)
    world.boxes["r2"].up = False
    await world.look(3)
    told = world.events.of("protection")
    assert [text.split(",")[0] for text in told] == ["protection: P4", "protection: P2"]


async def test_a_light_look_measures_nothing() -> None:
    world = Imagined()
    await world.look()
    before = world.plugins.count("fence.test")
    await world.check.run(verify=False)
    assert world.plugins.count("fence.test") == before


async def test_doctor_measures_at_once() -> None:
    world = Imagined()
    assert await level(world, "doctor") == "P2"
    await world.look()
    assert await level(world, "doctor") == "P4"
