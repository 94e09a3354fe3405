"""What comes next in a run. The invariants hold for every way in which steps can end."""

import datetime as dt
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide import stages
from handyrep.decide.progress import Abandoned, Ask, Do, Finished, NextMove, Question, Wait, next_move
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, Run, RunKind, Step

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
MOST_STEPS = 60


def a_run(kind: RunKind = RunKind.FAILOVER, **changes: object) -> Run:
    facts: dict[str, object] = {
        "kind": kind, "epoch": 7, "old_master": "m1", "began_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "reason": "test",
        "fences": ("fence_a", "fence_b"), "replicas": ("r1", "r2"), "extra_commands": ("mail",), "was_running": True, **changes,
    }  # fmt: skip
    return Run(**facts)  # type: ignore[arg-type] # keyword by keyword


def after(run: Run, *ends: tuple[str, Outcome]) -> Run:
    """The run with these steps ended; 'fence fence_a' is stage and subject."""
    for text, outcome in ends:
        stage, _, subject = text.partition(" ")
        run = run.with_end(
            Ended(Step(stage, subject), outcome, f"{text} ended {outcome.value}", extra_of(stage, outcome))
        )
    return run


def fenced() -> Run:
    """A failover that stands before the choice."""
    return after(a_run(), ("recheck", SUCCESS), ("fence fence_a", SUCCESS), ("freeze", SUCCESS), ("rescue", SUCCESS))


def extra_of(stage: str, outcome: Outcome) -> dict[str, object]:
    if stage == "freeze" and outcome is SUCCESS:
        return {"standing": ("r1", "r2"), "halted": ()}
    return {"candidate": "r1"} if stage == "choose" and outcome is SUCCESS else {}


def steps_when_all_goes_well(run: Run) -> list[str]:
    told = []
    while isinstance(move := next_move(run), Do):
        told.append(str(move.step))
        run = after(run, (str(move.step), SUCCESS))
    assert move == Finished(())
    return told


def test_the_order_of_a_failover() -> None:
    assert steps_when_all_goes_well(a_run()) == [
        "recheck", "fence fence_a", "freeze", "rescue", "choose", "promote", "confirm", "record", "repoint", "slots", "follow r2", "extra mail",
    ]  # fmt: skip


def test_the_order_of_a_switchover() -> None:
    assert steps_when_all_goes_well(a_run(RunKind.SWITCHOVER)) == [
        "preflight", "choose", "hasten", "fence fence_a", "catch_up", "promote", "confirm", "record", "repoint", "slots", "follow r2", "rejoin", "extra mail",
    ]  # fmt: skip


def test_in_a_switchover_clients_wait_as_briefly_as_they_can() -> None:
    steps = steps_when_all_goes_well(a_run(RunKind.SWITCHOVER, proxies="bouncers"))
    assert steps[:5] == ["preflight", "choose", "hasten", "pause bouncers", "fence fence_a"]
    assert "hold bouncers" not in steps


@pytest.mark.parametrize("outcome", [FAIL, UNCERTAIN])
def test_work_that_does_not_end_gives_a_switchover_up_and_clients_are_let_on(outcome: Outcome) -> None:
    run = after(a_run(RunKind.SWITCHOVER, proxies="bouncers"), ("preflight", SUCCESS), ("choose", SUCCESS), ("hasten", FAIL), ("pause bouncers", outcome))  # fmt: skip
    assert next_move(run) == Do(Step("let_on", "bouncers"))
    done = after(run, ("let_on bouncers", SUCCESS))
    assert next_move(done) == Abandoned(f"pause bouncers ended {outcome.value}")


def test_without_remaster_nobody_is_told_to_follow() -> None:
    steps = steps_when_all_goes_well(a_run(RunKind.SWITCHOVER, remaster=False))
    assert "follow r2" not in steps
    assert "rejoin" not in steps


def test_the_second_fence_is_tried_when_the_first_gives_no_proof() -> None:
    assert next_move(after(a_run(), ("recheck", SUCCESS), ("fence fence_a", UNCERTAIN))) == Do(Step("fence", "fence_b"))


def test_a_fence_that_gave_no_proof_is_nothing_to_see_to_once_another_did() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", FAIL))
    while isinstance(move := next_move(run), Do):
        run = after(run, (str(move.step), SUCCESS))
    assert move == Finished(())


def test_every_replica_is_told_to_follow_and_every_command_is_run() -> None:
    steps = steps_when_all_goes_well(a_run(replicas=("r1", "r2", "r3"), extra_commands=("mail", "page")))
    assert steps[-4:] == ["follow r2", "follow r3", "extra mail", "extra page"]


def test_replicas_that_would_not_stand_still_are_taken_into_account_and_not_waited_for() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", SUCCESS), ("freeze", FAIL))
    assert next_move(run) == Do(Step("rescue"))


def test_clients_that_were_held_back_are_let_on_to_the_old_master_when_it_is_given_up() -> None:
    run = after(a_run(proxies="multi_pgbouncer"), ("recheck", SUCCESS))
    assert next_move(run) == Do(Step("hold", "multi_pgbouncer"))
    for held in (SUCCESS, FAIL, UNCERTAIN):
        gone_wrong = after(run, ("hold multi_pgbouncer", held)).with_end(untouched("fence_a", FAIL))
        gone_wrong = gone_wrong.with_end(untouched("fence_b", FAIL))
        assert next_move(gone_wrong) == Do(Step("let_on", "multi_pgbouncer"))
        assert isinstance(next_move(after(gone_wrong, ("let_on multi_pgbouncer", SUCCESS))), Abandoned)


def test_without_any_proof_everything_is_undone_in_reverse() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", FAIL), ("fence fence_b", UNCERTAIN))
    assert next_move(run) == Do(Step("release", "fence_b"))
    run = after(run, ("release fence_b", SUCCESS))
    assert next_move(run) == Do(Step("release", "fence_a"))
    run = after(run, ("release fence_a", SUCCESS))
    assert next_move(run) == Do(Step("start"))
    run = after(run, ("start", SUCCESS))
    move = next_move(run)
    assert isinstance(move, Abandoned)
    assert "fence_a: fence fence_a ended FAIL" in move.reason


def test_a_master_that_did_not_run_before_is_not_started_by_undo() -> None:
    run = after(
        a_run(was_running=False),
        ("recheck", SUCCESS),
        ("fence fence_a", SUCCESS),
        ("freeze", SUCCESS),
        ("rescue", SUCCESS),
        ("choose", FAIL),
        ("release fence_a", SUCCESS),
    )
    assert isinstance(next_move(run), Abandoned)


def test_no_fences_means_no_promotion() -> None:
    move = next_move(after(a_run(fences=()), ("recheck", SUCCESS)))
    assert move == Abandoned("no fence_methods are configured")


def test_a_sign_of_life_at_the_last_look_ends_it_unharmed() -> None:
    assert next_move(after(a_run(), ("recheck", FAIL))) == Abandoned("recheck ended FAIL")


def test_an_undo_that_fails_asks() -> None:
    run = after(fenced(), ("choose", FAIL), ("release fence_a", FAIL))
    move = next_move(run)
    assert isinstance(move, Ask)
    assert move.question is Question.OLD_MASTER_NOT_RESTORED


def test_a_host_that_cannot_be_reached_for_the_undo_is_waited_for() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", UNCERTAIN), ("fence fence_b", FAIL))
    run = after(run, ("release fence_b", SUCCESS), ("release fence_a", UNCERTAIN))
    move = next_move(run)
    assert isinstance(move, Wait)
    assert move.step == Step("release", "fence_a")
    assert next_move(after(run, ("release fence_a", SUCCESS))) == Do(Step("start"))


def untouched(fence: str, outcome: Outcome) -> Ended:
    return Ended(Step("fence", fence), outcome, "it does not answer", MappingProxyType({"untouched": True}))


def test_a_fence_that_did_nothing_leaves_nothing_to_take_back() -> None:
    run = after(a_run(), ("recheck", SUCCESS)).with_end(untouched("fence_a", FAIL)).with_end(untouched("fence_b", FAIL))
    move = next_move(run)
    assert isinstance(move, Abandoned)
    assert "fence_a: it does not answer; fence_b: it does not answer" in move.reason


def test_of_two_fences_only_the_one_that_did_something_is_released() -> None:
    run = after(a_run(), ("recheck", SUCCESS)).with_end(untouched("fence_a", FAIL))
    run = after(run, ("fence fence_b", FAIL))
    assert next_move(run) == Do(Step("release", "fence_b"))
    assert next_move(after(run, ("release fence_b", SUCCESS))) == Do(Step("start"))


@pytest.mark.parametrize("outcome", [SUCCESS, UNCERTAIN])
def test_who_says_untouched_with_anything_but_a_failure_is_not_believed(outcome: Outcome) -> None:
    run = after(a_run(fences=("fence_a",)), ("recheck", SUCCESS)).with_end(untouched("fence_a", outcome))
    run = run if outcome is UNCERTAIN else after(run, ("freeze", SUCCESS), ("rescue", SUCCESS), ("choose", FAIL))
    assert next_move(run) == Do(Step("release", "fence_a"))


def test_an_uncertain_promote_is_looked_at_and_waited_for() -> None:
    run = after(fenced(), ("choose", SUCCESS), ("promote", UNCERTAIN))
    assert next_move(run) == Do(Step("confirm"))
    run = after(run, ("confirm", UNCERTAIN))
    assert isinstance(next_move(run), Wait)
    run = after(run, ("confirm", SUCCESS))
    assert next_move(run) == Do(Step("record"))


def test_h12_what_fails_after_the_promotion_is_reported_and_gone_past() -> None:
    run = after(
        fenced(), ("choose", SUCCESS), ("promote", SUCCESS), ("confirm", SUCCESS),
        ("record", SUCCESS), ("repoint", FAIL), ("slots", FAIL), ("follow r2", UNCERTAIN), ("follow r2", UNCERTAIN), ("extra mail", FAIL),
    )  # fmt: skip
    move = next_move(run)
    assert isinstance(move, Finished)
    assert [text.split(":")[0] for text in move.left] == ["repoint", "slots", "follow r2", "extra mail"]


@pytest.mark.parametrize("step", ["repoint", "slots", "follow r2"])
def test_what_can_be_repeated_and_may_not_have_happened_is_done_once_more(step: str) -> None:
    order = ("choose", "promote", "confirm", "record", "repoint", "slots", "follow r2")
    before = after(fenced(), *((one, SUCCESS) for one in order[: order.index(step)]))
    stage, _, subject = step.partition(" ")
    once = after(before, (step, UNCERTAIN))
    assert next_move(once) == Do(Step(stage, subject))
    assert next_move(after(once, (step, SUCCESS))) == next_move(after(before, (step, SUCCESS)))
    assert next_move(after(once, (step, UNCERTAIN))) == next_move(after(before, (step, FAIL)))


def test_a_command_of_the_users_own_is_never_done_twice() -> None:
    order = ("choose", "promote", "confirm", "record", "repoint", "slots", "follow r2")
    run = after(fenced(), *((one, SUCCESS) for one in order), ("extra mail", UNCERTAIN))
    assert isinstance(next_move(run), Finished)


@pytest.mark.parametrize("outcome", [FAIL, UNCERTAIN])
def test_a_new_master_that_cannot_be_written_down_is_written_down_again(outcome: Outcome) -> None:
    run = after(fenced(), ("choose", SUCCESS), ("promote", SUCCESS), ("confirm", SUCCESS), ("record", outcome))
    assert next_move(run) == Wait(Step("record"), f"record ended {outcome.value}")
    assert next_move(after(run, ("record", SUCCESS))) == Do(Step("repoint"))


def frozen(halted: tuple[str, ...] | None, outcome: Outcome = SUCCESS) -> Ended:
    extra = {} if halted is None else {"standing": ("r1",), "halted": halted}
    return Ended(Step("freeze"), outcome, "as it came", MappingProxyType(extra))


def test_replicas_that_were_told_to_receive_nothing_receive_again_when_it_is_given_up() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", SUCCESS)).with_end(frozen(("r1",)))
    run = after(run, ("rescue", SUCCESS), ("choose", FAIL))
    assert next_move(run) == Do(Step("thaw"))
    for outcome in (SUCCESS, FAIL, UNCERTAIN):
        assert next_move(after(run, ("thaw", outcome))) == Do(Step("release", "fence_a"))
    done = after(run, ("thaw", FAIL), ("release fence_a", SUCCESS), ("start", SUCCESS))
    assert next_move(done) == Abandoned("choose ended FAIL. thaw: thaw ended FAIL")


def test_replicas_that_were_let_alone_need_no_thaw() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", SUCCESS)).with_end(frozen(()))
    assert next_move(after(run, ("rescue", SUCCESS), ("choose", FAIL))) == Do(Step("release", "fence_a"))


def test_a_freeze_of_which_nothing_is_known_is_done_again_and_taken_back_everywhere() -> None:
    run = after(a_run(), ("recheck", SUCCESS), ("fence fence_a", SUCCESS)).with_end(frozen(None, UNCERTAIN))
    assert next_move(run) == Wait(Step("freeze"), "as it came")
    assert run.halted == ("r1", "r2")
    assert run.standing == frozenset()


def test_a_switchover_waits_for_the_end_of_the_wal_instead_of_freezing() -> None:
    assert a_run(RunKind.SWITCHOVER).standing is None
    assert a_run().standing == frozenset()


def play(run: Run, outcomes: list[Outcome]) -> tuple[Run, NextMove]:
    """Let steps end as the list says, and well once it is used up; stop at a move that ends the run."""
    ends = iter(outcomes)
    for _ in range(MOST_STEPS):
        move = next_move(run)
        if not isinstance(move, Do | Wait):
            return run, move
        run = after(run, (str(move.step), next(ends, SUCCESS)))
    raise AssertionError("a run has no end")


@given(
    kind=st.sampled_from(RunKind),
    outcomes=st.lists(st.sampled_from(Outcome), max_size=20),
    was_running=st.booleans(),
    fences=st.sampled_from([(), ("fence_a",), ("fence_a", "fence_b")]),
)
def test_invariants_for_every_way_steps_can_end(
    kind: RunKind,
    outcomes: list[Outcome],
    was_running: bool,
    fences: tuple[str, ...],
) -> None:
    run, last = play(a_run(kind, was_running=was_running, fences=fences), outcomes)
    done = [ended.step.stage for ended in run.ended]
    assert done.count("promote") <= 1
    if "promote" in done:
        sent = done.index("promote")
        assert any(e.step.stage == "fence" and e.outcome is SUCCESS for e in run.ended[:sent])
        assert any(e.step.stage == "choose" and e.outcome is SUCCESS for e in run.ended[:sent])
        assert not {"release", "start"} & set(done[sent:])
        assert not isinstance(last, Abandoned)
    if isinstance(last, Finished):
        assert ("confirm", SUCCESS) in [(e.step.stage, e.outcome) for e in run.ended]
    if isinstance(last, Abandoned):
        assert "promote" not in done


@given(outcomes=st.lists(st.sampled_from(Outcome), max_size=20), cut=st.integers(0, 25))
def test_e1_a_run_read_back_at_any_point_goes_on_the_same_way(outcomes: list[Outcome], cut: int) -> None:
    run, last = play(a_run(), outcomes)
    prefix = a_run()
    for ended in run.ended[:cut]:
        prefix = prefix.with_end(ended)
    if cut < len(run.ended):
        move = next_move(prefix)
        assert isinstance(move, Do | Wait)
        assert move.step == run.ended[cut].step
    else:
        assert next_move(prefix) == last


def test_every_stage_has_a_sentence_that_can_be_filled() -> None:
    run = after(a_run(), ("choose", SUCCESS))
    for stage in stages.BY_ID.values():
        for subject in stages.subjects(stage, run):
            text = stages.sentence(stage, subject, run)
            assert text
            assert "{" not in text
