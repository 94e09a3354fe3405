"""Which verdicts are kept: every one that tells something new, with its inputs, and no more than that however long it lasts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.decide.failover import Situation, judge
from handyrep.decide.policy import Policy
from handyrep.decide.recorded import recall
from handyrep.engine.verdicts import APART_S, COUNT_EVERY_S, IN_MEMORY, InMemory, Verdicts
from handyrep.model.answer import Answer
from handyrep.model.kept import Kept
from handyrep.model.observation import Picture, Seen
from handyrep.model.result import Result, fail, success
from handyrep.model.verdict import Verdict
from tests.engine.world import Imagined, VirtualTime
from tests.factories import make_cluster


class Counting(InMemory):
    """Counts what is written; `broken` keeps nothing."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__(clock)
        self.written = 0
        self.broken = False

    def keep(self, verdict: Verdict, inputs: Mapping[str, Any] | None) -> int | None:  # type: ignore[override] # as the port has it
        self.written += 1
        return None if self.broken else super().keep(verdict, inputs)

    def came_again(self, number: int, times: int) -> None:
        self.written += 1
        super().came_again(number, times)


def kept(world: Imagined) -> list[Kept]:
    return world.check.verdicts.newest(IN_MEMORY)


def rules(world: Imagined) -> list[tuple[str, int]]:
    return [(one.verdict.rule, one.times) for one in kept(world)]


async def test_a_well_cluster_is_one_verdict_however_long_it_is_well() -> None:
    world = Imagined()
    await world.look(100)
    assert rules(world) == [("F07", 100)]
    assert (kept(world)[0].last_at - kept(world)[0].at).total_seconds() == 99 * 2


async def test_each_change_is_kept_with_what_it_was_judged_from() -> None:
    world = Imagined(auto_failover=False)
    await world.look(3)
    world.boxes["m1"].up = False
    await world.look(50)
    world.boxes["m1"].up = True
    await world.look(2)
    assert rules(world) == [("F07", 3), ("F13", 50), ("F07", 2)]
    for one in kept(world):
        assert one.inputs is not None
        assert judge(recall(one.inputs)) == one.verdict


async def test_a_countdown_is_not_kept_second_by_second() -> None:
    world = Imagined(failover_cooldown=600.0)
    await world.look()
    for name in ("m1", "r1"):
        world.boxes[name].up = False
        await world.look()
    await world.look(100)
    assert rules(world) == [("F07", 1), ("F17", 1), ("F14", 101)]


async def test_an_answer_that_comes_and_goes_is_kept_once_in_a_while() -> None:
    world = Imagined(auto_failover=False)
    await world.look()
    world.boxes["m1"].up = False
    looks = 100
    for n in range(looks):
        world.boxes["r2"].host = n % 2 == 0
        await world.look()
        world.clock.now_s += 2
    found = rules(world)
    assert sum(times for _, times in found) == looks + 1
    assert len(found) <= 2 + looks * 2 / APART_S


async def test_every_verdict_that_begins_a_failover_is_kept_and_named_in_it() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = lambda _: fail("not now", untouched=True)
    await world.look(3)
    runs = [run for run, _, _ in world.engine.journal.runs()]
    assert rules(world) == [("F07", 1), ("F17", 1), ("F17", 1), ("F17", 1)]
    assert [run.verdict for run in runs] == [one.number for one in kept(world)[1:]]


async def test_a_failover_knows_since_when_its_master_was_suspected() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False

    def slowly(_: Mapping[str, Any]) -> Result:
        world.clock.now_s += 1.5
        return success()

    world.plugins.instead["fence.test"] = slowly
    await world.look()
    ((run, _, _),) = world.engine.journal.runs()
    assert run.suspected_for_s == 1.5 + 0.5


async def test_little_is_written_while_nothing_changes() -> None:
    world = Imagined()
    log = Counting(world.clock)
    world.check.verdicts = Verdicts(log, world.clock)
    await world.look(300)
    assert log.written <= 2 + 600 / COUNT_EVERY_S


async def test_one_that_cannot_be_kept_stops_nothing_and_no_older_one_stands_for_it() -> None:
    world = Imagined()
    log = Counting(world.clock)
    world.check.verdicts = verdicts = Verdicts(log, world.clock)
    assert verdicts.last() is None
    await world.look()
    assert verdicts.last() is not None
    log.broken = True
    world.boxes["m1"].up = False
    await world.look()
    assert world.master == "r1"
    assert (verdicts.number, verdicts.last()) == (None, None)
    assert [run.verdict for run, _, _ in world.engine.journal.runs()] == [0]


def test_what_has_no_plain_form_costs_the_inputs_alone() -> None:
    clock = VirtualTime()
    verdicts = Verdicts(InMemory(clock), clock)
    seen = Seen(up=Answer.YES, notes=(b"bytes",))  # type: ignore[arg-type] # what mypy would have found
    situation = Situation(cluster=make_cluster(), picture=Picture(seen={"m1": seen}), policy=Policy())
    verdicts.take(
        situation, Verdict("F07", judge(dataclasses.replace(situation, picture=Picture())).move, "it is well")
    )
    found = verdicts.last()
    assert found is not None
    assert (found.verdict.sentence, found.inputs) == ("it is well", None)


@pytest.mark.parametrize("number", [1, IN_MEMORY + 5])
def test_only_so_many_are_in_memory(number: int) -> None:
    log = InMemory(VirtualTime())
    verdict = judge(Situation(cluster=make_cluster(), picture=Picture(), policy=Policy()))
    for _ in range(IN_MEMORY + 5):
        log.keep(verdict, None)
    assert (log.find(number) is None) is (number == 1)
    assert [one.number for one in log.newest(2)] == [IN_MEMORY + 4, IN_MEMORY + 5]
