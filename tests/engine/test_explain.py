"""explain tells of the last failover or of any by its number, with its steps."""

from typing import Any, cast

from handyrep.model.result import fail
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def explain(world: Imagined, **arguments: Any) -> dict[str, Any]:
    return await invoke(cast("Running", type("On", (), {"engine": world.engine})), "explain", arguments)


async def after_two() -> Imagined:
    """A failover that was given up, and one that was finished."""
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = lambda _: fail("not now", untouched=True)
    await world.look()
    del world.plugins.instead["fence.run"]
    await world.look(2)
    return world


async def test_the_last_and_any_other() -> None:
    world = await after_two()
    last, first, second = await explain(world), await explain(world, epoch=1), await explain(world, epoch=2)
    assert last["last_run"] == second["last_run"]
    assert [told["last_run"]["how"] for told in (first, second)] == ["abandoned", "finished"]
    assert [step["step"] for step in first["last_run"]["steps"]] == ["recheck", "fence fence_stop"]
    steps = [step["step"] for step in second["last_run"]["steps"]]
    assert steps[:6] == ["recheck", "fence fence_stop", "freeze", "rescue", "choose", "promote"]


async def test_one_that_was_not_is_refused_with_those_that_were() -> None:
    refused = await explain(await after_two(), epoch=7)
    assert (refused["result"], "1, 2" in refused["details"]) == ("FAIL", True)


async def test_before_anything_happened_there_is_nothing_to_tell() -> None:
    told = await explain(Imagined())
    assert (told["result"], told["verdict"], told["last_run"]) == ("SUCCESS", None, None)
