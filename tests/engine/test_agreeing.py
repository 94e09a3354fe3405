"""The list of synchronous replicas is kept as it is wanted: written down before it is ordered, and given to a new master before it is one."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from handyrep.decide.promise import are_readable_from
from handyrep.engine.check import new_run
from handyrep.engine.state import from_json
from handyrep.errors import StateError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import RunKind
from handyrep.operations.declare import Running, invoke
from handyrep.operations.mastership import manual_failover
from tests.engine.world import Box, Imagined

BOTH, BETWEEN = 'ANY 1 ("r1", "r2")', 'ANY 2 ("r1", "r2")'


def world(listed: str = "", k: int = 1, **failover: Any) -> Imagined:
    """A cluster whose master has this list."""
    made = Imagined(synchronous_required=k, **failover)
    for box in made.boxes.values():
        box.synchronous = listed
    return made


def orders(made: Imagined) -> int:
    return made.plugins.count("sync.run m1")


def under_way(made: Imagined) -> tuple[str, ...]:
    return made.engine.cluster.ordered_lists


def desk(made: Imagined) -> Running:
    return cast("Running", type("On", (), {"engine": made.engine, "check": made.check}))


async def shown(made: Imagined, operation: str = "get_status") -> dict[str, Any]:
    told: dict[str, Any] = (await invoke(desk(made), operation, {}))["synchronous"]
    return told


async def test_it_is_set_and_settled_and_then_left_alone() -> None:
    made = world()
    await made.look()
    assert made.boxes["m1"].synchronous == BOTH
    made.clock.now_s += 2
    await made.check.run(verify=False)
    assert (made.engine.cluster.older_lists, under_way(made)) == ((), ())
    assert are_readable_from(made.engine.cluster, frozenset({"r1", "r2"}))
    await made.look(3)
    assert orders(made) == 1
    assert made.events.of("list") == [f"m1: synchronous_standby_names is {BOTH}"]
    assert await shown(made) == {"in_force": BOTH, "wanted": BOTH, "why": ""}


async def test_after_an_order_the_next_look_is_a_full_one() -> None:
    made = world("ANY 1 (r1, stranger)")
    for _ in range(3):
        await made.check.run(verify=False)
    assert made.boxes["m1"].synchronous == BOTH
    assert orders(made) == 2


async def test_without_synchronous_required_nothing_is_touched() -> None:
    made = world("*", k=0)
    await made.look(2)
    assert (made.boxes["m1"].synchronous, made.plugins.count("sync.run")) == ("*", 0)
    assert await shown(made) is None


async def test_it_stands_on_disk_before_it_is_ordered() -> None:
    made = world("ANY 1 (r1, stranger)")

    def ordered(given: Mapping[str, Any]) -> Result:
        assert made.store.content is not None
        assert given["names"] in from_json(made.store.content).ordered_lists
        return success()

    made.plugins.instead["sync.run"] = ordered
    await made.look()
    assert orders(made) == 1


async def test_what_cannot_be_written_down_is_not_ordered() -> None:
    made = world()
    await made.look(2)
    made.boxes["m1"].synchronous = ""
    await made.check.run(verify=False)
    made.store.broken = True
    with pytest.raises(StateError):
        await made.look()
    await made.look()
    assert orders(made) == 1, "that it is in memory since the first attempt is not enough"
    made.store.broken = False
    await made.look()
    assert orders(made) == 2
    assert made.boxes["m1"].synchronous == BOTH


async def test_an_order_that_nobody_answered_counts_until_one_has_succeeded() -> None:
    made = world("ANY 1 (r1, r2)")
    await made.look(2)
    made.boxes["m1"].synchronous = "ANY 1 (r1)"
    made.plugins.instead["sync.run"] = lambda _: uncertain("no answer")
    await made.look(2)
    assert under_way(made) == (BETWEEN,)
    made.restarted()
    made.engine.state.cluster = from_json(made.store.content or {})
    assert under_way(made) == (BETWEEN,)
    assert are_readable_from(made.engine.cluster, frozenset({"r1"})), "under it every commit is on r1 too"
    made.boxes["m1"].synchronous = BOTH
    await made.look()
    assert set(under_way(made)) == {BETWEEN, BOTH}
    assert (await shown(made))["why"] == "how the last order ended is not known"
    made.plugins.instead["sync.run"] = lambda _: fail("nothing was sent")
    await made.look()
    assert set(under_way(made)) == {BETWEEN, BOTH}, "the refusal says nothing of those before it"
    del made.plugins.instead["sync.run"]
    await made.look(2)
    assert not under_way(made)
    assert not made.engine.cluster.older_lists


async def test_an_order_that_was_refused_leaves_what_was_before_and_is_told_once() -> None:
    made = world()
    made.plugins.instead["sync.run"] = lambda _: fail("allow_alter_system is off")
    await made.look(3)
    assert under_way(made) == ()
    assert made.events.of("list") == [f"m1: synchronous_standby_names was not set to {BOTH}: allow_alter_system is off"]
    assert (await shown(made))["why"] == "it is not in force yet"


async def test_a_look_that_began_before_the_order_says_nothing_of_the_list() -> None:
    made = world("ANY 1 (r1)")
    old = await made.engine.observer.verify()
    await made.look(3)
    made.engine.take(old)
    assert made.engine.cluster.synchronous_standby_names == BOTH
    assert are_readable_from(made.engine.cluster, frozenset({"r1", "r2"}))


@pytest.mark.parametrize("hindrance", ["frozen", "maintenance", "passive", "busy", "open"])
async def test_when_nothing_may_be_done_nothing_is_ordered(hindrance: str) -> None:
    made = world()
    if hindrance == "frozen":
        made.freeze("a person must look")
    if hindrance == "maintenance":
        made.maintenance(10)
    if hindrance == "passive":
        made.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    if hindrance == "busy":
        async with made.engine.changing("an operation"):
            await made.look()
    elif hindrance == "open":
        made.plugins.instead["inspect.write"] = lambda _: opened(made)
        await made.look()
    else:
        await made.look()
    assert orders(made) == 0


def opened(made: Imagined) -> Result:
    """Somebody begins a failover while the look is under way."""
    if made.engine.journal.open_run() is None:
        made.engine.journal.open(new_run(made.engine, RunKind.SWITCHOVER, "asked for by a person"))
    return success()


async def test_what_was_seen_before_the_lock_is_looked_at_again() -> None:
    """The replica was disabled while it was asked whether this HandyRep may act."""
    made = world(k=2)

    def disabled(_: Mapping[str, Any]) -> Result:
        made.engine.state.update(made.engine.cluster.without("r2"))
        return success()

    made.plugins.instead["master_check.run"] = disabled
    await made.look()
    assert orders(made) == 0


async def test_a_new_master_has_its_list_before_it_is_one() -> None:
    made = world(BOTH)
    await made.look(2)
    for name in ("r1", "r2"):
        made.boxes[name].synchronous = ""
    made.plugins.calls.clear()
    made.boxes["m1"].up = False
    done = await made.look()
    assert (done.outcome, made.master) == (Outcome.SUCCESS, "r1")
    assert made.boxes["r1"].synchronous == 'ANY 1 ("r2")'
    acting = [call for call in made.plugins.calls if call.startswith(("sync", "promotion", "fence.run"))]
    assert acting == ["fence.run m1", "sync.run r1", "promotion.run r1"]
    made.boxes["m1"] = Box(timeline=2, follows="r1", up=True, synchronous=BOTH)
    made.boxes["r2"].timeline = 2
    await made.look(4)
    assert made.boxes["r1"].synchronous == 'ANY 1 ("m1", "r2")', "the old master is a replica by now"


@pytest.mark.parametrize("result", [fail("allow_alter_system is off"), uncertain("no answer")])
async def test_without_its_list_nobody_is_promoted(result: Result) -> None:
    made = world(BOTH)
    await made.look(2)
    made.boxes["m1"].up = False
    made.plugins.instead["sync.run"] = lambda _: result
    done = await made.look()
    assert made.plugins.count("promotion.run") == 0
    assert (done.outcome, made.engine.journal.open_run()) == (Outcome.FAIL, None)
    del made.plugins.instead["sync.run"]
    await made.look()
    assert made.master == "r1"


async def test_a_candidate_that_dies_before_it_has_its_list_makes_room_for_another() -> None:
    made = world(BOTH)
    await made.look(2)
    made.boxes["m1"].up = False

    def it_dies(_: object) -> Result:
        made.boxes["r1"].up = False
        return uncertain("no answer")

    made.plugins.instead["sync.run"] = it_dies
    await made.look()
    del made.plugins.instead["sync.run"]
    await made.look()
    assert (made.master, made.plugins.count("promotion.run")) == ("r2", 1)


async def test_without_enough_to_name_nothing_is_stopped_and_the_reason_is_told() -> None:
    made = world("ANY 2 (r1, r2)", k=2, synchronous_replicas=("r1", "r2"))
    await made.look(2)
    refused = await manual_failover(desk(made), "r1")
    why = "it can have no list of synchronous replicas: 2 replicas of r1, r2 must confirm each commit, and r2 can be named"
    assert f"r1 {why.removeprefix('it ')}" in refused.details
    made.boxes["m1"].up = False
    done = await made.look()
    assert (made.plugins.count("fence.run"), made.plugins.count("promotion.run")) == (0, 0)
    assert made.engine.last_verdict is not None
    assert (made.engine.last_verdict.rule, f"r1: {why}" in done.details) == ("F15", True)


async def test_in_a_switchover_it_comes_before_the_master_is_stopped() -> None:
    made = world(BOTH)
    await made.look(2)
    made.plugins.calls.clear()
    done = await manual_failover(desk(made), "r2")
    assert done.outcome is Outcome.SUCCESS, done.details
    acting = [call for call in made.plugins.calls if call.startswith(("sync.run", "fence.run"))]
    assert acting == ["sync.run r2", "fence.run m1"]


async def test_doctor_looks_at_once() -> None:
    made = world("ANY 1 (r1)")
    await made.check.run(verify=False)
    made.plugins.instead["sync.run"] = lambda _: fail("not now")
    made.boxes["m1"].synchronous = "ANY 1 (r1)"
    await made.look()
    told = await shown(made, "doctor")
    assert told == {"in_force": "ANY 1 (r1)", "wanted": BOTH, "why": "it is not in force yet"}
    made.boxes["m1"].up = False
    assert await shown(made, "doctor") is None
