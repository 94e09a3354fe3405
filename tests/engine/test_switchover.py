"""A switchover: all that speaks against it at once and before anything is done, clients that wait briefly, and a way back."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.operations.declare import Running
from handyrep.operations.mastership import manual_failover
from tests.engine.world import Imagined

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
ACTING = (
    "connection_failover.bring",
    "connection_failover.hasten",
    "connection_failover.pause",
    "connection_failover.run",
    "connection_failover.unblock",
    "fence.",
    "promotion.run",
)
BEFOREHAND = ("fence.hasten m1", "connection_failover.hasten r1")


def desk(world: Imagined) -> Running:
    """Where a person asks for it."""
    return cast("Running", type("On", (), {"engine": world.engine, "check": world.check}))


async def proxied() -> Imagined:
    """All is well, and clients come through proxies."""
    world = Imagined(connection_failover_method="multi_pgbouncer")
    world.plugins.instead["inspect.hindrances"] = lambda _: success(hindrances=[])
    world.plugins.instead["replication_status.run"] = lambda _: success(replicating=True, lag=0)
    await world.look()
    world.plugins.calls.clear()
    return world


def done(world: Imagined) -> list[str]:
    """What was done, in its order."""
    return [call for call in world.plugins.calls if call.startswith(ACTING) and ".test" not in call]


async def test_clients_wait_only_while_there_is_no_master() -> None:
    world = await proxied()
    result = await manual_failover(desk(world), "r1")
    assert result.outcome is SUCCESS, result.details
    assert done(world)[:7] == [
        *BEFOREHAND,
        "connection_failover.pause",
        "fence.run m1",
        "promotion.run r1",
        "connection_failover.bring r1",
        "connection_failover.run r1",
    ]


@pytest.mark.parametrize("end", [fail, uncertain])
async def test_work_that_does_not_end_in_time_leaves_all_as_it_was(end: Any) -> None:
    world = await proxied()
    world.plugins.instead["connection_failover.pause"] = lambda _: end("p1: work did not end")
    result = await manual_failover(desk(world), "r1")
    assert (result.outcome, "work did not end" in result.details) == (FAIL, True)
    assert done(world) == [*BEFOREHAND, "connection_failover.pause", "connection_failover.unblock"]
    assert (world.master, world.engine.cluster.proxies_behind) == ("m1", False)


async def test_a_master_that_cannot_be_stopped_is_let_go_on() -> None:
    world = await proxied()
    world.plugins.instead["fence.run"] = lambda _: fail("it does not end", untouched=True)
    result = await manual_failover(desk(world), "r1")
    assert (result.outcome, done(world)[-1], world.master) == (FAIL, "connection_failover.unblock", "m1")


def against(world: Imagined, what: str) -> str:
    """Let one thing speak against it; the words by which it is told."""
    instead = world.plugins.instead
    if what == "candidate not streaming":
        instead["replication_status.run"] = lambda _: success(replicating=False, lag=0)
        return "does not receive from m1"
    if what == "lag":
        instead["replication_status.run"] = lambda _: success(replicating=True, lag=10**9)
        return "behind (lag_limit"
    if what == "a plugin that fails":
        instead["connection_failover.test"] = lambda _: fail("no template")
        return "multi_pgbouncer: no template"
    if what == "the promotion":
        instead["promotion.test"] = lambda _: fail("no right to")
        return "r1 could not be promoted: no right to"
    if what == "no fence":
        instead["fence.test"] = lambda _: fail("no sudo")
        return "no fence could prove that m1 has stopped (fence_stop: no sudo)"
    instead["inspect.hindrances"] = lambda _: success(hindrances=["a transaction has run for 95 s"])
    return "a transaction has run for 95 s"


THINGS = ["candidate not streaming", "lag", "a plugin that fails", "the promotion", "no fence", "a long transaction"]


@pytest.mark.parametrize("what", THINGS)
async def test_what_speaks_against_it_is_said_before_anything_is_done(what: str) -> None:
    world = await proxied()
    words = against(world, what)
    result = await manual_failover(desk(world), "r1")
    assert (result.outcome, words in result.details) == (FAIL, True), result.details
    assert done(world) == []


async def test_all_of_it_is_said_at_once() -> None:
    world = await proxied()
    words = [
        against(world, what)
        for what in ("candidate not streaming", "a plugin that fails", "no fence", "a long transaction")
    ]
    result = await manual_failover(desk(world), "r1")
    assert [word for word in words if word not in result.details] == []


async def test_a_person_may_go_on_in_spite_of_what_is_under_way_but_not_of_more() -> None:
    world = await proxied()
    against(world, "a long transaction")
    result = await manual_failover(desk(world), "r1", anyway=True)
    assert (result.outcome, result.extra["warnings"]) == (SUCCESS, ["a transaction has run for 95 s"])
    world = await proxied()
    against(world, "no fence")
    assert (await manual_failover(desk(world), "r1", anyway=True)).outcome is FAIL


async def test_what_cannot_be_asked_speaks_against_it() -> None:
    world = await proxied()
    world.plugins.instead["inspect.hindrances"] = lambda _: fail("no right to look")
    result = await manual_failover(desk(world), "r1")
    assert "what is under way on m1 is not known: no right to look" in result.details


async def test_a_dry_run_tells_the_plan_and_does_nothing() -> None:
    world = await proxied()
    result = await manual_failover(desk(world), "r1", dry_run=True)
    assert (result.outcome, result.extra["candidate"], done(world)) == (SUCCESS, "r1", [])
    assert result.extra["plan"][:2] == [
        "check that m1 is well and that a replica can take over",
        "look at the replicas again and choose the new master",
    ]
    assert "order r1 to become the master" in result.extra["plan"]
    assert world.engine.journal.runs() == []


async def test_a_dry_run_names_the_fence_that_could_stop_it() -> None:
    world = Imagined(fence_methods=("fence_stop", "fence_command"))
    world.plugins.instead["replication_status.run"] = lambda _: success(replicating=True, lag=0)
    await world.look()
    told = iter((fail("no sudo"), success()))
    world.plugins.instead["fence.test"] = lambda _: next(told)
    result = await manual_failover(desk(world), "r1", dry_run=True)
    assert "prove with fence_command that m1 can acknowledge no commit any more" in result.extra["plan"]


async def test_a_dry_run_tells_all_that_speaks_against_it() -> None:
    world = await proxied()
    words = [against(world, what) for what in ("no fence", "a long transaction")]
    result = await manual_failover(desk(world), "r1", dry_run=True)
    assert (result.outcome, len(result.extra["refusals"])) == (FAIL, 2)
    assert [word for word in words if word not in result.details] == []


async def test_a_dry_run_with_a_dead_master_leads_to_what_if() -> None:
    world = await proxied()
    world.boxes["m1"].up = False
    with pytest.raises(Exception, match="this would be a failover") as refused:
        await manual_failover(desk(world), "r1", dry_run=True)
    assert "what-if" in str(getattr(refused.value, "remedy", ""))


async def test_proxies_that_cannot_pause_are_pointed_as_before() -> None:
    world = await proxied()
    world.plugins.registry.lacking.add("pause")
    assert (await manual_failover(desk(world), "r1")).outcome is SUCCESS
    assert [call for call in done(world) if "pause" in call] == []


async def test_killed_while_clients_wait_they_are_let_on_afterwards() -> None:
    world = await proxied()

    def killed(given: Mapping[str, Any]) -> Result:
        return world.killed(given)

    world.plugins.instead["fence.run"] = killed
    with pytest.raises(KeyboardInterrupt):
        await manual_failover(desk(world), "r1")
    world.plugins.instead["fence.run"] = lambda _: fail("not now", untouched=True)
    world.restarted()
    await world.look(2)
    assert "connection_failover.unblock" in done(world)
    assert world.master == "m1"
