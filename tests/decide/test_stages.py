"""Where the ends of steps may lead, as rules over the tables: what they come to in a run is in test_progress."""

import datetime as dt
from typing import Any

import pytest

from handyrep.decide.stages import (
    ADOPTION,
    AGREE,
    BY_ID,
    CONFIRMATION,
    EXTRA,
    FAILOVER,
    FENCE,
    FOLLOW,
    HOLD,
    PAUSE,
    PLANS,
    PROMOTE,
    REJOIN,
    SWITCHOVER,
    UNDO,
    Stage,
    Then,
    planned,
    sentence,
    subjects,
)
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, Run, RunKind, Step

EVERY = {*FAILOVER, *SWITCHOVER, *ADOPTION, *UNDO}
BEFORE_PROMOTE = {*FAILOVER[: FAILOVER.index(PROMOTE)], *SWITCHOVER[: SWITCHOVER.index(PROMOTE)]}


def leading(then: Then) -> tuple[set[str], set[str]]:
    """The stages whose failure, and those whose unknown end, leads there."""
    return {s.id for s in EVERY if s.fail is then}, {s.id for s in EVERY if s.uncertain is then}


def a_run(**changes: Any) -> Run:
    facts = {
        "kind": RunKind.FAILOVER, "epoch": 1, "old_master": "m1", "began_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "reason": "test",
        "fences": ("fence_a",), "replicas": ("r1", "r2"), "extra_commands": ("mail",),
    }  # fmt: skip
    return Run(**{**facts, **changes})


def test_only_a_fence_has_another_that_may_be_tried_instead() -> None:
    assert leading(Then.NEXT) == ({"fence"}, {"fence"})


def test_what_must_be_known_before_the_promote_is_undone_when_it_is_not() -> None:
    necessary = {"recheck", "preflight", "choose", "agree", "pause", "catch_up"}
    assert leading(Then.UNDO) == (necessary, necessary)
    assert necessary <= {stage.id for stage in BEFORE_PROMOTE}


def test_what_is_waited_for_may_still_happen_and_must_not_be_gone_past() -> None:
    assert leading(Then.WAIT) == ({"confirm", "record"}, {"confirm", "record", "freeze", "release"})


def test_a_person_is_asked_only_where_the_old_master_could_not_be_put_back() -> None:
    assert leading(Then.ASK) == ({"release", "start"}, {"start"})


def test_what_failed_is_never_repeated_and_what_may_have_happened_only_where_that_does_no_harm() -> None:
    assert leading(Then.AGAIN) == (set(), {"repoint", "slots", "follow"})


def test_what_the_next_steps_look_at_themselves_is_not_reported_as_left_undone() -> None:
    assert leading(Then.HEED) == (
        {"hold", "hasten", "freeze", "rescue", "promote"},
        {"hold", "hasten", "rescue", "promote"},
    )


def test_whatever_else_does_not_succeed_is_reported() -> None:
    seen_to = {"rejoin", "extra", "thaw", "let_on"}
    assert leading(Then.GO_ON) == (seen_to | {"repoint", "slots", "follow"}, seen_to)


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (RunKind.FAILOVER, "recheck hold fence freeze rescue choose agree promote confirm record repoint slots follow extra"),
        (RunKind.SWITCHOVER, "preflight choose agree hasten pause fence catch_up promote confirm record repoint slots follow rejoin extra"),
        (RunKind.ADOPTION, "confirm record repoint slots follow"),
    ],
)  # fmt: skip
def test_the_order_of_each_kind_of_run(kind: RunKind, order: str) -> None:
    assert [stage.id for stage in PLANS[kind]] == order.split()


def test_it_is_undone_from_the_replicas_to_the_old_master_and_clients_come_last() -> None:
    assert [stage.id for stage in UNDO] == ["thaw", "release", "start", "let_on"]


def test_every_stage_is_found_by_its_name() -> None:
    assert {stage.id: stage for stage in EVERY} == BY_ID


@pytest.mark.parametrize(
    ("stage", "changes", "done_to"),
    [
        (FENCE, {}, ("fence_a",)),
        (FENCE, {"confirmed": "it is off"}, ("fence_a", CONFIRMATION)),
        (HOLD, {}, ()),
        (HOLD, {"proxies": "multi_pgbouncer"}, ("multi_pgbouncer",)),
        (PAUSE, {}, ()),
        (PAUSE, {"proxies": "multi_pgbouncer"}, ("multi_pgbouncer",)),
        (FOLLOW, {"kind": RunKind.ADOPTION, "wanted": "r1"}, ("r2",)),
        (FOLLOW, {"remaster": False}, ()),
        (EXTRA, {}, ("mail",)),
        (AGREE, {}, ()),
        (AGREE, {"synchronous": 1}, ("",)),
        (AGREE, {"synchronous": 1, "remaster": False}, ("",)),
        (REJOIN, {}, ("",)),
        (REJOIN, {"remaster": False}, ()),
        (PROMOTE, {"remaster": False}, ("",)),
    ],
)
def test_what_each_stage_is_done_to(stage: Stage, changes: dict[str, Any], done_to: tuple[str, ...]) -> None:
    assert subjects(stage, a_run(**changes)) == done_to


def test_a_plan_is_told_with_this_fence_and_this_new_master_who_follows_nobody() -> None:
    told = planned(a_run(), "fence_b", "r1")
    assert [line for line in told if "fence" in line] == [
        "prove with fence_b that m1 can acknowledge no commit any more",
    ]
    assert [line for line in told if "receive from" in line] == ["let r2 receive from r1"]
    assert told[-1] == "run the command mail"
    assert "order r1 to become the master" in told


def test_a_plan_ends_where_no_replica_may_take_over() -> None:
    told = planned(a_run(), "fence_a", "")
    assert told[-2:] == [
        "look at the replicas again and choose the new master",
        "no replica may take over then: give up, and put the old master back as it was",
    ]
    adopted = planned(a_run(kind=RunKind.ADOPTION), "", "")
    assert adopted[-2:] == ["let r1 receive from nobody", "let r2 receive from nobody"]


def test_a_person_s_word_has_a_name_of_its_own_in_the_journal() -> None:
    assert CONFIRMATION == "confirmation"


def test_sentences_name_who_is_meant_as_far_as_it_is_known() -> None:
    assert sentence(FOLLOW, "r2", a_run()) == "let r2 receive from the new master"
    chosen = a_run().with_end(Ended(Step("choose"), Outcome.SUCCESS, extra={"candidate": "r1"}))
    assert sentence(FOLLOW, "r2", chosen) == "let r2 receive from r1"
    assert sentence(REJOIN, "", chosen) == "bring m1 back as a replica of r1"
