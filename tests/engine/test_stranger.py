"""A PostgreSQL of another cluster answers in a server's place: it is left alone, and nothing that it says counts."""

from typing import Any, cast

import pytest

from handyrep.model.status import Health
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def with_a_stranger(name: str) -> Imagined:
    world = Imagined()
    await world.look()
    world.boxes[name].system_identifier, world.boxes[name].master, world.boxes[name].timeline = "2", True, 7
    world.plugins.calls.clear()
    return world


@pytest.mark.parametrize("name", ["m1", "r1"])
@pytest.mark.parametrize("verify", [True, False])
async def test_b16_c10_it_is_told_and_neither_written_to_nor_fenced_nor_followed(name: str, verify: bool) -> None:
    world = await with_a_stranger(name)
    for _ in range(3):
        await world.check.run(verify=verify)
    cluster = world.engine.cluster
    assert cluster.members[name].status.health is Health.DOWN
    assert "system identifier 2" in cluster.members[name].status.reason
    assert (world.master, cluster.system_identifier, cluster.timeline) == ("m1", "1", 1)
    acts = [call for call in world.plugins.calls if call.startswith(("fence.run", "promotion", "follow", "rejoin"))]
    assert acts == []
    assert f"inspect.write {name}" not in world.plugins.calls
    assert world.engine.journal.runs() == []


async def test_b16_in_the_masters_place_the_cluster_is_down_and_a_person_is_asked() -> None:
    world = await with_a_stranger("m1")
    told = await world.check.run(verify=False)
    assert "In the place of m1 answers a PostgreSQL of another cluster" in told.details
    assert world.engine.cluster.status.health is Health.DOWN


@pytest.mark.parametrize("operation", ["shutdown", "restart", "startup"])
async def test_b16_c10_no_order_of_a_person_reaches_it_either(operation: str) -> None:
    world = await with_a_stranger("r1")
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    answer: dict[str, Any] = await invoke(on, operation, {"server": "r1"})
    assert (answer["result"], "another cluster" in answer["details"]) == ("FAIL", True), answer
    assert world.plugins.count("restart.run r1") == 0


async def test_b16_with_a_stranger_in_the_place_of_a_replica_the_other_one_takes_over() -> None:
    world = await with_a_stranger("r1")
    world.boxes["m1"].up = False
    await world.look(2)
    assert world.master == "r2"
