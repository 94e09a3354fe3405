"""A failover that an older HandyRep began stands open: it is gone on with, or nothing is done until a person has looked."""

import pytest

from handyrep.errors import StateError
from tests.engine.world import Imagined

BEGUN = {
    "what": "open", "epoch": 1, "at": "2026-01-01T00:00:00+00:00", "kind": "failover", "old_master": "m1", "reason": "it died",
    "began_at": "2026-01-01T00:00:00+00:00", "fences": ["fence_stop"], "replicas": ["r1", "r2"],
}  # fmt: skip


async def with_open(**other: object) -> Imagined:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    world.log.append({**BEGUN, **other})
    return world


async def test_e20_a_run_without_what_is_new_and_with_what_is_gone_is_led_to_its_end() -> None:
    world = await with_open(mood="hasty")
    await world.look()
    assert (world.master, world.engine.journal.open_run()) == ("r1", None)


async def test_a_run_that_was_understood_once_stands_open_still_after_a_record_that_was_not() -> None:
    world = await with_open()
    journal, records = world.engine.journal, list(world.log.records)
    assert journal.open_run() is not None
    world.log.records[:] = [{**BEGUN, "kind": "sidestep"}]
    with pytest.raises(StateError, match="sidestep"):
        journal.open_run()
    world.log.records[:] = records
    assert journal.open_run() is not None


async def test_e20_a_run_that_is_not_understood_is_not_led() -> None:
    world = await with_open(kind="sidestep")
    for _ in range(3):
        with pytest.raises(StateError, match="sidestep"):
            await world.look()
    assert (world.master, world.plugins.count("fence.run"), world.plugins.count("promotion.run")) == ("m1", 0, 0)
