"""A master that lets clients in and ends no commit: only a fence that ends it under all circumstances may be used, and else nothing is changed."""

from typing import Any, cast

import pytest

from handyrep.engine.check import new_run
from handyrep.model.result import fail, success
from handyrep.model.run import RunKind
from handyrep.model.status import Health
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def call(world: Imagined, operation: str, **arguments: Any) -> dict[str, Any]:
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    return await invoke(on, operation, arguments)


def hang(world: Imagined, *, stalled: bool) -> None:
    """Writes of m1 hang, and for so long already."""
    world.plugins.instead["inspect.write"] = lambda given: (
        fail("a test write hangs", alive=True, stalled=stalled) if given["servername"] == "m1" else success()
    )


@pytest.fixture
async def world() -> Imagined:
    made = Imagined()
    await made.look()
    return made


async def test_it_is_told_and_failed_over_with_a_fence_that_ends_it(world: Imagined) -> None:
    hang(world, stalled=True)
    done = await world.look()
    assert (done.as_rd()["result"], world.master) == ("SUCCESS", "r1"), done
    run, how, _ = world.engine.journal.runs()[-1]
    assert (how, "its storage hangs" in run.reason) == ("finished", True)
    assert "r1 can still see it" in run.signs_of_life


async def test_a_fence_that_leaves_it_running_is_not_tried(world: Imagined) -> None:
    world.plugins.registry.silent = {"fence_stop"}
    hang(world, stalled=True)
    refused = await world.look(3)
    assert refused.as_rd()["rule"] == "F16"
    assert (world.plugins.count("fence.run"), world.engine.journal.runs()) == (0, [])
    status = world.engine.cluster.members["m1"].status
    assert (status.health, "ends no commit" in status.reason) == (Health.DOWN, True)
    assert world.engine.cluster.status.health is Health.DOWN


async def test_what_is_kept_up_on_it_goes_on() -> None:
    world = Imagined(fence_methods=("fence_lease",))
    world.plugins.registry.lacking, world.plugins.registry.silent = set(), {"fence_lease"}
    hang(world, stalled=True)
    await world.look(3)
    assert world.plugins.count("fence.keep m1") == 3


async def test_what_is_only_slow_is_told_and_let_alone_and_every_look_is_a_full_one(world: Imagined) -> None:
    hang(world, stalled=False)
    await world.look()
    before = world.plugins.count("inspect.write")
    for _ in range(3):
        assert (await world.check.run(verify=False)).as_rd()["rule"] == "F07"
    assert world.plugins.count("inspect.write") == before + 3
    assert world.engine.cluster.members["m1"].status.health is Health.WARNING
    del world.plugins.instead["inspect.write"]
    await world.check.run(verify=False)
    assert world.engine.cluster.status.health is Health.HEALTHY
    await world.check.run(verify=False)
    assert world.plugins.count("inspect.write") == before + 4


async def test_one_that_writes_again_at_the_last_look_stays_master(world: Imagined) -> None:
    answers = [True, True, False]
    world.plugins.instead["inspect.write"] = lambda _: fail("hangs", alive=True, stalled=answers.pop(0))
    await world.look()
    _, how, said = world.engine.journal.runs()[-1]
    assert (how, "answers again" in said, world.master) == ("abandoned", True, "m1")


async def test_a_person_may_fail_over_and_is_not_told_that_it_would_be_a_switchover(world: Imagined) -> None:
    hang(world, stalled=True)
    done = await call(world, "manual_failover")
    run, _, _ = world.engine.journal.runs()[-1]
    assert (done["result"], run.kind) == ("SUCCESS", RunKind.FAILOVER), done


async def test_a_persons_word_that_it_is_off_is_not_taken_while_it_answers(world: Imagined) -> None:
    hang(world, stalled=True)
    refused = await call(world, "confirmed_failover", cluster="handyrep", reason="it hangs")
    assert (refused["result"], "it is not off" in refused["details"]) == ("FAIL", True), refused
    assert new_run(world.engine, RunKind.FAILOVER, "").epoch == 1
