"""Thousands of imagined failovers break no invariant, and each of many faults put into HandyRep is found by them."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from handyrep.decide import candidates, failover, promise, stages
from handyrep.decide.policy import Policy
from handyrep.engine import agreeing, engine, execute, heirs
from handyrep.engine.check import Check
from handyrep.engine.conduct import Conductor
from handyrep.engine.journal import Journal
from handyrep.engine.steps import after, before
from handyrep.engine.steps.scene import Scene
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture
from handyrep.model.result import Result, success
from handyrep.model.run import Run, RunKind
from handyrep.plugin_api.contract import Kind
from tests.simulation import simulate
from tests.simulation.life import LISTS_EVERY, run_seed

FAILOVERS = 1500
LIVES = 2500
Patch = pytest.MonkeyPatch


def test_nothing_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    status = simulate.main(["--failovers", str(FAILOVERS), "--seed", "1", "--json"])
    *stories, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert (status, stories, summary["violations"]) == (0, [], 0)
    assert summary["failovers"] >= FAILOVERS
    assert sum(summary[how] for how in ("finished", "abandoned", "asked", "waiting")) == summary["failovers"]
    assert all(summary[how] for how in ("finished", "abandoned", "asked", "waiting")), "a way to end is never gone"


def test_a_seed_is_the_whole_life() -> None:
    assert [run_seed(seed) for seed in range(5)] == [run_seed(seed) for seed in range(5)]


def plan_without(*left_out: stages.Stage) -> tuple[stages.Stage, ...]:
    return tuple(stage for stage in stages.FAILOVER if stage not in left_out)


def plan_with(changed: stages.Stage) -> tuple[stages.Stage, ...]:
    return tuple(changed if stage.id == changed.id else stage for stage in stages.FAILOVER)


def no_fence(patch: Patch) -> None:
    patch.setitem(stages.PLANS, RunKind.FAILOVER, plan_without(stages.FENCE))


def promote_again(patch: Patch) -> None:
    again = dataclasses.replace(stages.PROMOTE, fail=stages.Then.WAIT, uncertain=stages.Then.WAIT)
    patch.setitem(stages.PLANS, RunKind.FAILOVER, plan_with(again))


def start_the_old_master_after_promote(patch: Patch) -> None:
    back = dataclasses.replace(stages.CONFIRM, uncertain=stages.Then.UNDO)
    patch.setitem(stages.PLANS, RunKind.FAILOVER, plan_with(back))


def no_answer_is_a_proof(patch: Patch) -> None:
    async def believing(on: Scene, run: Run, fence: str) -> Result:
        result = await before.fence(on, run, fence)
        gone = success("it is surely gone", proof="no answer", ended=True)
        return result if result.outcome is Outcome.SUCCESS else gone

    patch.setitem(execute.STEPS, stages.FENCE.id, believing)


def success_is_a_proof(patch: Patch) -> None:
    async def trusting(on: Scene, run: Run, fence: str) -> Result:
        return await on.hands.use(Kind.FENCE, name=fence, servername=run.old_master)

    patch.setitem(execute.STEPS, stages.FENCE.id, trusting)


def witnesses_are_not_heard(patch: Patch) -> None:
    patch.setattr(failover, "RULES", tuple(rule for rule in failover.RULES if rule.id != "F09"))


def a_cut_off_handyrep_acts(patch: Patch) -> None:
    patch.setattr(failover, "RULES", tuple(rule for rule in failover.RULES if rule.id not in ("F10", "F15", "F16")))


def intentions_are_not_written(patch: Patch) -> None:
    patch.setattr(Journal, "intend", lambda *_: None)


def the_first_promise_is_kept(patch: Patch) -> None:
    remembered = promise.remembered

    def keeping(cluster: Cluster, picture: Picture) -> Cluster:
        first = cluster.synchronous_standby_names or remembered(cluster, picture).synchronous_standby_names
        return dataclasses.replace(
            remembered(cluster, picture), synchronous_standby_names=first, older_lists=(), list_since=""
        )

    async def recording(on: Scene, run: Run, subject: str) -> Result:
        first = on.cluster.synchronous_standby_names
        result = await after.record(on, run, subject)
        on.state.cluster = dataclasses.replace(on.cluster, synchronous_standby_names=first, older_lists=())
        return result

    patch.setattr(engine, "remembered", keeping)
    patch.setitem(execute.STEPS, stages.RECORD.id, recording)


def acknowledged_rows_may_be_lost(patch: Patch) -> None:
    choose = candidates.choose

    def generous(ordered: Any, cluster: Cluster, picture: Any, _: Policy, **named: Any) -> Any:
        forgotten = dataclasses.replace(cluster, synchronous_standby_names="")
        return choose(ordered, forgotten, picture, Policy(max_lost_wal_bytes=2**40), **named)

    patch.setattr(before, "choose", generous)


def nobody_sees_that_a_run_stands_open(patch: Patch) -> None:
    async def begin(conductor: Conductor, run: Run) -> Result:
        conductor._journal.open(run)
        return await conductor.lead(run)

    patch.setattr(Check, "_not_overtaken", lambda _: None)
    patch.setattr(Conductor, "begin", begin)


def the_record_shrinks_first(patch: Patch) -> None:
    """The new list counts alone from when it is ordered: the side that reads shrinks before the side that acknowledges does."""

    def alone(cluster: Cluster, text: str) -> Cluster:
        return dataclasses.replace(cluster, synchronous_standby_names=text, older_lists=(), ordered_lists=())

    patch.setattr(agreeing, "about_to_order", alone)
    patch.setattr(agreeing, "now_in_force", alone)


def lists_are_not_written_down(patch: Patch) -> None:
    patch.setattr(agreeing, "about_to_order", lambda cluster, _: cluster)


def a_new_master_has_no_list(patch: Patch) -> None:
    patch.setattr(heirs, "lists_of_heirs", lambda *_: {})
    patch.setitem(stages.PLANS, RunKind.FAILOVER, plan_without(stages.AGREE))


def first_violation(seeds: range) -> str:
    return next((ending.violation for ending in map(run_seed, seeds) if ending.violation), "")


@pytest.mark.parametrize(
    ("put_in", "found_by", "first"),
    [
        (no_fence, ("I5", "I1"), 0),
        (promote_again, ("I4", "I5"), 18),
        (start_the_old_master_after_promote, ("I6", "old master"), 0),
        (no_answer_is_a_proof, ("I14", "I5"), 0),
        (success_is_a_proof, ("I5",), 830),
        (witnesses_are_not_heard, ("I9",), 40),
        (a_cut_off_handyrep_acts, ("I15",), 0),
        (intentions_are_not_written, ("I5",), 0),
        (the_first_promise_is_kept, ("I3", "I11"), 24),
        (acknowledged_rows_may_be_lost, ("I3",), 50),
        (nobody_sees_that_a_run_stands_open, ("I7",), 25),
    ],
)
def test_a_fault_in_handyrep_is_found(
    put_in: Callable[[Patch], None], found_by: tuple[str, ...], first: int, monkeypatch: Patch
) -> None:
    """`first`: no life before this one shows it; that saves time and means nothing."""
    put_in(monkeypatch)
    assert first_violation(range(first, LIVES)).startswith(found_by)


@pytest.mark.parametrize(
    ("put_in", "found_by"),
    [
        (the_record_shrinks_first, ("I11", "I3")),
        (lists_are_not_written_down, ("I11",)),
        (a_new_master_has_no_list, ("I11",)),
    ],
)
def test_a_fault_in_keeping_the_list_is_found(
    put_in: Callable[[Patch], None], found_by: tuple[str, ...], monkeypatch: Patch
) -> None:
    put_in(monkeypatch)
    assert first_violation(range(0, LIVES, LISTS_EVERY)).startswith(found_by)
