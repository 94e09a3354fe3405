"""The question to the old master beside the steps: never older than a moment, and never without an end."""

import asyncio

from handyrep.engine.listening import Listening
from handyrep.model.answer import Outcome
from tests.engine.world import Imagined


def heard(world: Imagined) -> Listening:
    return Listening(world.engine.observer, world.clock)


async def test_what_was_not_asked_is_asked_and_waited_for() -> None:
    world = Imagined()
    assert await heard(world).hears_master("m1")
    assert not await heard(world).hears_master("r1"), "a replica answers, and not as a master"
    world.boxes["m1"].up = False
    assert not await heard(world).hears_master("m1")


async def test_an_answer_that_came_meanwhile_is_heard() -> None:
    world = Imagined()
    world.boxes["m1"].up = False
    listening = heard(world)
    listening.begin("m1")
    await asyncio.sleep(0)
    world.boxes["m1"].up = True
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.boxes["m1"].up = False
    assert await listening.hears_master("m1")


async def test_a_question_of_long_ago_or_to_another_server_says_nothing() -> None:
    world = Imagined()
    world.boxes["m1"].up = False
    listening = heard(world)
    for name, later_s in (("m1", 2.0), ("r1", 0.0)):
        listening.begin(name)
        world.boxes["m1"].up = False
        await asyncio.sleep(0)
        world.clock.now_s += later_s
        world.boxes["m1"].up = True
        assert await listening.hears_master("m1")


async def test_it_ends_by_itself() -> None:
    """A failover that was given up never asks for the answer."""
    world = Imagined()
    world.boxes["m1"].up = False
    heard(world).begin("m1")
    for _ in range(1000):
        await asyncio.sleep(0)
    asked = world.plugins.count("inspect.run m1")
    assert 0 < asked < 500
    await asyncio.sleep(0)
    assert world.plugins.count("inspect.run m1") == asked


async def test_in_a_whole_failover_the_question_is_put_once_its_fence_has_worked() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    done = await world.look()
    assert done.outcome is Outcome.SUCCESS
    fenced = world.plugins.calls.index("fence.run m1")
    assert "inspect.run m1" in world.plugins.calls[fenced : world.plugins.calls.index("promotion.run r1")]
