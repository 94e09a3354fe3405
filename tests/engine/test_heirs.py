"""Every replica has the list that it would need as the master before it is one, and giving it stands in nobody's way."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from handyrep.decide.promise import UNDER_NO_LIST
from handyrep.engine.check import new_run
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import RunKind
from handyrep.operations.declare import Running
from handyrep.operations.mastership import manual_failover
from tests.engine.world import Imagined

BOTH, R1, R2 = 'ANY 1 ("r1", "r2")', 'ANY 1 ("r1")', 'ANY 1 ("r2")'


def world(**failover: Any) -> Imagined:
    """A cluster whose master has its list, and whose replicas have none."""
    made = Imagined(**{"synchronous_required": 1, **failover})
    made.boxes["m1"].synchronous = BOTH
    for name in ("r1", "r2"):
        made.boxes[name].synchronous = ""
    return made


async def rounds(made: Imagined, times: int = 1) -> None:
    """Looks, each with the round that it begins."""
    for _ in range(times):
        await made.look()
        await made.engine.giving_way.ended()
        made.clock.now_s += 2


def lists(made: Imagined) -> tuple[str, ...]:
    return tuple(box.synchronous for box in made.boxes.values())


async def test_each_replica_is_given_its_own_once() -> None:
    made = world()
    await rounds(made, 4)
    assert lists(made) == (BOTH, R2, R1)
    assert [made.plugins.count(f"sync.run {name}") for name in made.boxes] == [0, 1, 1]
    assert made.events.of("heir") == [
        f"r1: synchronous_standby_names has {R2} for the case that it becomes the master",
        f"r2: synchronous_standby_names has {R1} for the case that it becomes the master",
    ]
    made.boxes["r2"].synchronous = "ANY 1 (r9)"
    await rounds(made)
    assert lists(made) == (BOTH, R2, R1)


async def test_one_that_does_not_follow_is_left_alone() -> None:
    made = world()

    def only_r1(given: Mapping[str, Any]) -> Result:
        return success(replicating=given["replicaserver"] == "r1")

    made.plugins.instead["replication_status.run"] = only_r1
    await rounds(made, 2)
    assert lists(made) == (BOTH, R2, "")


@pytest.mark.parametrize("hindrance", ["frozen", "maintenance", "passive", "busy", "not wanted"])
async def test_when_nothing_may_be_done_nothing_is_given(hindrance: str) -> None:
    made = world(synchronous_required=0 if hindrance == "not wanted" else 1)
    if hindrance == "frozen":
        made.freeze("a person must look")
    if hindrance == "maintenance":
        made.maintenance(10)
    if hindrance == "passive":
        made.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    if hindrance == "busy":
        async with made.engine.changing("an operation"):
            await rounds(made)
    else:
        await rounds(made)
    assert lists(made) == (BOTH, "", "")


@pytest.mark.parametrize("asked_for", [True, False])
async def test_a_change_of_master_does_not_wait_for_it(asked_for: bool) -> None:
    """The order is under way when the change begins: it ends there, and what the candidate has is ordered by the run itself."""
    made, ended = world(), asyncio.Event()
    given_to_r1 = 0
    answer = made.plugins.call

    async def call(kind: Any, name: str, method: str = "run", arguments: Any = None, **how: Any) -> Result:
        nonlocal given_to_r1
        if kind.value == "sync" and dict(arguments or {}).get("servername") == "r1":
            given_to_r1 += 1
            if given_to_r1 == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()
        return await answer(kind, name, method, arguments, **how)

    made.plugins.call = call  # type: ignore[method-assign] # stands before the real one
    await made.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (given_to_r1, ended.is_set()) == (1, False)
    if asked_for:
        done = await manual_failover(
            cast("Running", type("On", (), {"engine": made.engine, "check": made.check})), "r1"
        )
    else:
        made.boxes["m1"].up = False
        done = await made.look()
    assert (done.outcome, made.master, ended.is_set(), given_to_r1) == (Outcome.SUCCESS, "r1", True, 2), done.details
    assert made.boxes["r1"].synchronous == R2


@pytest.mark.parametrize("answer", [fail("allow_alter_system is off"), uncertain("no answer")])
async def test_one_that_cannot_be_given_is_told_once_and_tried_again(answer: Result) -> None:
    made = world()

    def refused(given: Mapping[str, Any]) -> Result:
        return answer if given["servername"] == "r1" else success()

    made.plugins.instead["sync.run"] = refused
    await rounds(made, 3)
    told = f"r1: synchronous_standby_names could not be kept ready: {answer.details}"
    assert [text for text in made.events.of("heir") if text.startswith("r1")] == [told]
    del made.plugins.instead["sync.run"]
    await rounds(made)
    assert (
        made.events.of("heir")[-1] == f"r1: synchronous_standby_names has {R2} for the case that it becomes the master"
    )


async def test_an_error_ends_nothing_else() -> None:
    made = world()

    def broken(given: Mapping[str, Any]) -> Result:
        if given["servername"] == "r1":
            raise RuntimeError("a bug")
        made.boxes["r2"].synchronous = given["names"]
        return success()

    made.plugins.instead["sync.run"] = broken
    await rounds(made)
    assert lists(made) == (BOTH, "", R1)
    assert made.events.of("heir")[0] == "r1: synchronous_standby_names could not be kept ready: a bug"


@pytest.mark.parametrize("required", [0, 1])
async def test_an_order_to_a_replica_may_come_once_it_was_promoted_by_hand(required: int) -> None:
    """Nobody knows then which list is in force: no failover rests on one before the new master has been given its own."""
    made = world(synchronous_required=required)
    await rounds(made, 2)
    made.boxes["m1"].up, made.boxes["r1"].master, made.boxes["r1"].timeline = False, True, 2
    run = new_run(made.engine, RunKind.ADOPTION, "promoted by hand", wanted="r1")
    async with made.engine.changing("adopting r1"):
        await made.engine.conductor.begin(run)
    assert made.master == "r1"
    assert made.engine.cluster.ordered_lists == ((UNDER_NO_LIST,) if required else ())
    made.boxes["r2"].timeline = 2
    await rounds(made, 3)
    assert made.engine.cluster.ordered_lists == ()
    assert (made.plugins.count("sync.run r1") > 1) is (required > 0), "as a replica, and as the master"
