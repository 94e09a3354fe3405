"""What what_if predicts is what happens then: each event is predicted first and brought about after, in an imagined cluster."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from handyrep.model.result import Result, success
from handyrep.operations.declare import Running, invoke
from handyrep.plugin_api.contract import Kind
from tests.engine.world import Imagined


def crash(world: Imagined, *names: str) -> None:
    for name in names:
        world.boxes[name].up = False


def power_off(world: Imagined, *names: str) -> None:
    for name in names:
        world.boxes[name].up = world.boxes[name].host = False


EVENTS: dict[str, Callable[[Imagined], None]] = {
    "m1 dies": lambda world: crash(world, "m1"),
    "m1 host dies": lambda world: power_off(world, "m1"),
    "r1 dies": lambda world: crash(world, "r1"),
    "r1 host dies": lambda world: power_off(world, "r1"),
    "m1, r1 die": lambda world: crash(world, "m1", "r1"),
    "m1 and r2 host die": lambda world: power_off(world, "m1", "r2"),
    "all of replica host dies": lambda world: power_off(world, "r1", "r2"),
}


async def predicted(world: Imagined, event: str) -> dict[str, Any]:
    on = cast("Running", type("On", (), {"engine": world.engine}))
    return await invoke(on, "what_if", {"event": event})


@pytest.mark.parametrize("auto_failover", [True, False])
@pytest.mark.parametrize("event", EVENTS)
async def test_the_prediction_comes_true(event: str, auto_failover: bool) -> None:
    world = Imagined(auto_failover=auto_failover)
    await world.look()
    told = await predicted(world, event)
    EVENTS[event](world)
    await world.look()
    happened = world.engine.last_verdict
    assert happened is not None
    assert (told["rule"], told["move"]) == (happened.rule, happened.move.value)
    promoted = [call.split()[1] for call in world.plugins.calls if call.startswith("promotion.run")]
    assert promoted == ([told["candidate"]] if told.get("candidate") else [])


async def test_a_replica_that_was_asked_before_the_master_wrote_more_lacks_nothing() -> None:
    """HandyRep's own test write may fall between the two questions."""
    world = Imagined(max_lost_wal=0.0)
    world.boxes["m1"].synchronous = ""
    await world.look()
    asked = world.plugins._inspect_run

    def moving(given: Mapping[str, Any]) -> Result:
        name = next(iter(given.values()))
        if name == "m1":
            world.boxes["m1"].position += 100
        told = asked(given)
        if name == "m1":
            world.boxes["r1"].position = world.boxes["r2"].position = world.boxes["m1"].position
        return told

    call = world.plugins.call

    async def polled_slowly(kind: Kind, *words: Any, **how: Any) -> Result:
        if kind is Kind.POLL:
            await asyncio.sleep(0.05)
        return await call(kind, *words, **how)

    world.plugins.instead["inspect.run"] = moving
    world.plugins.call = polled_slowly  # type: ignore[method-assign]
    told = await predicted(world, "m1 dies")
    assert (told["rule"], told["candidate"], told["lost_bytes"]) == ("F17", "r1", 0)


async def test_it_changes_nothing_and_orders_nothing() -> None:
    world = Imagined()
    await world.look()
    before, saved, kept = world.engine.cluster, world.store.content, list(world.log.records)
    world.plugins.calls.clear()
    await predicted(world, "m1 dies")
    acts = (
        "promotion",
        "fence.run",
        "fence.release",
        "restart.run m1 st",
        "follow",
        "rejoin",
        "clone",
        "connection_failover.run",
    )
    assert not [call for call in world.plugins.calls if call.startswith(acts) and not call.endswith("status")]
    assert (world.engine.cluster, world.store.content, world.log.records) == (before, saved, kept)


async def test_the_plan_is_the_plan_and_names_fence_candidate_and_loss() -> None:
    world = Imagined()
    await world.look()
    told = await predicted(world, "m1 dies")
    assert told["candidate"] == "r1"
    assert told["lost_bytes"] == 0
    assert told["plan"][0].startswith("look once more")
    assert told["plan"][1] == "prove with fence_stop that m1 can acknowledge no commit any more"
    assert "order r1 to become the master" in told["plan"]
    assert "let r2 receive from r1" in told["plan"]
    assert "let r1 receive from r1" not in told["plan"]


@pytest.mark.parametrize(("max_lost_wal", "candidate"), [(0.0, ""), (1.0, "r1")])
async def test_what_would_be_lost_is_said_beforehand_and_held_to_the_limit(max_lost_wal: float, candidate: str) -> None:
    world = Imagined(max_lost_wal=max_lost_wal)
    world.boxes["m1"].synchronous = ""
    await world.look()
    world.boxes["m1"].position += 5000
    told = await predicted(world, "m1 dies")
    assert (told["move"], told["candidate"]) == ("proceed", candidate)
    if candidate:
        assert told["lost_bytes"] == 5000
    else:
        assert "lacks 5000 bytes" in str(told["refused"])
        assert "But it would be given up then: r1: it lacks 5000 bytes" in told["details"]
        assert "give up" in told["plan"][-1]


async def test_what_cannot_be_supposed_is_refused() -> None:
    world = Imagined()
    await world.look()
    told = await predicted(world, "m3 dies")
    assert (told["result"], "there is no server" in told["details"]) == ("FAIL", True)


@pytest.mark.parametrize(
    ("fence", "rule"), [("fence_stop", "F16"), ("fence_command", "F17"), ("fence_starve", "F17"), ("no_such", "F16")]
)
async def test_without_the_host_only_a_fence_that_does_not_need_it_is_counted_on(fence: str, rule: str) -> None:
    world = Imagined(fence_methods=(fence,))
    world.plugins.instead["fence.test"] = lambda _: success()
    await world.look()
    assert (await predicted(world, "m1 dies"))["rule"] == "F17"
    assert (await predicted(world, "m1 host dies"))["rule"] == rule
