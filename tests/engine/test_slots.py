"""What a change of master does to replication slots: said beforehand, made before the others follow, taken away where they are of no use."""

from typing import Any

import pytest

from handyrep.model.result import Result, fail, success
from tests.engine.test_confirmed_failover import call
from tests.engine.test_returning import failed_over, look, ordered
from tests.engine.world import Answerer, Imagined

LACKS = "r1 would not have the logical slot cdc: it is no failover slot"
UNKNOWN = "which logical slots would be lost is not known: silent"
BY_ANSWER = [
    (success(lost=["cdc: it is no failover slot"]), [LACKS]),
    (fail(UNKNOWN), [UNKNOWN]),
    (success(lost=7), []),
]


def always(answer: Result) -> Answerer:
    return lambda _: answer


@pytest.mark.parametrize(("answer", "told"), BY_ANSWER)
async def test_what_if_names_the_logical_slots_that_would_be_lost(answer: Result, told: list[str]) -> None:
    world = Imagined()
    world.plugins.instead["slots.lost"] = lambda _: answer
    await world.look()
    assert (await call(world, "what_if", event="m1 dies"))["lost_slots"] == told
    assert "lost_slots" not in await call(world, "what_if", event="r1 dies")


@pytest.mark.parametrize(("answer", "told"), BY_ANSWER)
async def test_a_switchover_names_them_and_is_done_all_the_same(answer: Result, told: list[str]) -> None:
    world = Imagined()
    world.plugins.instead["slots.lost"] = lambda _: answer
    await world.look()
    done = await call(world, "manual_failover")
    assert (done["result"], done["new_master"], done["warnings"]) == ("SUCCESS", "r1", told)
    assert all(one in done["details"] for one in told)
    calls = ordered(world, "slots.lost", "fence.run")
    assert calls == ["slots.lost r1", "fence.run m1"], "before anything is touched"


async def test_a_failover_does_not_ask_the_dead_and_tells_what_was_lost_once_it_is_known() -> None:
    world = Imagined()
    world.plugins.instead["slots.run"] = lambda _: success("r1 has of_r2", warnings=["the logical slot cdc is lost"])
    world.plugins.instead["follow.run"] = lambda _: success(warnings=["r2 receives without its slot"])
    await world.look()
    world.boxes["m1"].up, world.boxes["r2"].follows = False, "r1"
    done = await world.look()
    assert ordered(world, "slots.lost", "slots.run", "follow.run") == ["slots.run r1", "follow.run r2"]
    assert done.extra["warnings"] == ["the logical slot cdc is lost", "r2 receives without its slot"]
    assert done.details.endswith("; note: the logical slot cdc is lost; r2 receives without its slot")


async def test_a_replica_that_follows_nobody_gets_its_slot_first() -> None:
    world = Imagined()
    world.plugins.instead["follow.run"] = lambda _: success(warnings=["it has no slot"])
    world.boxes["r2"].follows = ""
    await look(world)
    assert ordered(world, "slots.run", "follow.run") == ["slots.run m1", "follow.run r2"]
    assert world.events.of("returning") == ["r2 was told to receive from m1; it has no slot"]
    await call(world, "remaster", replica="r2")
    assert ordered(world, "slots.run", "follow.run")[2:] == ["slots.run m1", "follow.run r2"]


async def test_a_former_master_is_tidied_once_when_it_follows() -> None:
    world = await failed_over()
    world.plugins.instead["slots.tidy"] = always(success("dropped slots: of_r2", dropped=["of_r2"]))
    for _ in range(3):
        await look(world)
    assert ordered(world, "rejoin", "slots.tidy") == ["rejoin.run m1", "slots.tidy m1"]
    assert world.events.of("slots") == ["m1: dropped slots: of_r2"]


async def test_what_could_not_be_tidied_is_tried_again_later() -> None:
    world = await failed_over()
    world.plugins.instead["slots.tidy"] = always(fail("no login"))
    for _ in range(4):
        await look(world)
    assert world.events.of("slots") == ["m1: no login"]
    world.plugins.instead["slots.tidy"] = always(success(dropped=[]))
    world.clock.now_s += 601
    for _ in range(2):
        await look(world)
    assert (world.plugins.count("slots.tidy"), world.events.of("slots")) == (2, ["m1: no login"])


async def test_after_a_switchover_the_old_master_is_tidied_and_nobody_else() -> None:
    world = Imagined()
    await look(world)
    await call(world, "manual_failover")
    for _ in range(3):
        await look(world)
    assert ordered(world, "slots.tidy") == ["slots.tidy m1"]


async def test_without_the_right_to_act_nothing_is_tidied() -> None:
    world = await failed_over()
    await look(world)
    world.plugins.instead["master_check.run"] = always(fail("another one is"))
    await look(world)
    assert ordered(world, "slots.tidy") == []


async def test_a_plugin_that_cannot_tidy_is_not_asked_to() -> None:
    world = await failed_over()
    world.plugins.registry.lacking = {"tidy"}
    for _ in range(3):
        await look(world)
    assert ordered(world, "rejoin", "slots.tidy") == ["rejoin.run m1"]


async def test_what_keeps_wal_for_nobody_is_told_once_and_taken_back_by_an_answer_alone() -> None:
    world = Imagined()
    much = "the slot r9 on m1 keeps more than 1024 MB of WAL, and nobody uses it"
    answers: list[Result] = [success(), *[success(warnings=[much])] * 2, fail("r1: silent", warnings=[]), success()]
    told: list[Any] = []
    for answer in answers:
        world.plugins.instead["slots.test"] = always(answer)
        await world.look()
        told.append(world.events.of("slots"))
    over = "no slot keeps much WAL for nobody any more"
    assert told == [[], [much], [much], [much], [much, over]]


async def test_doctor_is_content_and_says_it() -> None:
    world = Imagined()
    await world.look()
    world.plugins.instead["slots.test"] = lambda _: success("", warnings=["the slot r9 keeps much"])
    told = await call(world, "doctor")
    assert told["result"] == "SUCCESS", told
    assert told["details"].endswith("; note: the slot r9 keeps much")
