"""While all is well the proxies' plugin prepares for the replica that would take over: once a minute, and never in anybody's way."""

import asyncio
from typing import Any

from handyrep.engine.preparing import _AGAIN_S, _EVERY_S
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail
from handyrep.model.server import Role
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind
from tests.engine.test_proxies import WithProxies


class Prepared(WithProxies):
    """`prepared` are the masters to be, and what the plugin took the cluster to be then."""

    def __init__(self, **failover: Any) -> None:
        super().__init__(**failover)
        self.prepared: list[tuple[str, Cluster]] = []
        self.let = asyncio.Event()
        self.let.set()
        call = self.plugins.call

        async def noted(kind: Kind, name: str, method: str = "run", *rest: Any, **how: Any) -> Result:
            if (kind, method) == (Kind.CONNECTION_FAILOVER, "hasten"):
                self.prepared.append((rest[0]["newmaster"], how["cluster"]))
                await self.let.wait()
            return await call(kind, name, method, *rest, **how)

        self.plugins.call = noted  # type: ignore[method-assign]

    async def looked(self) -> None:
        await self.look()
        await self.engine.giving_way.ended()


async def test_the_heir_is_prepared_for_with_the_cluster_as_it_would_be_taken_over() -> None:
    world = Prepared()
    await world.looked()
    ((heir, cluster),) = world.prepared
    members = cluster.members
    assert (heir, cluster.epoch) == ("r1", world.engine.cluster.epoch + 1)
    assert (members["r1"].server.role, members["m1"].server.role) == (Role.MASTER, Role.REPLICA)
    assert members["m1"].status.health is Health.DOWN
    assert world.master == "m1"
    assert world.engine.cluster.members["m1"].status.health is not Health.DOWN


async def test_once_a_minute() -> None:
    world = Prepared()
    for _ in range(3):
        await world.looked()
    assert len(world.prepared) == 1
    world.clock.now_s += _EVERY_S
    await world.looked()
    assert len(world.prepared) == 2


async def test_what_is_prepared_is_what_the_failover_asks_for() -> None:
    """Else it would be in vain: the plugin keeps what was tried by what stands in it."""
    world = Prepared()
    await world.looked()
    world.boxes["m1"].up = False
    await world.look()
    (_, calm), (_, fenced), *_ = world.prepared
    assert [(m.name, m.server.role, m.status.health) for m in calm.members.values()] == [
        (m.name, m.server.role, m.status.health) for m in fenced.members.values()
    ]
    assert calm.epoch == fenced.epoch


async def test_where_nobody_could_take_over_nothing_is_prepared_until_somebody_can() -> None:
    world = Prepared()
    for name in ("r1", "r2"):
        world.boxes[name].up = False
    await world.looked()
    assert world.prepared == []
    world.boxes["r2"].up = True
    world.clock.now_s += _AGAIN_S
    await world.looked()
    assert [heir for heir, _ in world.prepared] == ["r2"]


async def test_one_that_may_not_act_prepares_nothing() -> None:
    world = Prepared()
    world.plugins.instead["master_check.run"] = lambda _: fail("another one is the master")
    await world.looked()
    assert world.prepared == []


async def test_a_failover_does_not_wait_for_what_is_being_prepared() -> None:
    world = Prepared()
    world.let.clear()
    await world.look()
    await asyncio.sleep(0)
    assert not world.engine.giving_way.idle
    world.boxes["m1"].up = False
    world.let = asyncio.Event()
    world.let.set()
    async with asyncio.timeout(10):
        await world.look()
    assert world.master == "r1"
    assert world.engine.giving_way.idle


async def test_what_was_called_off_is_done_soon() -> None:
    world = Prepared()
    world.let.clear()
    await world.look()
    await asyncio.sleep(0)
    await world.engine.giving_way.close()
    world.let.set()
    world.clock.now_s += _AGAIN_S
    await world.looked()
    assert len(world.prepared) == 2


async def test_an_error_of_ours_is_told_and_ends_nothing() -> None:
    world = Prepared()

    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    world.check.preparing._under = broken  # type: ignore[assignment,method-assign] # a bug of ours
    await world.looked()
    assert world.events.of("proxies") == ["nothing was prepared at the proxies: boom"]
    assert world.engine.giving_way.idle
