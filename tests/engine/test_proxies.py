"""After a new master is recorded, HandyRep re-points the proxies until every one was seen to lead to it."""

import asyncio
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.errors import StateError
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.plugin_api.contract import Kind
from tests.engine.world import Box, Imagined, hanging
from tests.factories import make_cluster, make_server

BACKOFF = [2, 4, 8, 16, 32, 60, 60]


class WithProxies(Imagined):
    """Two pgbouncers stand before the cluster; `away` of them do not answer."""

    def __init__(self, **failover: Any) -> None:
        super().__init__(connection_failover_method="multi_pgbouncer", **failover)
        self.boxes |= {"p1": Box(), "p2": Box()}
        names = ("p1", "p2")
        servers = (
            *(m.server for m in self.engine.cluster.members.values()),
            *(make_server(n, "pgbouncer") for n in names),
        )
        self.engine.state.update(make_cluster(*servers, system_identifier="1"))
        self.plugins.instead["connection_failover.run"] = self._repointed
        self.plugins.instead["connection_failover.poll"] = self._polled

    def _repointed(self, _: Any) -> Result:
        away = [name for name in ("p1", "p2") if not self.boxes[name].up]
        return uncertain(f"{', '.join(away)}: no answer") if away else success()

    def _polled(self, given: Any) -> Result:
        return success() if self.boxes[str(given["bouncerserver"])].up else fail("silent")

    async def cycle(self) -> None:
        await self.check.run(verify=False)
        await self.check.proxies.beside.ended()

    async def failed_over(self) -> None:
        await self.look()
        self.boxes["m1"].up = False
        await self.look()
        assert self.master == "r1"

    @property
    def times(self) -> int:
        return self.plugins.count("connection_failover.run")


async def test_nothing_is_repointed_while_nothing_is_behind() -> None:
    world = WithProxies()
    for _ in range(3):
        await world.cycle()
    assert world.times == 0
    await world.failed_over()
    assert not world.engine.cluster.proxies_behind
    await world.cycle()
    assert world.times == 1


async def test_a_proxy_that_was_away_is_led_to_the_new_master_when_it_comes_back() -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    assert world.engine.cluster.proxies_behind
    await world.cycle()
    assert "p2: no answer" in world.check.proxies.told
    world.boxes["p2"].up = True
    before = world.times
    await world.cycle()
    assert world.times == before + 1
    await world.cycle()
    assert (world.engine.cluster.proxies_behind, world.check.proxies.told) == (False, "")
    assert world.events.of("proxies")[-1] == "every proxy leads to r1"


@dataclasses.dataclass
class Looks:
    """What the proxies are found to do, and how often somebody looked."""

    behind: dict[str, str]
    times: int = 0

    def __call__(self, _: Any) -> Result:
        self.times += 1
        return fail("b1: app_ro should not", behind=self.behind) if self.behind else success()


def looking(world: WithProxies) -> Looks:
    looks = Looks({})
    world.plugins.instead["connection_failover.leads"] = looks
    return looks


async def test_a_proxy_that_comes_back_with_an_old_file_is_led_right_though_nothing_was_owed() -> None:
    world = WithProxies()
    looks = looking(world)
    for _ in range(3):
        await world.cycle()
    assert (looks.times, world.times) == (1, 0)
    world.boxes["p2"].up = False
    await world.cycle()
    world.boxes["p2"].up, looks.behind = True, {"p2": "app should not"}
    await world.cycle()
    assert (looks.times, world.engine.cluster.proxies_behind) == (2, True)
    await world.cycle()
    assert (world.times, world.engine.cluster.proxies_behind) == (1, False)
    assert world.events.of("proxies")[-2:] == [
        "proxies do not lead where they should: b1: app_ro should not",
        "every proxy leads to m1",
    ]


async def test_it_is_looked_again_when_a_replica_changes_and_not_all_the_time() -> None:
    world = WithProxies()
    looks = looking(world)
    await world.cycle()
    for up in (False, True, False, True, False):
        world.boxes["r2"].up = up
        await world.cycle()
        assert looks.times == 1
    world.clock.now_s += 10
    await world.cycle()
    await world.cycle()
    assert looks.times == 2


async def test_what_could_not_be_seen_is_looked_at_again() -> None:
    world = WithProxies()
    world.plugins.instead["connection_failover.leads"] = lambda _: fail("nobody answers")
    await world.cycle()
    looks = looking(world)
    world.clock.now_s += 10
    await world.cycle()
    assert (looks.times, world.engine.cluster.proxies_behind) == (1, False)


@pytest.mark.parametrize("why", ["passive", "lacking"])
async def test_nobody_looks_who_may_not_or_cannot(why: str) -> None:
    world = WithProxies()
    looks = looking(world)
    if why == "passive":
        world.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    else:
        world.plugins.registry.lacking = {"leads"}
    await world.cycle()
    assert looks.times == 0


async def test_a_look_that_breaks_is_told_of() -> None:
    world = WithProxies()

    def broken(_: Any) -> Result:
        raise StateError("no room")

    world.plugins.instead["connection_failover.leads"] = broken
    await world.cycle()
    assert world.events.of("proxies") == ["it could not be seen where the proxies lead: no room"]


async def test_it_is_remembered_over_a_restart_of_handyrep() -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    assert (world.store.content or {})["proxies_behind"] is True
    world.boxes["p2"].up = True
    world.restarted()
    await world.cycle()
    assert not world.engine.cluster.proxies_behind


async def test_one_that_stays_away_is_tried_with_growing_pauses_and_told_of_once() -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    tried, last = [], world.times
    for _ in range(200):
        await world.cycle()
        if world.times > last:
            tried.append(world.clock.now_s)
        last = world.times
        world.clock.now_s += 1
    pauses = [round(b - a) for a, b in itertools.pairwise(tried)]
    assert pauses == BACKOFF[: len(pauses)]
    assert len(pauses) >= len(BACKOFF) - 2
    assert len(world.events.of("proxies")) == 1


@pytest.mark.parametrize("still", ["frozen", "maintenance", "passive", "busy"])
async def test_nothing_is_done_while_handyrep_must_stand_still(still: str) -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    before = world.times
    if still == "frozen":
        world.freeze("a person decides")
    if still == "maintenance":
        world.maintenance(5)
    if still == "passive":
        world.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    if still == "busy":
        async with world.engine.changing("a long operation"):
            await world.cycle()
        assert "a long operation is under way" in world.check.proxies.told
    else:
        await world.cycle()
    assert world.times == before


async def test_clients_are_not_led_to_a_master_that_does_not_answer_any_more() -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    before = world.times
    await world.check.run(verify=False)
    world.boxes["r1"].up = False
    await world.check.proxies.beside.ended()
    assert world.times == before


async def test_holding_clients_back_ends_with_handyrep() -> None:
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    hanging(world, blocks)
    failing_over = asyncio.create_task(world.look())
    for _ in range(300):
        await asyncio.sleep(0)
    assert not world.engine.holding.idle
    failing_over.cancel()
    await world.check.close()
    assert world.engine.holding.idle


async def test_what_is_under_way_ends_with_handyrep() -> None:
    world = WithProxies()
    world.boxes["p2"].up = False
    await world.failed_over()
    await world.check.run(verify=False)
    assert not world.check.proxies.beside.idle
    await world.check.close()
    assert world.check.proxies.beside.idle


async def test_clients_that_are_held_back_for_two_masters_count_as_behind() -> None:
    world = WithProxies()
    await world.look()
    world.boxes["r2"].master, world.boxes["r2"].timeline = True, 1
    await world.look()
    assert world.engine.cluster.frozen
    assert world.engine.cluster.proxies_behind


def order_of(world: WithProxies, *wanted: str) -> list[str]:
    return [call.partition(" ")[0] for call in world.plugins.calls if call.startswith(wanted)]


async def test_clients_wait_from_before_the_fence_until_there_is_a_new_master() -> None:
    world = WithProxies()
    await world.failed_over()
    steps = ("connection_failover.block", "fence.run", "promotion.run", "connection_failover.run")
    assert order_of(world, *steps) == list(steps)


async def test_nobody_waits_for_a_proxy_that_does_not_answer_the_hold() -> None:
    world = WithProxies()
    world.plugins.instead["connection_failover.block"] = lambda _: uncertain("p2: no answer")
    await world.failed_over()
    assert not world.engine.cluster.proxies_behind
    assert world.events.of("hold") == ["not all clients are held back: p2: no answer"]


async def test_a_plugin_that_cannot_hold_clients_back_is_not_asked_to() -> None:
    world = WithProxies()
    world.plugins.registry.lacking = {"block"}
    await world.failed_over()
    assert world.plugins.count("connection_failover.block") == 0


async def test_clients_are_let_on_when_the_failover_is_given_up() -> None:
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = lambda _: fail("no proof")
    await world.look()
    assert order_of(world, "connection_failover.b", "connection_failover.u") == [
        "connection_failover.block",
        "connection_failover.unblock",
    ]
    assert not world.engine.cluster.proxies_behind


async def test_clients_that_could_not_be_let_on_are_once_the_master_is_well() -> None:
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = lambda _: fail("no proof", untouched=True)
    world.plugins.instead["connection_failover.unblock"] = lambda _: uncertain("p2: no answer")
    await world.look()
    assert world.engine.cluster.proxies_behind
    world.boxes["m1"].up = True
    await world.cycle()
    assert (world.times, world.engine.cluster.proxies_behind) == (1, False)


async def test_handyrep_is_killed_while_it_holds_clients_back_and_goes_on() -> None:
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    world.plugins.instead["fence.run"] = world.killed
    let = hanging(world, blocks)
    with pytest.raises(KeyboardInterrupt):
        await world.look()
    await world.check.close()
    del world.plugins.instead["fence.run"]
    let.set()
    world.restarted()
    await world.look(2)
    assert world.master == "r1"


def blocks(kind: Kind, name: str, method: str) -> bool:
    return (kind, method) == (Kind.CONNECTION_FAILOVER, "block")


@pytest.mark.parametrize(
    ("chosen", "then"),
    [(("r1", "r2"), "connection_failover.run"), ((), "connection_failover.unblock")],
    ids=["another way", "on as before"],
)
async def test_nobody_is_led_on_while_clients_are_still_being_held_back(chosen: tuple[str, ...], then: str) -> None:
    """The steps before that go on meanwhile: none of them needs it."""
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    let = hanging(world, blocks)

    def fenced(_: Mapping[str, Any]) -> Result:
        world.plugins.order = chosen
        return success("", proof="stopped", ended=True)

    world.plugins.instead["fence.run"] = fenced
    failing_over = asyncio.create_task(world.look())
    for _ in range(300):
        await asyncio.sleep(0)
    assert world.plugins.count("fence.run") == 1
    assert world.plugins.count("promotion.run") == (1 if chosen else 0)
    assert (world.plugins.count(then), failing_over.done()) == (0, False)
    let.set()
    await asyncio.wait_for(failing_over, 5)
    assert world.plugins.count(then) == 1


class Hastening(WithProxies):
    """`as_it_was` are the masters that the plugin took the cluster to have, of each call beforehand and of each run."""

    def __init__(self) -> None:
        super().__init__()
        self.as_it_was: list[tuple[str, str]] = []
        call = self.plugins.call

        async def noted(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
            if kind is Kind.CONNECTION_FAILOVER and method in ("hasten", "bring", "run"):
                self.as_it_was.append((method, how["cluster"].master.name))
                if method != "run":
                    await self.hastened()
            return await call(kind, name, method, *rest, **how)

        self.plugins.call = noted  # type: ignore[method-assign]

    async def hastened(self) -> None:
        """What a call beforehand does."""


CALLS = [("hasten", "r1"), ("hasten", "r1"), ("bring", "r1"), ("run", "r1")]


async def test_proxies_are_hastened_with_the_cluster_as_it_will_be() -> None:
    """What they try is then the very file that they get."""
    world = Hastening()
    await world.failed_over()
    assert world.as_it_was == CALLS, "in the calm, beside the fence, and the promote"


@pytest.mark.parametrize("ends", [fail, uncertain])
async def test_to_the_proxies_nothing_is_brought_before_the_promote_is_known_to_have_been_ordered(ends: Any) -> None:
    """A promote that was not sent may be another HandyRep's to send, to another replica."""
    world = Hastening()
    world.plugins.instead["promotion.run"] = lambda _: ends("the line is dead")
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert world.plugins.count("promotion.run") == 1
    assert ("bring", "r1") not in world.as_it_was


async def test_to_the_proxies_nothing_is_brought_while_clients_are_still_being_held_back() -> None:
    """What holds them back is written to the same file."""
    world = WithProxies()
    await world.look()
    world.boxes["m1"].up = False
    let = hanging(world, blocks)
    failing_over = asyncio.create_task(world.look())
    for _ in range(300):
        await asyncio.sleep(0)
    assert (world.plugins.count("promotion.run"), world.plugins.count("connection_failover.bring")) == (1, 0)
    let.set()
    await asyncio.wait_for(failing_over, 5)
    assert world.plugins.count("connection_failover.run") == 1


async def test_a_proxy_that_hangs_beforehand_keeps_the_failover_waiting_for_a_moment_only() -> None:
    class Hanging(Hastening):
        async def hastened(self) -> None:
            await asyncio.Event().wait()

    world = Hanging()
    async with asyncio.timeout(10):
        await world.failed_over()
    assert world.as_it_was == CALLS, "in the calm, beside the fence, and the promote"
    assert not world.engine.cluster.proxies_behind


@pytest.mark.parametrize(
    ("fences", "blocked"), [(("fence_proxy", "fence_stop"), 0), (("fence_stop", "fence_proxy"), 1)]
)
async def test_nobody_holds_clients_back_before_a_fence_that_does_so_itself(
    fences: tuple[str, ...], blocked: int
) -> None:
    world = WithProxies(fence_methods=fences)
    behind: list[bool] = []

    def fenced(_: Any) -> Result:
        behind.append(world.engine.cluster.proxies_behind)
        return success(proof="no client gets there", last_lsn="", ended=True)

    world.plugins.instead["fence.test"] = lambda _: success()
    world.plugins.instead["fence.run"] = fenced
    await world.failed_over()
    assert world.plugins.count("connection_failover.block") == blocked
    assert behind == [True], "that they may be held back is written down before it is done"


async def test_what_such_a_fence_held_back_is_let_on_when_the_failover_is_given_up() -> None:
    world = WithProxies(fence_methods=("fence_proxy",))
    world.plugins.instead["fence.test"] = lambda _: success()
    world.plugins.instead["fence.run"] = lambda _: success(proof="no client gets there", last_lsn="")
    world.plugins.instead["follow.halt"] = lambda _: fail("allow_alter_system is off")
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert (world.master, world.plugins.count("promotion")) == ("m1", 0)
    assert world.plugins.count("fence.release") == 1
