"""Each of the sixteen invariants can fail: of a forged history exactly the one that it breaks is named. And a reader finds each of them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from handyrep.decide import progress
from handyrep.engine.state import to_json
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Run, Step
from tests.factories import make_cluster
from tests.simulation import invariants
from tests.simulation.cluster import Acknowledged, Agreed, Begun, Event, Ordered, Runs, Saved, Started, World
from tests.simulation.disk import Disk
from tests.simulation.door import Answered

TESTS = Path(__file__).parents[1]
PROVEN = {"proof": "no process is left"}


class History:
    """What happened in a cluster of m1 (the master), r1 and r2, as the invariants see it."""

    def __init__(self) -> None:
        self.world = World(Random(1), ("m1", "r1", "r2"), strict=True, mixed=False)
        self.disk = Disk()
        self.disk.state = json.dumps(to_json(make_cluster()))
        self.known = invariants.Known(self.world, self.disk, allowed_rows=0, required=1, cooldown_s=60.0)
        self.answers: list[Answered] = []
        self.known.answers = self.answers
        self.broken: list[str] = []

    def happens(self, event: Event) -> None:
        """Everything is asked about it, as after each step of a life."""
        for held in (*invariants.ON_EVENT, *invariants.ON_EVENT_WITH_LISTS):
            self._take(held(self.known, event))

    def looked_at(self) -> None:
        for held in invariants.ALWAYS:
            self._take(held(self.known))

    def _take(self, wrong: str) -> None:
        if wrong:
            self.broken.append(wrong)

    def answered(self, key: str, about: str, result: Result, plugin: str = "") -> None:
        self.answers.append(Answered(key, about, result, plugin))

    def written(self, what: str, epoch: int = 1, **facts: Any) -> None:
        self.disk.records.append({"what": what, "epoch": epoch, **facts})

    def ended(self, stage: str, subject: str = "", outcome: str = "SUCCESS", **extra: Any) -> None:
        self.written("ended", stage=stage, subject=subject, outcome=outcome, extra=extra)

    def well_proven(self) -> None:
        """What a failover has before it begins: one other server answered, and a fence could prove something."""
        self.answered("poll.run", "r1", success())
        self.answered("fence.test", "m1", success(), "fence_stop")

    def begun(self, epoch: int = 1, rule: str = "F17") -> None:
        self.written("open", epoch, old_master="m1")
        self.happens(Begun(epoch, rule, "m1"))

    def led_to_the_promote(self) -> None:
        """All of a good failover to r1, up to the order to promote."""
        self.well_proven()
        self.begun()
        self.world.boxes["m1"].stop()
        self.answered("fence.run", "m1", success(**PROVEN), "fence_stop")
        self.ended("fence", "fence_stop", **PROVEN)
        self.ended("choose", candidate="r1")
        self.written("intend", stage="promote", subject="")

    def promoted(self) -> None:
        self.happens(Ordered("promotion.run", "r1"))
        self.world.promote("r1")
        for event in self.world.happened:
            self.happens(event)
        self.ended("promote")
        self.ended("confirm")


def test_a_good_failover_breaks_none() -> None:
    history = History()
    history.world.pass_time(1.0)
    history.led_to_the_promote()
    history.promoted()
    history.happens(Ordered("connection_failover.run", "r1"))
    history.happens(Acknowledged(history.world.boxes["r1"].wal[-1], "r1", 2))
    history.happens(Saved(history.disk.state))
    history.looked_at()
    assert history.broken == []


def two_routed_writers(history: History) -> None:
    history.world.boxes["r1"].in_recovery = False
    history.world.routes[1] = "r1"
    history.looked_at()
    assert history.broken.pop() == "I1: m1 and r1 take writes", "whoever knows no routes is told of it too"


def two_writers(history: History) -> None:
    history.world.boxes["r1"].in_recovery = False
    history.looked_at()


def acknowledged_by_the_old_one(history: History) -> None:
    history.led_to_the_promote()
    history.promoted()
    history.happens(Acknowledged(history.world.boxes["r1"].wal[-1], "r1", 2))
    history.happens(Acknowledged(0, "m1", 1))


def acknowledged_under_a_false_timeline(history: History) -> None:
    history.happens(Acknowledged(0, "r1", 1))


def a_row_is_lost(history: History) -> None:
    history.world.boxes["m1"].wal.append(7)
    history.world.acknowledged[7] = 1
    history.led_to_the_promote()
    history.promoted()


def an_old_timeline(history: History) -> None:
    history.known.highest_timeline = 2
    history.led_to_the_promote()
    history.promoted()


def a_second_promote(history: History) -> None:
    history.led_to_the_promote()
    history.promoted()
    history.happens(Ordered("promotion.run", "r1"))


def no_proof(history: History) -> None:
    history.well_proven()
    history.begun()
    history.ended("choose", candidate="r1")
    history.written("intend", stage="promote", subject="")
    history.happens(Ordered("promotion.run", "r1"))


def no_true_proof(history: History) -> None:
    history.led_to_the_promote()
    history.world.boxes["m1"].runs = Runs.RUNNING
    history.happens(Ordered("promotion.run", "r1"))


def another_than_was_chosen(history: History) -> None:
    history.led_to_the_promote()
    history.happens(Ordered("promotion.run", "r2"))


def a_smaller_epoch(history: History) -> None:
    history.known.last_epoch = 1
    history.well_proven()
    history.begun(epoch=1)


def two_runs_at_once(history: History) -> None:
    history.begun(1, rule="")
    history.begun(2, rule="")


def an_overtaken_run_goes_back(history: History) -> None:
    history.begun(1, rule="")
    history.known.last_ordered, history.known.newest_run = 2, (2, "")
    history.happens(Ordered("fence.release", "m1"))


def the_master_is_rewound(history: History) -> None:
    history.happens(Ordered("rejoin.run", "m1"))


def against_a_witness(history: History) -> None:
    history.well_proven()
    history.answered("inspect.sees", "r2", success())
    history.begun()


def routed_before_it_was_seen_to_write(history: History) -> None:
    history.led_to_the_promote()
    history.happens(Ordered("connection_failover.run", "r1"))


def routed_to_a_replica(history: History) -> None:
    history.answered("inspect.run", "r1", success(in_recovery=True))
    history.happens(Ordered("connection_failover.run", "r1"))


def a_list_that_nobody_wrote_down(history: History) -> None:
    history.happens(Agreed("m1", "ANY 1 (r2)"))


def a_commit_that_nobody_who_is_read_has(history: History) -> None:
    cluster = dataclasses.replace(make_cluster(), synchronous_standby_names="ANY 1 (r2)", older_lists=())
    history.disk.state = json.dumps(to_json(cluster))
    for name in ("m1", "r1"):
        history.world.boxes[name].wal.append(1)
    history.happens(Acknowledged(1, "m1", 1))


def promoted_without_a_list(history: History) -> None:
    history.world.boxes["r1"].needed = 0
    history.led_to_the_promote()
    history.promoted()


def again_at_once(history: History) -> None:
    history.led_to_the_promote()
    history.promoted()
    history.written("close", how="finished")
    history.world.now_s += 59.0
    history.well_proven()
    history.begun(2)


def what_failed_counts(history: History) -> None:
    history.led_to_the_promote()
    history.answers[-1] = Answered("fence.run", "m1", fail("its host does not answer"), "fence_stop")
    history.promoted()


def nobody_else_answered(history: History) -> None:
    history.answered("fence.test", "m1", success(), "fence_stop")
    history.begun()


def no_fence_could(history: History) -> None:
    history.answered("poll.run", "r1", success())
    history.begun()


def the_master_answered(history: History) -> None:
    history.well_proven()
    history.answered("poll.run", "m1", success())
    history.begun()


def a_state_that_means_something_else(history: History) -> None:
    content = json.loads(history.disk.state)
    history.happens(Saved(json.dumps({**content, "unheard_of": 1})))


FORGED: tuple[tuple[str, Callable[[History], None]], ...] = (
    ("I1: the routes", two_routed_writers), ("I1: m1 and r1", two_writers),
    ("I2", acknowledged_by_the_old_one), ("I2", acknowledged_under_a_false_timeline),
    ("I3", a_row_is_lost), ("I4", an_old_timeline), ("I4", a_second_promote), ("I5", no_proof), ("I5", another_than_was_chosen), ("I5", no_true_proof),
    ("I7", a_smaller_epoch), ("I7", two_runs_at_once), ("I7", an_overtaken_run_goes_back), ("I8", the_master_is_rewound), ("I9", against_a_witness),
    ("I10", routed_before_it_was_seen_to_write), ("I10", routed_to_a_replica), ("I11", a_list_that_nobody_wrote_down),
    ("I11", a_commit_that_nobody_who_is_read_has), ("I11", promoted_without_a_list), ("I12", again_at_once), ("I14", what_failed_counts),
    ("I15", nobody_else_answered), ("I15", no_fence_could), ("I15", the_master_answered), ("I16", a_state_that_means_something_else),
)  # fmt: skip


@pytest.mark.parametrize(("named", "forge"), FORGED, ids=lambda one: getattr(one, "__name__", one))
def test_exactly_the_invariant_that_is_broken_is_named(named: str, forge: Callable[[History], None]) -> None:
    history = History()
    forge(history)
    assert [wrong.partition(":")[0] for wrong in history.broken] == [named.partition(":")[0]], history.broken
    assert history.broken[0].startswith(f"{named}" if ":" in named else f"{named}:")


def test_after_the_block_period_or_on_a_persons_word_another_failover_may_begin() -> None:
    for later_s, rule in ((60.0, "F17"), (1.0, "")):
        history = History()
        history.led_to_the_promote()
        history.promoted()
        history.written("close", how="finished")
        history.world.now_s += later_s
        history.well_proven()
        history.begun(2, rule)
        assert history.broken == []


def test_i3_a_row_that_the_last_writer_has_not_is_found_on_the_last_day() -> None:
    history = History()
    history.world.acknowledged[7] = 1
    assert invariants.i3_who_writes_has_it_all(history.known) == "I3: 1 acknowledged rows are not on m1"


def opened() -> Mapping[str, Any]:
    return {
        "what": "open", "epoch": 1, "kind": "failover", "old_master": "m1", "began_at": "2026-01-01T00:00:00+00:00", "reason": "gone",
        "fences": ["fence_stop"], "replicas": ["r1"], "was_running": True,
    }  # fmt: skip


def i6(disk: Disk) -> str:
    return invariants.i6_any_prefix_ends(disk, lambda _: Outcome.SUCCESS, History().world)


def test_i6_a_plan_without_an_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    disk.records = [opened()]
    assert i6(disk) == ""
    real = progress.next_move

    def again(run: Run) -> progress.NextMove:
        move = real(run)
        return move if isinstance(move, progress.Do) else progress.Do(run.ended[-1].step)

    monkeypatch.setattr(progress, "next_move", again)
    assert i6(disk) == "I6: after record 1: it does not end, 1 promotes were sent"


def test_i6_what_goes_back_after_the_promote_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    sent = {"what": "intend", "epoch": 1, "stage": "promote", "subject": "", "at": "2026-01-01T00:00:00+00:00"}
    disk.records = [opened(), sent]
    real = progress.next_move

    def again(run: Run) -> progress.NextMove:
        return progress.Do(Step("promote")) if run.promote_was_sent else real(run)

    monkeypatch.setattr(progress, "next_move", again)
    assert i6(disk) == "I6: after record 1: promote after the promote was sent"


def test_the_old_master_and_unknown_orders_are_named() -> None:
    history = History()
    history.led_to_the_promote()
    history.promoted()
    history.happens(Started("m1", as_master=True))
    history.happens(Ordered("poll.run", "m1"))
    old, unknown = history.broken
    assert old == "old master: m1 was started as a master after epoch 1 had taken that from it"
    assert unknown == "poll.run was ordered and acts on nothing"


def test_a_reader_finds_each_of_the_sixteen() -> None:
    """By a function of the module that owns them, or by tests that are named there and exist."""
    held = (*invariants.ALWAYS, *invariants.ON_EVENT, *invariants.ON_EVENT_WITH_LISTS, *invariants.AT_THE_END)
    here = {one.__name__.partition("_")[0].upper() for one in held}
    assert here | set(invariants.ELSEWHERE) >= {f"I{number}" for number in range(1, 17)}
    broken_here = {named.partition(":")[0] for named, _ in FORGED} | {"I6"}
    assert {name for name in here if name[1:].isdigit()} == broken_here, "one is never seen to fail"
    for test in (one for tests in invariants.ELSEWHERE.values() for one in tests):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), test
