"""A person's word stands where no fence can prove anything: once, for this cluster, recorded, and never against a sign of life."""

from typing import Any, cast

import pytest

from handyrep.decide.stages import CONFIRMATION
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


async def call(world: Imagined, operation: str = "confirmed_failover", **arguments: Any) -> dict[str, Any]:
    on = cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))
    given = {"cluster": "handyrep", "reason": "the plug is in my hand", **arguments}
    return await invoke(on, operation, given if operation == "confirmed_failover" else arguments)


async def powered_off(*, synchronous: str = "ANY 1 (r1, r2)", **failover: Any) -> Imagined:
    """A cluster whose master's host is off, and that HandyRep knew when it was well."""
    world = Imagined(**failover)
    world.boxes["m1"].synchronous = synchronous
    await world.look()
    world.boxes["m1"].up = world.boxes["m1"].host = False
    return world


async def test_without_it_the_refusal_says_how_and_nothing_is_promoted() -> None:
    world = await powered_off()
    refused = await world.look(3)
    assert "handyrep confirmed-failover" in refused.details
    assert world.plugins.count("promotion.run") == 0


async def test_with_it_the_failover_is_done_and_the_word_is_recorded_as_the_proof() -> None:
    world = await powered_off()
    done = await call(world)
    assert (done["result"], world.master) == ("SUCCESS", "r1")
    run, how, _ = world.engine.journal.runs()[-1]
    proof = next(e for e in run.ended if e.step.subject == CONFIRMATION)
    assert (how, "the plug is in my hand" in str(proof.extra["proof"])) == ("finished", True)


async def test_a_fence_that_can_prove_it_is_asked_first() -> None:
    world = await powered_off()
    world.boxes["m1"].host = True
    assert (await call(world))["result"] == "SUCCESS"
    run, _, _ = world.engine.journal.runs()[-1]
    assert [e.step.subject for e in run.ended if e.step.stage == "fence"] == ["fence_stop"]


async def test_it_is_used_once() -> None:
    world = await powered_off()
    await call(world)
    world.boxes["r1"].up = world.boxes["r1"].host = False
    world.clock.now_s += 10_000
    await world.look(3)
    assert world.plugins.count("promotion.run") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"cluster": "another"}, "this cluster is named handyrep"),
        ({"cluster": ""}, "this cluster is named handyrep"),
        ({"reason": "  "}, "the reason is empty"),
        ({"newmaster": "m1"}, "is the master already"),
        ({"newmaster": "r9"}, "r9"),
    ],
)
async def test_a_slip_of_the_fingers_does_nothing(arguments: dict[str, str], why: str) -> None:
    world = await powered_off()
    refused = await call(world, **arguments)
    assert (refused["result"], why in refused["details"]) == ("FAIL", True)
    assert world.engine.journal.runs() == []


async def test_a_master_that_lives_is_not_off_whatever_anybody_says() -> None:
    world = Imagined()
    await world.look()
    refused = await call(world)
    assert (refused["result"], "accepts connections" in refused["details"]) == ("FAIL", True)
    assert world.engine.journal.runs() == []


async def test_a_master_that_a_replica_still_sees_is_not_off() -> None:
    world = await powered_off()
    world.plugins.instead["inspect.sees"] = lambda given: world.seen_by(given, "r2")
    refused = await call(world)
    assert (refused["result"], "can still see m1" in refused["details"]) == ("FAIL", True)
    assert world.plugins.count("promotion.run") == 0


async def test_a_loss_that_cannot_be_bounded_needs_a_second_word() -> None:
    world = await powered_off(synchronous="")
    refused = await call(world)
    assert (refused["result"], "how much WAL would be lost is not known" in refused["details"]) == ("FAIL", True)
    assert world.plugins.count("promotion.run") == 0
    done = await call(world, accept_loss=True)
    assert (done["result"], world.master) == ("SUCCESS", "r1")
    run, _, _ = world.engine.journal.runs()[-1]
    chosen = next(e for e in run.ended if e.step.stage == "choose")
    assert (chosen.extra["lost_bytes"], "a person accepted" in chosen.details) == (None, True)


async def test_accepting_a_loss_does_not_excuse_anything_else() -> None:
    world = await powered_off(synchronous="")
    world.boxes["r1"].up = world.boxes["r2"].up = False
    refused = await call(world, accept_loss=True)
    assert (refused["result"], "no replica may take over" in refused["details"]) == ("FAIL", True)


def assert_given_up_since_it_answers(world: Imagined) -> None:
    """Nobody was promoted in the place of a master that takes logins again."""
    assert (world.plugins.count("promotion.run"), world.master) == (0, "m1")
    _, how, text = world.engine.journal.runs()[-1]
    assert (how, "void" in text) == ("abandoned", True)


async def test_a_word_that_is_no_longer_true_promotes_nobody() -> None:
    """HandyRep was killed after the word was taken; meanwhile somebody switched the old master on again."""
    world = await powered_off()
    select = world.plugins.select
    world.plugins.select = world.killed_in_select  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await call(world)
    world.plugins.select = select  # type: ignore[method-assign]
    world.log.records.pop()  # it was killed a moment earlier: after the word, and before it began to choose
    world.boxes["m1"].up = world.boxes["m1"].host = True
    world.restarted()
    await world.look()
    assert_given_up_since_it_answers(world)


async def test_a_killed_handyrep_goes_on_with_the_word_from_its_journal() -> None:
    world = await powered_off()
    world.plugins.instead["promotion.run"] = world.killed
    with pytest.raises(KeyboardInterrupt):
        await call(world)
    del world.plugins.instead["promotion.run"]
    world.restarted()
    await world.look()
    run = world.engine.journal.runs()[-1][0]
    assert run.confirmed == "the plug is in my hand"
