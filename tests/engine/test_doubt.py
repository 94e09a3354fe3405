"""A master that does not answer: how often it is tried before it is suspected, and what ends that."""

from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.engine.doubt import Doubt
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success
from handyrep.model.status import Health
from tests.engine.world import Imagined

RETRIES, APART_S = 3, 0.5


async def looked(world: Imagined) -> None:
    """One check as the monitor makes it."""
    await world.check.run(verify=False)


def silent() -> Imagined:
    """The master's host is away."""
    world = Imagined(fail_retries=RETRIES, fail_retry_interval=APART_S)
    world.boxes["m1"].up = world.boxes["m1"].host = False
    return world


def back_after(world: Imagined, tries: int) -> None:
    """The master answers again after so many of the attempts."""
    left = [tries]

    def poll(given: Mapping[str, Any]) -> Result:
        if given["servername"] == "m1":
            left[0] -= 1
            world.boxes["m1"].up = left[0] < 0
        return world.plugins._poll_run(given)

    world.plugins.instead["poll.once"] = poll


async def lasts(world: Imagined) -> tuple[bool, float]:
    """Whether it is suspected, and after how long."""
    doubt = Doubt(world.engine.observer, world.clock, world.settings.failover)
    began, master = world.clock.monotonic(), world.engine.cluster.members["m1"]
    answer = await doubt.lasts(master, began)
    return answer, world.clock.monotonic() - began


async def test_a_silent_master_is_suspected_after_the_whole_window() -> None:
    assert await lasts(silent()) == (True, RETRIES * APART_S)


@pytest.mark.parametrize("tries", [0, 1])
async def test_one_that_answers_an_attempt_is_not(tries: int) -> None:
    world = silent()
    back_after(world, tries)
    assert await lasts(world) == (False, (tries + 1) * APART_S)


async def test_a_master_whose_own_host_says_that_it_does_not_run_is_given_one_interval() -> None:
    world = silent()
    world.boxes["m1"].host = True
    assert await lasts(world) == (True, APART_S)


async def test_a_service_that_is_not_settled_is_given_the_whole_window() -> None:
    """As while somebody restarts it."""
    world = silent()
    world.boxes["m1"].host = True
    world.plugins.instead["restart.run"] = lambda _: fail("the unit is activating")
    assert await lasts(world) == (True, RETRIES * APART_S)


@pytest.mark.parametrize(("retries", "after_s"), [(0, 0.0), (1, APART_S)])
async def test_with_few_retries_the_look_from_everywhere_is_the_last_of_them(retries: int, after_s: float) -> None:
    world = Imagined(fail_retries=retries, fail_retry_interval=APART_S)
    world.boxes["m1"].up = False
    assert await lasts(world) == (True, after_s)
    assert world.plugins.count("poll.") == 0


async def test_a_short_pause_changes_no_status_and_leaves_nothing_suspected() -> None:
    world = silent()
    world.boxes["m1"].up = True
    await looked(world)
    world.boxes["m1"].up = False
    back_after(world, 2)
    told, verdicts = len(world.events.told), world.check.verdicts.number
    await looked(world)
    assert (len(world.events.told), world.check.verdicts.number) == (told, verdicts)
    assert world.check._suspected_since is None


async def test_once_suspected_it_is_looked_at_from_everywhere_at_once() -> None:
    world = silent()
    await looked(world)
    await looked(world)
    world.plugins.calls.clear()
    before_s = world.clock.monotonic()
    await looked(world)
    assert world.clock.monotonic() == before_s
    assert world.plugins.count("inspect.sees") == len(world.boxes)


async def test_a_poll_plugin_that_knows_only_its_own_retries_is_used_as_it_is() -> None:
    world = silent()
    world.plugins.registry.lacking.add("once")
    world.boxes["m1"].host = True
    assert (await lasts(world))[0] is True
    assert (world.plugins.count("poll.once"), world.plugins.count("poll.run m1")) == (0, 1)


async def test_a_second_master_that_answers_late_is_not_overlooked() -> None:
    world = Imagined()
    await looked(world)
    world.boxes["r2"].master = True
    picture = await world.engine.observer.poll("r2")

    async def late(*, verified: bool) -> Picture:
        world.check.rounds.late = (picture,)
        return Picture(seen={"m1": (await world.engine.observer.poll("m1")).of("m1")}, verified=verified)

    world.check.rounds.look = late  # type: ignore[method-assign]
    await looked(world)
    assert world.engine.last_verdict is not None
    assert world.engine.last_verdict.rule != "F07"


async def test_a_fence_that_can_give_its_proof_comes_before_one_that_could_not() -> None:
    world = Imagined(fence_methods=("fence_stop", "fence_command"))
    await looked(world)
    world.boxes["m1"].up = False
    told = iter((fail("no SSH"), success()))
    world.plugins.instead["fence.test"] = lambda _: next(told)
    await looked(world)
    ((run, _, _),) = world.engine.journal.runs()
    assert run.fences == ("fence_command", "fence_stop")


async def test_a_replica_that_answers_where_handyrep_is_logged_in_is_not_polled_between_full_looks() -> None:
    world = Imagined()
    await looked(world)
    world.plugins.calls.clear()
    await looked(world)
    assert (world.plugins.count("poll.once m1"), world.plugins.count("poll.run r")) == (1, 0)
    world.boxes["r2"].up = False
    await looked(world)
    assert world.plugins.count("poll.run r2") == 1
    assert world.engine.cluster.members["r2"].status.health is Health.UNAVAILABLE


@pytest.mark.parametrize(
    ("pause_s", "ago_s", "window_s"), [(2.0, 1.0, 4.0), (0.5, 1.0, 1.5), (300.0, 1.0, 10.0), (2.0, 61.0, 1.5)]
)
async def test_a_master_that_comes_and_goes_is_given_longer_than_it_was_away_lately(
    pause_s: float, ago_s: float, window_s: float
) -> None:
    world = silent()
    doubt = Doubt(world.engine.observer, world.clock, world.settings.failover)
    doubt.is_over(world.clock.monotonic() - pause_s)
    world.clock.now_s += ago_s
    began = world.clock.monotonic()
    assert await doubt.lasts(world.engine.cluster.members["m1"], began) is True
    assert world.clock.monotonic() - began == window_s


async def test_a_pause_is_remembered_whether_it_ended_before_or_after_the_look_from_everywhere() -> None:
    for tries in (2, 20):
        world = silent()
        world.boxes["m1"].up = True
        await looked(world)
        world.boxes["m1"].up = False
        back_after(world, tries)
        for _ in range(20):
            await looked(world)
        assert [length_s for _, length_s in world.check._doubt._pauses] != []


async def test_what_came_late_is_told_once_and_not_again_after_a_whole_look() -> None:
    """Or else a second master that has gone would be looked for from everywhere at each of these looks."""
    world = Imagined()
    await looked(world)
    world.boxes["r2"].master = True
    picture = await world.engine.observer.poll("r2")
    world.boxes["r2"].master = False
    world.check.rounds.late = (picture,)
    world.plugins.calls.clear()
    await world.look()
    assert world.plugins.count("inspect.sees") == 0


async def test_what_a_replica_heard_after_the_suspicion_began_does_not_count_for_ever() -> None:
    """The master was cut off while it was polled: the last that a replica heard is younger than the suspicion, and stays so for ever."""
    world = silent()
    heard_at = [world.clock.monotonic()]

    def told(given: Mapping[str, Any]) -> Result:
        answer = world.plugins._inspect_run(given)
        age_s = world.clock.monotonic() - heard_at[0]
        extra = {**answer.extra, "receiving": True, "message_age_s": age_s}
        return answer if given["servername"] == "m1" else success(**extra)

    world.boxes["m1"].up = world.boxes["m1"].host = True
    await looked(world)
    world.boxes["m1"].up = world.boxes["m1"].host = False
    world.plugins.instead["inspect.run"] = told
    world.plugins.instead["fence.test"] = lambda _: success()
    heard_at[0] = world.clock.monotonic() + APART_S
    await looked(world)
    assert rule(world) == "F09"
    rules = []
    for again in (True, False, False):
        world.clock.now_s += 2.0
        heard_at[0] = world.clock.monotonic() if again else heard_at[0]
        await looked(world)
        rules.append(rule(world))
    assert rules == ["F09", "F09", "F17"], "heard again; that may have come after the replica was asked; nothing since"


def rule(world: Imagined) -> str:
    return world.engine.last_verdict.rule if world.engine.last_verdict else ""
