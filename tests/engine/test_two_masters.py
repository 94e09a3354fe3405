"""More than one server takes writes: clients are held back, a person is asked, and can adopt the right one. And maintenance."""

from typing import Any, cast

import pytest

from handyrep.model.result import fail
from handyrep.model.server import Role
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined

BOUNCERS = {"connection_failover_method": "multi_pgbouncer"}


async def call(world: Imagined, operation: str, **arguments: Any) -> dict[str, Any]:
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    return await invoke(on, operation, arguments)


async def with_two(**failover: Any) -> Imagined:
    """r1 was promoted by hand while m1 is well."""
    world = Imagined(**failover)
    await world.look()
    world.boxes["r1"].master, world.boxes["r1"].timeline = True, 2
    return world


async def test_c7_a_second_master_is_seen_by_a_light_look_and_clients_are_held_back_once() -> None:
    world = await with_two(**BOUNCERS)
    told = await world.check.run(verify=False)
    assert "More than one server takes writes (m1 and r1)" in told.details
    assert world.plugins.count("connection_failover.block") == 1
    assert "clients are held back at every proxy" in world.engine.cluster.frozen
    again = await world.look(3)
    assert "Automation stands still" in again.details
    assert world.plugins.count("connection_failover.block") == 1
    assert world.plugins.count("fence.run") + world.plugins.count("promotion.run") == 0


@pytest.mark.parametrize("way", ["no proxies", "cannot block", "block fails"])
async def test_where_clients_cannot_be_held_back_it_is_said(way: str) -> None:
    world = await with_two(**({} if way == "no proxies" else BOUNCERS))
    if way == "cannot block":
        world.plugins.registry.lacking = {"block"}
    world.plugins.instead["connection_failover.block"] = lambda _: fail("one is silent")
    await world.look()
    expected = "not every proxy holds back: one is silent" if way == "block fails" else "no proxy can hold clients back"
    assert expected in world.engine.cluster.frozen


async def test_an_answer_is_refused_while_both_take_writes_and_then_lets_clients_on() -> None:
    world = await with_two(**BOUNCERS)
    await world.look()
    refused = await call(world, "answer", decision="settled")
    assert (refused["result"], "m1 and r1 take writes" in refused["details"]) == ("FAIL", True)
    assert world.engine.cluster.frozen
    world.boxes["r1"].up = False
    done = await call(world, "answer", decision="settled")
    assert (done["result"], done["details"]) == ("SUCCESS", "automation goes on; clients are let on")
    assert world.engine.cluster.frozen == ""


async def test_c6_the_server_that_alone_takes_writes_can_be_adopted() -> None:
    world = await with_two(**BOUNCERS)
    await world.look()
    refused = await call(world, "adopt", server="r1", cluster="handyrep")
    assert "m1 and r1 takes writes: only a server that alone does can be adopted" in refused["details"]
    world.boxes["m1"].up = False
    done = await call(world, "adopt", server="r1", cluster="handyrep")
    assert done["result"] == "SUCCESS", done
    cluster = world.engine.cluster
    assert (world.master, cluster.frozen, cluster.epoch, cluster.timeline) == ("r1", "", 1, 2)
    assert (cluster.members["m1"].server.role, cluster.deposed) == (Role.REPLICA, ("m1",))
    run, how, _ = world.engine.journal.runs()[-1]
    assert (run.kind.value, how) == ("adoption", "finished")
    assert world.plugins.count("promotion.run") == 0
    assert "connection_failover.run r1" in world.plugins.calls


async def test_c6_a_hand_promoted_server_is_told_with_the_command_that_adopts_it() -> None:
    world = await with_two()
    world.boxes["m1"].up = False
    told = await world.look()
    assert "handyrep adopt r1 CLUSTER" in told.details


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"server": "r1", "cluster": "other"}, "this cluster is named handyrep"),
        ({"server": "m1", "cluster": "handyrep"}, "is the master already"),
        ({"server": "r9", "cluster": "handyrep"}, "there is no server"),
    ],
)
async def test_an_adoption_names_the_cluster_and_a_replica(arguments: dict[str, str], why: str) -> None:
    refused = await call(await with_two(), "adopt", **arguments)
    assert (refused["result"], why in refused["details"]) == ("FAIL", True)


async def test_in_maintenance_nothing_is_done_and_it_ends_by_itself_whatever_the_wall_clock_does() -> None:
    world = Imagined()
    await world.look()
    begun = await call(world, "start_maintenance", minutes=10, reason="a new kernel")
    assert begun["result"] == "SUCCESS"
    world.boxes["m1"].up = False
    told = await world.look()
    assert told.details.startswith("Maintenance for another 10 minutes (a new kernel)")
    world.restarted()
    world.clock.now_s += 300
    assert "another 5 minutes" in (await world.look()).details
    world.clock.wall_s += 86400
    assert "another 5 minutes" in (await world.look()).details
    world.clock.now_s += 301
    await world.look()
    assert world.master == "r1"


async def test_maintenance_can_be_ended_by_hand_and_is_always_bounded() -> None:
    world = Imagined()
    await world.look()
    for minutes, reason in ((0, "x"), (8 * 24 * 60, "x"), (5, "  ")):
        assert (await call(world, "start_maintenance", minutes=minutes, reason=reason))["result"] == "FAIL"
    assert (await call(world, "end_maintenance"))["details"] == "there was no maintenance"
    await call(world, "start_maintenance", minutes=5, reason="x")
    assert (await call(world, "end_maintenance"))["details"] == "HandyRep acts again"
    world.boxes["m1"].up = False
    await world.look()
    assert world.master == "r1"


async def test_the_cooldown_does_not_move_with_the_wall_clock() -> None:
    world = Imagined(failover_cooldown=600.0)
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    world.clock.wall_s += 3600
    world.boxes["r1"].up = False
    assert "failover_cooldown" in (await world.look()).details
