"""explain tells of the last verdict or any, of the last failover or any, with their inputs and times; and judges once more."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import pytest

from handyrep.decide import failover as rules
from handyrep.model.kept import Kept
from handyrep.model.result import Result, fail, success
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined


class Told:
    """A history that reads back what was told."""

    def __init__(self, world: Imagined) -> None:
        self._world = world

    def newest(self, count: int, kind: str) -> list[dict[str, Any]]:
        return [{"at": "2026-11-25T13:00:00+00:00", "text": text} for text in self._world.events.of(kind)[-count:]]


async def call(world: Imagined, operation: str, **arguments: Any) -> dict[str, Any]:
    on = type("On", (), {"engine": world.engine, "check": world.check, "history": Told(world)})
    return await invoke(cast("Running", on), operation, arguments)


async def explain(world: Imagined, what: str = "", **arguments: Any) -> dict[str, Any]:
    return await call(world, "explain", what=what, **arguments)


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


async def refusing(**failover: Any) -> Imagined:
    """The master is off, and no fence can prove it."""
    world = Imagined(**failover)
    await world.look()
    world.boxes["m1"].up = world.boxes["m1"].host = False
    await world.look(3)
    return world


async def test_the_last_and_any_other_failover() -> None:
    world = await after_two()
    last, first, second = await explain(world), await explain(world, epoch=1), await explain(world, epoch=2)
    assert last["last_run"] == second["last_run"]
    assert (await explain(world, "failover")) == second
    assert [told["last_run"]["how"] for told in (first, second)] == ["abandoned", "finished"]
    assert [step["step"] for step in first["last_run"]["steps"]] == ["recheck", "fence fence_stop"]
    steps = [step["step"] for step in second["last_run"]["steps"]]
    assert steps[:6] == ["recheck", "fence fence_stop", "freeze", "rescue", "choose", "promote"]


async def test_one_that_was_not_is_refused_with_those_that_were() -> None:
    refused = await explain(await after_two(), epoch=7)
    assert (refused["result"], "1, 2" in refused["details"]) == ("FAIL", True)
    assert "no failover yet" in (await explain(Imagined(), "failover"))["details"]


async def test_before_anything_happened_there_is_nothing_to_tell() -> None:
    told = await explain(Imagined())
    assert (told["result"], told["verdict"], told["last_run"]) == ("SUCCESS", None, None)
    assert "no verdict is kept" in (await explain(Imagined(), replay=True))["details"]
    assert (await call(Imagined(), "verdicts"))["verdicts"] == []


async def test_the_last_verdict_with_who_saw_what_and_the_rules_around_it() -> None:
    told = (await explain(await refusing()))["verdict"]
    assert (told["id"], told["rule"], told["times"]) == (2, "F16", 3)
    assert told["evidence"]["m1"]["host_answers"] == "no"
    assert told["evidence"]["r1"]["facts"]["received_lsn"] == "0/3E8"
    assert told["proofs"] == [
        {
            "fence": "fence_stop",
            "possible": "no",
            "said": "no SSH",
            "routes_only": False,
            "needs_silence": False,
            "final": False,
            "needs_host": True,
        }
    ]
    assert told["choice"]["candidate"] == "r1"
    assert [one["rule"] for one in told["passed_over"]][-1] == "F15"
    assert told["next"]["rule"] == "F17"
    assert "handyrep confirmed-failover" in told["remedy"]


async def test_any_verdict_by_its_number() -> None:
    world = await refusing()
    listed = (await call(world, "verdicts"))["verdicts"]
    assert [(one["id"], one["rule"]) for one in listed] == [(1, "F07"), (2, "F16")]
    assert [one["id"] for one in (await call(world, "verdicts", count=1))["verdicts"]] == [2]
    told = await explain(world, "1")
    assert (told["verdict"]["rule"], told["verdict"]["sentence"]) == ("F07", told["details"])


@pytest.mark.parametrize("what", ["3", "0", "-1", "failovers", "9" * 5000, "²"])
async def test_a_verdict_that_is_not_kept_is_refused(what: str) -> None:
    told = await explain(await refusing(), what)
    assert (told["result"], told["error"]) == ("FAIL", "RefusedError")
    assert "handyrep verdicts" in told["details"]


@pytest.mark.parametrize("count", [0, 10_001])
async def test_so_many_are_not_listed(count: int) -> None:
    assert (await call(Imagined(), "verdicts", count=count))["error"] == "RefusedError"


@pytest.mark.parametrize("what", ["", "1", "2", "failover"])
async def test_replayed_by_the_same_rules_the_verdict_is_the_same(what: str) -> None:
    told = await explain(await after_two(), what, replay=True)
    assert told["result"] == "SUCCESS", told["details"]
    assert "as then" in told["details"]
    assert told["verdict"]["same_words"] is True


async def test_replayed_by_other_rules_it_says_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await refusing()
    monkeypatch.setattr(rules, "RULES", tuple(rule for rule in rules.RULES if rule.id != "F16"))
    told = await explain(world, replay=True)
    assert told["result"] == "FAIL"
    assert "then it was F16 (refuse), now it would be F17 (proceed)" in told["details"]
    assert told["verdict"]["differs"] in (await explain(world))["verdict"]["differs"]


async def test_other_words_of_the_same_rule_are_told_and_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await refusing()
    reworded = tuple(dataclasses.replace(rule, sentence=f"Oh dear. {rule.sentence}") for rule in rules.RULES)
    monkeypatch.setattr(rules, "RULES", reworded)
    told = await explain(world, replay=True)
    assert told["result"] == "SUCCESS"
    assert "in other words: Oh dear. m1 is gone" in told["details"]


@pytest.mark.parametrize("inputs", [None, {"version": 99, "situation": {}}, {"version": 1, "situation": {}}])
async def test_what_another_version_wrote_is_told_and_not_judged(
    inputs: Mapping[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await refusing()
    last = world.check.verdicts.last()
    assert last is not None
    foreign = dataclasses.replace(last, inputs=inputs)
    monkeypatch.setattr(world.check.verdicts, "last", lambda: foreign)
    told = await explain(world)
    assert (told["result"], told["verdict"]["rule"]) == ("SUCCESS", "F16")
    assert told["verdict"]["because"] == list(last.verdict.because)
    assert "evidence" not in told["verdict"]
    replayed = await explain(world, replay=True)
    assert replayed["result"] == "FAIL"
    assert "cannot be replayed" in replayed["details"]


async def test_a_verdict_that_could_not_be_kept_is_told_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await refusing()
    monkeypatch.setattr(world.check.verdicts, "last", lambda: None)
    told = (await explain(world))["verdict"]
    assert (told["rule"], "id" in told) == ("F16", False)


async def test_the_steps_have_their_times_since_the_first_suspicion() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False

    def slow_test(_: Mapping[str, Any]) -> Result:
        world.clock.now_s += 0.25
        return success()

    def slow_promotion(given: Mapping[str, Any]) -> Result:
        world.clock.now_s += 0.125
        return world.plugins._promotion_run(given)

    world.plugins.instead = {"fence.test": slow_test, "promotion.run": slow_promotion}
    await world.look()
    run = (await explain(world, "failover"))["last_run"]
    steps = {step["step"]: step for step in run["steps"]}
    assert run["suspected_for_s"] == 0.5 + 0.25
    assert steps["recheck"]["after_s"] == 0.5 + 0.25
    assert steps["promote"]["took_s"] == 0.125
    after = [step["after_s"] for step in run["steps"]]
    assert after == sorted(after)
    assert after[-1] >= 0.875


async def test_a_step_that_a_killed_handyrep_began_has_its_time() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = world.killed
    with pytest.raises(KeyboardInterrupt):
        await world.look()
    world.restarted()
    told = await explain(world, "failover")
    assert told["last_run"]["how"] == "open"
    assert "stands open" in told["details"]
    last = told["last_run"]["steps"][-1]
    assert (last["step"], last["outcome"], last["at"] is not None) == ("fence fence_stop", "UNCERTAIN", True)


async def test_a_failover_shows_the_verdict_that_began_it_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await after_two()
    told = await explain(world, "failover")
    assert told["verdict"]["id"] == told["last_run"]["verdict"]
    assert (told["verdict"]["rule"], told["about"]) == ("F17", "failover")
    find = world.check.verdicts.find

    def of_another_history(number: int) -> Kept | None:
        return find(number - 2)

    monkeypatch.setattr(world.check.verdicts, "find", of_another_history)
    assert (await explain(world, "failover"))["verdict"] is None


async def test_wal_that_only_a_former_master_had_is_told() -> None:
    world = await after_two()
    world.events.record("diverged", "m1: 3 transactions were only on m1; kept in /kept", {})
    for what in ("", "failover"):
        told = await explain(world, what)
        assert told["diverged"] == ["2026-11-25T13:00:00 m1: 3 transactions were only on m1; kept in /kept"]
