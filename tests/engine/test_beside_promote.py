"""What begins while the new master is being promoted, and when it may not."""

from typing import Any

import pytest

from handyrep.engine.steps import after
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, uncertain
from tests.engine.world import Imagined


async def failed_over(**failover: Any) -> Imagined:
    """A cluster whose master was lost after its lists had been kept ready."""
    world = Imagined(**failover)
    world.boxes["m1"].synchronous = 'ANY 1 ("r1", "r2")'
    for _ in range(3):
        await world.look()
        await world.engine.giving_way.ended()
        world.clock.now_s += 2
    world.boxes["m1"].up = False
    await world.look()
    return world


async def test_where_commits_wait_for_replicas_those_are_told_to_follow_beside_the_promote() -> None:
    world = await failed_over(synchronous_required=1)
    assert world.master == "r1"
    calls = [call for call in world.plugins.calls if call.startswith(("promotion", "follow", "slots.run"))]
    assert calls == ["promotion.run r1", "follow.hasten r2", "slots.run r1", "follow.run r2"]


@pytest.mark.parametrize("follows", [True, False])
async def test_those_that_follow_already_are_left_alone_for_a_moment_to_catch_up(*, follows: bool) -> None:
    """And those that could not be told to are seen to at once."""
    world = Imagined(synchronous_required=1)
    world.boxes["m1"].synchronous = 'ANY 1 ("r1", "r2")'
    slept, sleep = list[float](), world.clock.sleep

    async def noted(duration_s: float) -> None:
        if world.plugins.count("promotion.run") and not world.plugins.count("slots.run"):
            slept.append(duration_s)
        await sleep(duration_s)

    world.clock.sleep = noted  # type: ignore[method-assign]
    if not follows:
        world.plugins.instead["follow.hasten"] = lambda _: fail("its slot is not there")
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert world.master == "r1"
    assert (after._CATCH_UP_S in slept) is follows


async def test_where_commits_wait_for_nobody_it_would_only_take_time_from_the_promote() -> None:
    world = await failed_over()
    assert (world.master, world.plugins.count("follow.hasten")) == ("r1", 0)


@pytest.mark.parametrize("ends", [fail, uncertain])
async def test_nobody_is_led_to_one_whose_promote_is_not_known_to_have_been_ordered(ends: Any) -> None:
    """Another HandyRep may have to order it, or a person to choose another replica."""
    world = Imagined(synchronous_required=1)
    world.plugins.instead["promotion.run"] = lambda _: ends("the line is dead")
    world.boxes["m1"].synchronous = 'ANY 1 ("r1", "r2")'
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert world.plugins.count("promotion.run") == 1
    assert world.plugins.count("follow.hasten") == 0


async def test_how_it_went_is_not_heeded() -> None:
    def hung(_: Any) -> Result:
        raise RuntimeError("a plugin's mistake")

    for instead in (lambda _: fail("no"), hung):
        world = Imagined(synchronous_required=1)
        world.plugins.instead["follow.hasten"] = instead
        world.boxes["m1"].synchronous = 'ANY 1 ("r1", "r2")'
        await world.look()
        world.boxes["m1"].up = False
        result = await world.look()
        assert (world.master, result.outcome) == ("r1", Outcome.SUCCESS)


@pytest.mark.parametrize("told", [fail("it is in recovery still"), Result(Outcome.SUCCESS), uncertain("no answer")])
async def test_what_is_told_of_the_promote_decides_nothing(told: Result) -> None:
    """Whether it happened is seen by the look that follows."""
    world = Imagined()
    world.plugins.instead["inspect.promoted"] = lambda _: told
    await world.look()
    world.boxes["m1"].up = False
    result = await world.look()
    assert (world.master, result.outcome) == ("r1", Outcome.SUCCESS)
    assert world.plugins.count("inspect.promoted") == 1


async def test_one_that_is_said_to_be_promoted_and_is_not_is_recorded_by_nobody() -> None:
    world = Imagined()
    world.plugins.instead["inspect.promoted"] = lambda _: Result(Outcome.SUCCESS)
    world.plugins.instead["promotion.run"] = lambda _: Result(Outcome.SUCCESS)
    await world.look()
    world.boxes["m1"].up = False
    result = await world.look()
    assert world.plugins.count("inspect.promoted") > 0
    assert (world.master, result.outcome) == ("m1", Outcome.UNCERTAIN)
