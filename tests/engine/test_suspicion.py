"""The look from everywhere, and the dry runs of the fences beside it: who is waited for, and who is not."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest

from handyrep.engine.observe import Trying
from handyrep.engine.proofs import looked_and_tested, proofs
from handyrep.model.answer import Answer
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail, success
from handyrep.plugin_api.contract import Kind
from tests.engine.test_proxies import WithProxies
from tests.engine.world import Imagined, hanging


async def within(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(5):
        return await work


def polls_a_proxy(kind: Kind, name: str, method: str) -> bool:
    return (kind, method) == (Kind.CONNECTION_FAILOVER, "poll")


async def test_no_proxy_is_asked_where_anybody_else_answers() -> None:
    """One in front of a dead master takes its whole time, and what a login costs."""
    world = WithProxies()
    picture = await world.engine.everywhere.look(0.0)
    assert set(picture.seen) == {"m1", "r1", "r2"}
    assert not [call for call in world.plugins.calls if call.startswith("connection_failover")]


async def test_where_nobody_else_answers_a_proxy_tells_whether_handyrep_is_cut_off() -> None:
    """The master's own host answers here: that is no other server."""
    world = WithProxies()
    for name in ("r1", "r2"):
        world.boxes[name].up = world.boxes[name].host = False
    let = hanging(world, polls_a_proxy)
    looking = asyncio.create_task(world.engine.everywhere.look(0.0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not looking.done()
    let.set()
    assert (await within(looking)).of("p1").up is Answer.YES


@pytest.mark.parametrize(
    ("fences", "silent", "stop_can", "waits"),
    [
        (("fence_stop", "fence_starve"), {"fence_starve"}, True, False),
        (("fence_starve", "fence_stop"), {"fence_starve"}, True, True),
        (("fence_stop", "fence_starve"), {"fence_starve"}, False, True),
        (("fence_stop", "fence_starve"), {"fence_stop", "fence_starve"}, True, True),
    ],
    ids=["one before it can", "it comes first", "the one before it cannot", "the one before it needs silence as well"],
)
async def test_a_dry_run_is_not_waited_for_after_one_that_can_prove_it_of_any_master(
    fences: tuple[str, ...], silent: set[str], stop_can: bool, waits: bool
) -> None:
    world = Imagined(fence_methods=fences)
    world.plugins.registry.silent = silent
    world.plugins.instead["fence.test"] = lambda _: success() if stop_can else fail("no")
    let = hanging(world, lambda kind, name, method: (name, method) == ("fence_starve", "test"))
    looking = asyncio.create_task(world.engine.everywhere.look(0.0))
    testing = asyncio.create_task(proofs(world.engine, looking))
    for _ in range(100):
        await asyncio.sleep(0)
    assert testing.done() is not waits
    let.set()
    found = {proof.fence: proof for proof in await within(testing)}
    assert (found["fence_starve"].possible is Answer.UNKNOWN) is not waits
    assert waits or "fence_stop can prove it" in found["fence_starve"].said


async def test_beside_no_look_each_dry_run_is_waited_for() -> None:
    """`status` and `doctor` tell of every fence."""
    world = Imagined(fence_methods=("fence_stop", "fence_starve"))
    let = hanging(world, lambda kind, name, method: (name, method) == ("fence_starve", "test"))
    testing = asyncio.create_task(proofs(world.engine))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not testing.done()
    let.set()
    assert [proof.possible for proof in await within(testing)] == [Answer.YES, Answer.YES]


@pytest.mark.parametrize(("stop_can", "begun"), [(True, ["fence_stop"]), (False, ["fence_stop", "fence_starve"])])
async def test_a_stand_in_is_not_begun_where_the_first_can_prove_it(stop_can: bool, begun: list[str]) -> None:
    """What it would look at takes processor time from the first, on hosts that may have little of it just then."""
    world, tested, answers = standing_in()
    world.plugins.instead["fence.test"] = lambda _: success() if stop_can else fail("no")
    testing = asyncio.create_task(proofs(world.engine, asyncio.create_task(world.engine.everywhere.look(0.0))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert tested == ["fence_stop"]
    answers.set()
    found = await within(testing)
    assert tested == begun
    assert found[1].possible is (Answer.UNKNOWN if stop_can else Answer.NO)


async def test_a_stand_in_begins_where_the_first_does_not_answer() -> None:
    world, tested, answers = standing_in()
    testing = asyncio.create_task(proofs(world.engine, asyncio.create_task(world.engine.everywhere.look(0.0))))
    await asyncio.sleep(0.5)
    assert tested == ["fence_stop", "fence_starve"]
    answers.set()
    await within(testing)


async def test_all_begin_at_once_where_the_master_says_nothing() -> None:
    """A host that is off will not let the first prove anything."""
    world, tested, answers = standing_in()
    looking = asyncio.create_task(world.engine.everywhere.look(0.0))
    testing = asyncio.create_task(proofs(world.engine, looking, world.engine.settings.failover.call_timeout))
    for _ in range(20):
        await asyncio.sleep(0)
    assert tested == ["fence_stop", "fence_starve"]
    answers.set()
    await within(testing)


def standing_in() -> tuple[Imagined, list[str], asyncio.Event]:
    """A world where fence_starve stands in for fence_stop; the fences whose test was begun; fence_stop's answers on the event."""
    world = Imagined(fence_methods=("fence_stop", "fence_starve"))
    world.plugins.registry.silent = {"fence_starve"}
    tested: list[str] = []

    def notes(kind: Kind, name: str, method: str) -> bool:
        if (kind, method) == (Kind.FENCE, "test"):
            tested.append(name)
        return (name, method) == ("fence_stop", "test")

    return world, tested, hanging(world, notes)


@pytest.mark.parametrize(
    ("running", "asked"), [(False, ["m1"]), (True, ["m1", "r1", "r2"])], ids=["it does not run", "it runs"]
)
async def test_other_hosts_are_not_asked_about_a_master_that_does_not_run_at_home(
    *, running: bool, asked: list[str]
) -> None:
    """What they see would be void; of one that hangs they may see a sign of life, and that keeps some fences from being tried."""
    world, views = seen_from()
    world.boxes["m1"].up = False
    world.plugins.instead["restart.run"] = lambda _: success() if running else fail("stopped", running=False)
    picture = await within(world.engine.everywhere.look(0.0))
    assert sorted(views) == asked
    assert picture.of("r1").sees_master is (Answer.NO if running else Answer.UNKNOWN)
    assert picture.of("r1").host_answers is (Answer.YES if running else Answer.UNKNOWN)


async def test_other_hosts_are_asked_at_once_where_the_master_has_been_silent() -> None:
    world, views = seen_from()
    world.boxes["m1"].up = False
    let = hanging(world, lambda kind, _, method: (kind, method) == (Kind.INSPECT, "host"))
    looking = asyncio.create_task(world.engine.everywhere.look(world.engine.settings.failover.call_timeout))
    for _ in range(20):
        await asyncio.sleep(0)
    assert sorted(views) == ["m1", "r1", "r2"]
    let.set()
    await within(looking)


async def test_other_hosts_are_asked_where_the_masters_does_not_answer_in_time() -> None:
    """And once it has said that it ended, one that has not answered yet is not waited for."""
    world, views = seen_from()
    world.boxes["m1"].up = False
    home = hanging(world, lambda kind, _, method: (kind, method) == (Kind.INSPECT, "host"))
    looking = asyncio.create_task(world.engine.everywhere.look(0.0))
    await asyncio.sleep(0.5)
    assert sorted(views) == ["m1", "r1", "r2"]
    home.set()
    assert (await within(looking)).of("r1").sees_master is Answer.NO


def seen_from() -> tuple[Imagined, list[str]]:
    """A world, and from which servers' hosts the master was looked for."""
    world, views = Imagined(), list[str]()
    call = world.plugins.call

    async def told(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
        if (kind, method) == (Kind.INSPECT, "sees"):
            views.append(rest[0]["servername"])
        return await call(kind, name, method, *rest, **how)

    world.plugins.call = told  # type: ignore[method-assign]
    return world, views


@pytest.mark.parametrize(
    ("goes", "up"), [(True, Answer.NO), (False, Answer.YES)], ids=["it has gone", "it only says nothing"]
)
async def test_a_master_that_goes_silent_right_after_its_poll_is_polled_again(*, goes: bool, up: Answer) -> None:
    """Else it would pass for well, and be suspected a whole poll_interval later."""
    world = Imagined()

    def silent(_: Mapping[str, Any]) -> Result:
        world.boxes["m1"].up = not goes
        return fail("nothing is known: it did not answer")

    world.plugins.instead["inspect.run"] = silent
    seen = await world.engine.observer.lightly(world.engine.cluster.members["m1"], Trying.UNHURRIED)
    assert (seen.up, seen.facts) == (up, None)
    assert world.plugins.count("poll") == 2


async def test_a_master_that_answers_with_an_error_is_not_polled_again() -> None:
    world = Imagined()
    world.plugins.instead["inspect.run"] = lambda _: fail("GRANT pg_monitor to it", alive=True)
    seen = await world.engine.observer.lightly(world.engine.cluster.members["m1"], Trying.UNHURRIED)
    assert (seen.up, world.plugins.count("poll")) == (Answer.YES, 1)


@pytest.mark.parametrize(
    ("fence", "looks"), [("fence_stop", 2), ("fence_starve", 1)], ids=["one that heard its host", "one without it"]
)
async def test_a_master_whose_host_only_the_fence_heard_is_looked_at_again(fence: str, looks: int) -> None:
    """A link that flaps was up again a moment after the look, so the dry run, which waits longer, got through: the master is well."""
    world = Imagined(fence_methods=(fence,))
    master, seen, tested = world.boxes["m1"], asyncio.Event(), asyncio.Event()
    master.up = master.host = False
    call, look, pictures = world.plugins.call, world.engine.everywhere.look, list[Picture]()

    async def gets_through(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
        if method == "test":
            await seen.wait()
            master.up = master.host = True
            tested.set()
        return await call(kind, name, method, *rest, **how)

    async def takes_longer(suspected_for_s: float, trying: Trying = Trying.ONCE) -> Picture:
        pictures.append(await look(suspected_for_s, trying))
        seen.set()
        await tested.wait()
        await asyncio.sleep(0.01)
        return pictures[-1]

    world.plugins.call = gets_through  # type: ignore[method-assign]
    world.engine.everywhere.look = takes_longer  # type: ignore[method-assign]
    picture, found = await within(looked_and_tested(world.engine, 1.0))
    assert (len(pictures), picture.of("m1").up) == (looks, Answer.YES if looks == 2 else Answer.NO)
    assert [proof.possible for proof in found] == [Answer.YES]
