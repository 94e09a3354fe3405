"""The looks of the periodic check: a server that hangs costs the others nothing, and what it says late is not lost."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import cast

import pytest

from handyrep.engine.monitor import Monitor
from handyrep.engine.observe import Observer, Trying
from handyrep.engine.rounds import Rounds
from handyrep.engine.state import State
from handyrep.model.answer import Answer
from handyrep.model.cluster import Member
from handyrep.model.observation import Picture, Seen
from handyrep.model.server import Role
from tests.engine.world import Events, Imagined, MemoryStore, VirtualTime
from tests.factories import make_cluster

SOON_S, NEVER_S = 0.02, 30.0


class Servers:
    """Stands where Observer stands. `slow`: these answer when they are let; every look is written down."""

    def __init__(self, clock: VirtualTime) -> None:
        self.asked: list[tuple[str, str, Trying]] = []
        self.slow: dict[str, asyncio.Event] = {}
        self.down: set[str] = set()
        self._clock = clock

    async def lightly(self, member: Member, trying: Trying) -> Seen:
        return await self._seen("lightly", member, trying)

    async def briefly(self, member: Member, trying: Trying) -> Seen:
        return await self._seen("briefly", member, trying)

    async def fully(self, member: Member, trying: Trying) -> Seen:
        return await self._seen("fully", member, trying)

    async def _seen(self, how: str, member: Member, trying: Trying) -> Seen:
        self.asked.append((how, member.name, trying))
        if member.name in self.slow:
            await self.slow[member.name].wait()
            self._clock.now_s += 5
        return Seen(up=Answer.NO if member.name in self.down else Answer.YES, notes=(how,))


class Ground:
    def __init__(self, patience_s: float) -> None:
        clock = VirtualTime()
        self.servers = Servers(clock)
        self.state = State(make_cluster(), MemoryStore(), Events(), clock)
        self.rounds = Rounds(cast("Observer", self.servers), self.state, clock, patience_s)

    async def look(self, *, verified: bool = False) -> Picture:
        async with asyncio.timeout(NEVER_S / 2):
            return await self.rounds.look(verified=verified)


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground(SOON_S)
    yield made
    await made.rounds.close()


async def test_every_server_is_in_it_and_only_the_master_is_tried_once(ground: Ground) -> None:
    picture = await ground.look(verified=True)
    assert (set(picture.seen), picture.verified) == ({"m1", "r1", "r2"}, True)
    assert ground.servers.asked == [
        ("fully", "m1", Trying.UNHURRIED),
        ("fully", "r1", Trying.AGAIN),
        ("fully", "r2", Trying.AGAIN),
    ]


async def test_in_a_light_round_only_the_master_is_polled_in_any_case(ground: Ground) -> None:
    await ground.look()
    assert [(how, name) for how, name, _ in ground.servers.asked] == [("lightly", "m1"), ("briefly", "r1"), ("briefly", "r2")]  # fmt: skip


async def test_a_server_that_hangs_is_waited_for_once() -> None:
    """With so much patience the second round would never end, if it waited."""
    ground = Ground(SOON_S)
    ground.servers.slow["r2"] = asyncio.Event()
    assert set((await ground.look()).seen) == {"m1", "r1"}
    ground.rounds._patience_s = NEVER_S
    for _ in range(3):
        assert set((await ground.look()).seen) == {"m1", "r1"}
    assert [name for _, name, _ in ground.servers.asked].count("r2") == 1
    await ground.rounds.close()


async def test_what_it_says_late_is_told_with_the_next_round_and_it_is_not_waited_for_yet(ground: Ground) -> None:
    ground.servers.slow["r2"] = asyncio.Event()
    await ground.look(verified=True)
    ground.servers.slow["r2"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ground.servers.slow["r2"] = asyncio.Event()
    ground.rounds._patience_s = NEVER_S
    await ground.look()
    (late,) = ground.rounds.late
    assert (late.seen, late.verified) == ({"r2": Seen(up=Answer.YES, notes=("fully",))}, True)
    await ground.look()
    assert ground.rounds.late == ()


async def test_one_that_is_quick_again_is_waited_for_again(ground: Ground) -> None:
    ground.servers.slow["r2"] = asyncio.Event()
    await ground.look()
    ground.servers.slow.pop("r2").set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await ground.look()
    await asyncio.sleep(0)
    assert "r2" in (await ground.look()).seen


async def test_the_master_is_always_waited_for(ground: Ground) -> None:
    ground.servers.slow["m1"] = asyncio.Event()
    looking = asyncio.create_task(ground.look())
    await asyncio.sleep(SOON_S * 5)
    assert not looking.done()
    ground.servers.slow["m1"].set()
    assert "m1" in (await looking).seen


async def test_when_the_master_stops_answering_the_others_are_left_alone_once(ground: Ground) -> None:
    """The look from everywhere comes next. While it stays away the others are looked at, and what they say is told."""
    ground.servers.down = {"m1"}
    assert set((await ground.look()).seen) == {"m1"}
    assert [name for _, name, _ in ground.servers.asked] == ["m1"]
    await ground.look()
    await asyncio.sleep(0)
    await ground.look()
    assert {name for picture in ground.rounds.late for name in picture.seen} == {"r1", "r2"}
    ground.servers.down = set()
    assert set((await ground.look()).seen) == {"m1", "r1", "r2"}
    ground.servers.down = {"m1"}
    ground.servers.asked.clear()
    await ground.look()
    assert [name for _, name, _ in ground.servers.asked] == ["m1"]


async def test_while_the_master_does_not_answer_nobody_else_is_waited_for_nor_taken_for_slow(ground: Ground) -> None:
    """A proxy in front of a dead master takes its whole time to say so."""
    ground.rounds._patience_s = NEVER_S
    ground.servers.slow["r2"] = asyncio.Event()
    ground.servers.down = {"m1"}
    await ground.look()
    assert "r2" not in (await ground.look()).seen
    ground.servers.down = set()
    ground.servers.slow.pop("r2").set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "r2" in (await ground.look()).seen


async def test_whoever_is_in_a_hurry_waits_for_nobody_but_the_master_and_takes_nobody_for_slow(ground: Ground) -> None:
    """A proxy in front of a master that has just died takes its whole time to say so; the loss of its connection is heard at once."""
    ground.rounds._patience_s = NEVER_S
    ground.servers.slow = {"m1": asyncio.Event(), "r2": asyncio.Event()}
    looking = asyncio.create_task(ground.look())
    await asyncio.sleep(SOON_S)
    ground.rounds.hurry()
    await asyncio.sleep(SOON_S)
    assert not looking.done()
    ground.servers.slow.pop("m1").set()
    assert "r2" not in (await looking).seen
    ground.servers.slow.pop("r2").set()
    await asyncio.sleep(SOON_S)
    assert "r2" in (await ground.look()).seen


async def test_the_hurry_is_over_with_the_round(ground: Ground) -> None:
    ground.rounds._patience_s = NEVER_S
    ground.rounds.hurry()
    ground.servers.slow["r2"] = asyncio.Event()
    looking = asyncio.create_task(ground.look())
    await asyncio.sleep(SOON_S)
    assert not looking.done()
    ground.servers.slow.pop("r2").set()
    assert "r2" in (await looking).seen


async def test_an_answer_that_was_asked_for_before_an_order_says_so(ground: Ground) -> None:
    ground.servers.slow["r2"] = asyncio.Event()
    await ground.look()
    ground.state.orders += 1
    ground.servers.slow["r2"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await ground.look()).orders == ground.state.orders
    assert ground.rounds.late[0].orders == ground.state.orders - 1


async def test_nothing_goes_on_once_it_is_closed() -> None:
    ground = Ground(SOON_S)
    ground.servers.slow["r2"] = asyncio.Event()
    await ground.look()
    await ground.rounds.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_nothing_goes_on_once_it_is_closed_in_the_middle_of_a_round() -> None:
    ground = Ground(NEVER_S)
    ground.servers.slow["r2"] = asyncio.Event()
    looking = asyncio.create_task(ground.look())
    await asyncio.sleep(SOON_S)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await ground.rounds.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_no_picture_is_without_the_master_although_a_look_at_it_goes_on_since_it_was_a_replica(
    ground: Ground,
) -> None:
    """As after a failover to a replica that had been slow: no answer of it would make it suspected."""
    ground.servers.slow["r2"] = asyncio.Event()
    await ground.look()
    for name, role in (("m1", Role.REPLICA), ("r2", Role.MASTER)):
        member = ground.state.cluster.members[name]
        changed = dataclasses.replace(member, server=dataclasses.replace(member.server, role=role))
        ground.state.update(ground.state.cluster.with_member(changed))
    looking = asyncio.create_task(ground.look())
    await asyncio.sleep(SOON_S * 3)
    assert not looking.done()
    ground.servers.slow.pop("r2").set()
    assert "r2" in (await looking).seen
    assert ("lightly", "r2", Trying.UNHURRIED) in ground.servers.asked


async def test_a_lost_connection_hurries_the_round_that_is_under_way() -> None:
    world, told = Imagined(), []
    monitor = Monitor(world.engine, world.check)
    world.check.rounds.hurry = lambda: told.append("hurry")  # type: ignore[method-assign] # told, not done
    monitor.look_now()
    assert told == ["hurry"]
