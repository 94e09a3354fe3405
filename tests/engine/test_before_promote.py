"""Between the fence and the promote: which fence is not even tried, whose position stands still, and what is rescued."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.model.result import Result, fail, success
from handyrep.plugin_api.contract import Kind
from tests.engine.test_confirmed_failover import assert_given_up_since_it_answers, call
from tests.engine.world import Imagined

LEAVES_RUNNING = {"proof": "no commit can end there", "last_lsn": ""}


async def lost_master(*, synchronous: str = "ANY 1 (r1, r2)", **failover: Any) -> Imagined:
    """A cluster that HandyRep knew when it was well, and whose PostgreSQL on m1 is gone."""
    world = Imagined(**failover)
    world.boxes["m1"].synchronous = synchronous
    await world.look()
    world.boxes["m1"].up = False
    return world


def hung(given: Mapping[str, Any]) -> Result:
    """At home nobody gets in; a replica still hears from it."""
    return fail("silent", no=True) if given["servername"] == "m1" else success()


async def test_a_fence_that_leaves_the_master_running_is_not_tried_on_one_that_gives_a_sign_of_life() -> None:
    world = await lost_master(fence_methods=("fence_starve", "fence_stop"))
    world.plugins.registry.silent = {"fence_starve"}
    world.plugins.instead["inspect.sees"] = hung
    world.plugins.instead["restart.run"] = lambda _: success("it runs")
    await world.look()
    (run, how, _) = world.engine.journal.runs()[-1]
    assert how == "finished"
    assert run.signs_of_life == ("r1 can still see it", "r2 can still see it")
    starve = next(e for e in run.ended if e.step.subject == "fence_starve")
    assert starve.extra["untouched"] is True
    assert "sign of life" in starve.details
    assert world.plugins.count("fence.run") == 1, "fence_stop alone"


@pytest.mark.parametrize(("fences", "stopped"), [(("fence_starve",), 0), (("fence_stop", "fence_starve"), 1)])
async def test_a_switchover_never_tries_a_fence_that_needs_silence(fences: tuple[str, ...], stopped: int) -> None:
    """Its master lives: such a fence would keep clients waiting for a proof of which nothing comes."""
    world = Imagined(fence_methods=fences)
    world.plugins.registry.silent = {"fence_starve"}
    world.plugins.instead["fence.run"] = lambda _: fail("no SSH", untouched=True)
    await world.look()
    done = await call(world, "manual_failover", newmaster="r1")
    assert done["result"] == "FAIL"
    assert world.plugins.count("fence.run") == stopped
    assert world.master == "m1"


async def test_without_a_sign_of_life_it_is_tried() -> None:
    world = await lost_master(fence_methods=("fence_starve",))
    world.plugins.registry.silent = {"fence_starve"}
    world.plugins.instead["fence.run"] = lambda _: success(**LEAVES_RUNNING)
    world.plugins.instead["fence.test"] = lambda _: success()
    await world.look()
    assert world.master == "r1"


async def test_receivers_are_halted_where_the_old_master_may_still_send() -> None:
    world = await lost_master()
    world.plugins.instead["fence.run"] = lambda _: success(**LEAVES_RUNNING)
    await world.look()
    order = [c for c in world.plugins.calls if c.startswith(("fence.run", "follow.halt", "promotion"))]
    assert order == ["fence.run m1", "follow.halt r1", "follow.halt r2", "promotion.run r1"]


async def test_receivers_that_ended_with_the_master_are_left_alone() -> None:
    world = await lost_master()
    await world.look()
    assert world.master == "r1"
    assert world.plugins.count("follow.halt") == 0


@pytest.mark.parametrize(("receiving", "looks"), [(False, 1), (True, 4)], ids=["still", "one was halted"])
async def test_where_replicas_stand_is_not_asked_again_while_nothing_can_move_them(
    *, receiving: bool, looks: int
) -> None:
    world = await lost_master()
    world.boxes["r2"].receiving = receiving
    await world.look()
    calls = world.plugins.calls
    between = calls[calls.index("fence.run m1") : calls.index("promotion.run r1")]
    assert between.count("inspect.run r2") == looks, "freeze; once more after the halt, for the rescue, for the choice"


async def test_a_receiver_that_goes_on_after_the_master_ended_is_halted() -> None:
    world = await lost_master()
    world.boxes["r2"].receiving = True
    await world.look()
    assert world.plugins.count("follow.halt r2") == 1
    assert world.plugins.count("follow.halt r1") == 0


async def test_a_replica_that_cannot_be_halted_neither_counts_nor_takes_over() -> None:
    world = await lost_master(max_lost_wal=1000.0)
    world.plugins.instead["fence.run"] = lambda _: success(**LEAVES_RUNNING)
    world.plugins.instead["follow.halt"] = lambda given: (
        fail("allow_alter_system is off") if given["servername"] == "r1" else success()
    )
    await world.look()
    (run, how, text) = world.engine.journal.runs()[-1]
    assert how == "abandoned"
    assert run.standing == frozenset({"r2"})
    assert "r1: it is being worked on, or it could not be made sure that it receives nothing more" in text
    assert "r2: how much WAL would be lost is not known" in text, "one of two names is not read"
    assert world.plugins.count("follow.resume") == 2
    assert world.plugins.count("promotion") == 0


@pytest.mark.parametrize("ended", [True, False])
async def test_a_follow_plugin_that_cannot_halt_is_enough_only_when_the_master_has_ended(ended: bool) -> None:
    world = await lost_master()
    world.plugins.registry.lacking = {"halt", "resume"}
    if not ended:
        world.plugins.instead["fence.run"] = lambda _: success(**LEAVES_RUNNING)
    await world.look()
    assert world.plugins.count("promotion") == (1 if ended else 0)


async def test_without_halt_a_receiver_that_goes_on_is_waited_for() -> None:
    world = await lost_master()
    world.plugins.registry.lacking = {"halt", "resume"}
    world.boxes["r1"].receiving = True
    await world.look()
    assert world.engine.journal.runs()[-1][0].standing == frozenset({"r2"})


async def test_wal_that_was_never_sent_is_given_to_the_candidate_before_it_is_promoted() -> None:
    world = await lost_master(synchronous="", rescue_method="rescue_wal", max_lost_wal=0.0)
    world.boxes["m1"].position = 5000
    await world.look()
    assert world.master == "r1"
    assert world.boxes["r1"].position == 5000
    assert world.plugins.calls.index("rescue.run m1") < world.plugins.calls.index("promotion.run r1")


async def test_without_a_rescue_what_may_not_be_lost_is_not_lost() -> None:
    world = await lost_master(synchronous="", rescue_method="failplugin", max_lost_wal=0.0)
    world.plugins.instead["rescue.run"] = lambda _: fail("it stands in for one that is not wanted")
    world.boxes["m1"].position = 5000
    await world.look()
    (_, how, text) = world.engine.journal.runs()[-1]
    assert how == "abandoned"
    assert "lacks 4000 bytes" in text


async def test_a_rescue_that_fails_leaves_the_loss_to_be_judged() -> None:
    world = await lost_master(synchronous="", rescue_method="rescue_wal", max_lost_wal=16.0)
    world.boxes["m1"].position = 5000
    world.plugins.instead["rescue.run"] = lambda _: fail("the host went away")
    await world.look()
    assert (world.master, world.plugins.count("rescue.run")) == ("r1", 1)


async def test_a_persons_word_halts_receivers_that_still_wait_for_the_dead_host() -> None:
    world = await lost_master(fence_methods=())
    world.boxes["m1"].host = False
    world.boxes["r1"].receiving = True
    await world.look()
    done = await call(world)
    assert done["result"] == "SUCCESS"
    assert world.plugins.count("follow.halt r1") == 1


async def test_a_power_switch_is_not_thrown_in_vain_though_a_person_asks() -> None:
    world = await lost_master(synchronous="ANY 1 (r1, r2)", fence_methods=("fence_command",))
    world.boxes["r2"].up = False
    world.plugins.instead["fence.test"] = lambda _: success()
    done = await call(world, "manual_failover")
    assert (done["result"], "would be in vain" in done["details"]) == ("FAIL", True), done
    assert "the old master's disk was not read" in done["details"]
    assert (world.plugins.count("fence.run"), world.plugins.count("fence.release")) == (0, 0)
    world.boxes["r2"].up = True
    assert (await call(world, "manual_failover"))["result"] == "SUCCESS"


async def test_a_rescue_has_time_for_what_it_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await lost_master(synchronous="", rescue_method="rescue_wal", max_lost_wal=0.0)
    world.boxes["m1"].position = 1000 + (300 << 20)
    given: list[float] = []
    real = world.plugins.call

    async def noted(kind: Kind, *words: Any, deadline_s: float, **more: Any) -> Result:
        if kind is Kind.RESCUE:
            given.append(deadline_s)
        return await real(kind, *words, deadline_s=deadline_s, **more)

    monkeypatch.setattr(world.plugins, "call", noted)
    await world.look()
    assert (world.master, given) == ("r1", [360.0])


async def test_a_master_that_comes_back_while_the_replicas_are_halted_is_not_replaced() -> None:
    """Its fence left it as it was: it may live, and says so before anybody is promoted."""
    world = await starved_master()
    halt = world.plugins._follow_halt

    def back(given: Mapping[str, Any]) -> Result:
        world.boxes["m1"].up = True
        return halt(given)

    world.plugins.instead["follow.halt"] = back
    await world.look()
    assert_given_up_since_it_answers(world)


async def test_the_silence_of_a_master_that_its_fence_left_as_it_was_is_not_waited_out() -> None:
    world = await starved_master()
    call_plugin, hanging = world.plugins.call, asyncio.Event()

    async def silent_after_its_fence(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
        fenced = world.plugins.count("fence.run") > 0
        if fenced and kind is Kind.INSPECT and rest and rest[0].get("servername") == "m1":
            hanging.set()
            await asyncio.Event().wait()
        return await call_plugin(kind, name, method, *rest, **how)

    world.plugins.call = silent_after_its_fence  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await world.look()
    assert (world.master, hanging.is_set()) == ("r1", True), "it was asked all the same"


async def starved_master() -> Imagined:
    """Lost, and to be fenced by what leaves it as it is."""
    world = await lost_master(fence_methods=("fence_starve",))
    world.plugins.registry.silent = {"fence_starve"}
    world.plugins.instead["fence.run"] = lambda _: success(**LEAVES_RUNNING)
    world.plugins.instead["fence.test"] = lambda _: success()
    return world


async def test_handyrep_that_goes_on_after_a_while_asks_the_old_master_anew() -> None:
    """Killed between the halt and the choice; by the time it is started again the old master is back."""
    world = await starved_master()
    select = world.plugins.select
    world.plugins.instead["follow.halt"] = world.plugins._follow_halt
    world.plugins.select = world.killed_in_select  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await world.look()
    world.plugins.select = select  # type: ignore[method-assign]
    world.boxes["m1"].up = True
    world.restarted()
    await world.look()
    assert (world.plugins.count("promotion.run"), world.master) == (0, "m1")
