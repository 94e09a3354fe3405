"""Two HandyReps: whichever is killed, sleeps, or is cut off with a part of the servers, there is one promote in a run and never a fork."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from handyrep.engine.engine import Engine
from handyrep.model.result import Result, success
from tests.simulation import faults
from tests.simulation.life import Life, _killed_beside
from tests.simulation.loop import never_waiting
from tests.simulation.two import NAMES, Manager, Two, run_two

ASLEEP = 30
"""Rounds for which one sleeps: the other one has the right to act long before they are over."""


def pair(fence: str) -> Two:
    """A strictly synchronous cluster of three that fences in this one way, and a calm sky."""
    for seed in range(1000):
        life = Life(seed, NAMES)
        if life.strict and len(life.world.boxes) == 3 and life.settings.failover.fence_methods == (fence,):
            if life.settings.failover.restart_master or life.settings.failover.failover_cooldown:
                continue
            two = Two(seed)
            for one in two.managers:
                one.weather.power_works = True
            return two
    raise AssertionError("there is no such seed")


def lived(two: Two, story: Callable[[Two], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: never_waiting(two.world.monotonic)) as runner:
        runner.get_loop().set_exception_handler(_killed_beside)
        runner.run(story(two))


async def rounds(two: Two, count: int) -> None:
    for _ in range(count):
        if not two.violation:
            await two.round()


def whole(two: Two) -> str:
    return "\n".join((two.violation, *(f"{at_s:9.3f} {sentence[:200]}" for at_s, sentence in two.world.story)))


def promotes(two: Two) -> int:
    return sum("is promoted to timeline" in sentence for _, sentence in two.world.story)


def acting(two: Two) -> Manager:
    return next(one for one in two.managers if one.name == two.agreement.holder)


def masters(two: Two) -> set[str]:
    known = [one.engine.cluster.master for one in two.managers]
    return {member.name for member in known if member is not None}


async def sleeps_before(two: Two, call: str) -> None:
    """E3: whoever leads the failover is stopped before this call, and wakes when the other one has long gone on."""
    await rounds(two, 3)
    for one in two.managers:
        one.weather.stop_at = lambda what: what == call and bool(acting(two).engine.journal.open_run())
    two.world.boxes["m1"].stop()
    for _ in range(4):
        await rounds(two, 1)
        if any(one.weather.stands for one in two.managers):
            break
    for one in two.managers:
        one.weather.stop_at = lambda _: False
    await rounds(two, ASLEEP)
    for one in two.managers:
        one.weather.wake()
    await rounds(two, 20)


CALLS = (
    "journal.run", "inspect.run", "connection_failover.block", "fence.run", "promotion.run", "inspect.write",
    "connection_failover.run", "follow.run",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_e3_one_sleeps_and_wakes_when_the_other_one_has_gone_on(call: str) -> None:
    two = pair("fence_stop")
    lived(two, lambda it: sleeps_before(it, call))
    assert two.violation == "", whole(two)
    assert any("is stopped in its tracks" in sentence for _, sentence in two.world.story)
    assert promotes(two) <= 1, whole(two)
    writers = two.world.writers()
    if not writers:
        waits = "was ordered to become the master and does not take writes yet"
        assert call == "promotion.run", "only a promote that may have been sent is waited for, until a person looks"
        assert any(waits in sentence for _, sentence in two.world.story)
        return
    assert len(writers) == 1, whole(two)
    assert writers[0] in masters(two), whole(two)
    assert set(two.world.acknowledged) <= set(two.world.boxes[writers[0]].wal)


async def still(_: Engine) -> Result:
    return success()


def test_who_does_not_ask_again_after_a_sleep_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "still_may_act", still)
    two = pair("fence_stop")
    lived(two, lambda it: sleeps_before(it, "fence.run"))
    assert two.violation.startswith("I4: a second promote in epoch ")


@pytest.mark.parametrize("who_may", NAMES)
@pytest.mark.parametrize("fence", ["fence_stop", "fence_power"])
def test_b17_the_network_parts_with_one_on_each_side(fence: str, who_may: str) -> None:
    """`one` stays with the master, `two` with the replicas."""
    two = pair(fence)

    async def parted(it: Two) -> None:
        await rounds(it, 3)
        it.world.boxes["m1"].cut.add("two")
        for name in ("r1", "r2"):
            it.world.boxes[name].cut.add("one")
            it.world.cuts.add(frozenset(("m1", name)))
        it.agreement.cut = {name for name in NAMES if name != who_may}
        await rounds(it, ASLEEP)
        faults.heal(it.world, it.life.weather)
        it.agreement.cut = set()
        await rounds(it, 10)

    lived(two, parted)
    assert two.violation == "", whole(two)
    assert len(two.world.writers()) == 1, whole(two)
    assert promotes(two) == (1 if (fence, who_may) == ("fence_power", "two") else 0), whole(two)


def test_a_seed_is_the_whole_life_of_two() -> None:
    assert [run_two(seed) for seed in range(2)] == [run_two(seed) for seed in range(2)]
