"""The looks of the periodic check: the master, then all others at once; one that is slow to answer keeps nobody waiting for the others.

Must never guess what such a server would have said: it is in no picture until it has answered, or its own deadline is over.
"""

import asyncio
from types import MappingProxyType

from handyrep.engine.observe import Observer, Trying
from handyrep.engine.state import State
from handyrep.model.answer import Answer
from handyrep.model.cluster import Member
from handyrep.model.observation import Picture
from handyrep.model.server import Role
from handyrep.ports import Clock


class Rounds:
    """One round after the other.

    `patience_s`: so long is a replica or a proxy waited for, unless its last look took longer. The master is always waited for. When it
    stops answering the others are left alone once, and then looked at without waiting: the look from everywhere comes next, and what
    else is asked of hosts just then would only take their time.
    `late`: what came too late for the round that it belonged to, a picture of each such server; until the next round.
    """

    def __init__(self, observer: Observer, state: State, clock: Clock, patience_s: float) -> None:
        self._observer = observer
        self._state = state
        self._clock = clock
        self._patience_s = patience_s
        self._under_way: dict[str, asyncio.Task[Picture]] = {}
        self._slow: set[str] = set()
        self._missed = False
        self._hurried = asyncio.Event()
        self.late: tuple[Picture, ...] = ()

    async def look(self, *, verified: bool) -> Picture:
        """A light look, or a full one, at every server that is not being looked at still."""
        self._hurried.clear()
        await self._begun_before_it_was_master()
        self.late = self._ended()
        members = [member for member in self._state.cluster.enabled if member.name not in self._under_way]
        masters = [member for member in members if member.server.role == Role.MASTER]
        orders = self._state.orders
        self._begin(masters, verified=verified)
        others = [member for member in members if member.server.role != Role.MASTER]
        answers = await self._all_answer(masters)
        if answers or self._missed:
            self._begin(others, verified=verified)
        if answers:
            await self._waited_for(others)
        self._missed = not answers
        seen = {name: one for picture in self._ended() for name, one in picture.seen.items()}
        return Picture(seen=MappingProxyType(seen), verified=verified, orders=orders)

    def hurry(self) -> None:
        """Wait for no replica and no proxy any more in the round that is under way: the next one is wanted at once."""
        self._hurried.set()

    async def close(self) -> None:
        """Give up what is under way."""
        for look in self._under_way.values():
            look.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _begun_before_it_was_master(self) -> None:
        """No picture is without the master: a look at it that goes on since it was a replica is waited for, and then it is looked at."""
        looks = [self._under_way[m.name] for m in self._state.cluster.masters if m.name in self._under_way]
        if looks:
            await asyncio.wait(looks)

    async def _alone(self, member: Member, *, verified: bool) -> Picture:
        """The master is tried once: whoever suspects it then sees to the retries."""
        began, orders = self._clock.monotonic(), self._state.orders
        is_master = member.server.role == Role.MASTER
        trying = Trying.UNHURRIED if is_master else Trying.AGAIN
        if verified:
            seen = await self._observer.fully(member, trying)
        else:
            seen = await (self._observer.lightly if is_master else self._observer.briefly)(member, trying)
        if self._clock.monotonic() - began <= self._patience_s:
            self._slow.discard(member.name)
        return Picture(seen=MappingProxyType({member.name: seen}), verified=verified, orders=orders)

    def _begin(self, members: list[Member], *, verified: bool) -> None:
        for member in members:
            self._under_way[member.name] = asyncio.create_task(self._alone(member, verified=verified))

    async def _all_answer(self, members: list[Member]) -> bool:
        looks = [self._under_way[member.name] for member in members]
        if looks:
            await asyncio.wait(looks)
        return all(_answers(look.result()) for look in looks)

    async def _waited_for(self, others: list[Member]) -> None:
        prompt = [self._under_way[member.name] for member in others if member.name not in self._slow]
        if prompt:
            waits = [
                asyncio.create_task(asyncio.wait(prompt, timeout=self._patience_s)),
                asyncio.create_task(self._hurried.wait()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if not self._hurried.is_set():
            self._slow |= {member.name for member in others if not self._under_way[member.name].done()}

    def _ended(self) -> tuple[Picture, ...]:
        ended = [name for name, look in self._under_way.items() if look.done()]
        return tuple(self._under_way.pop(name).result() for name in ended)


def _answers(picture: Picture) -> bool:
    return all(seen.up is Answer.YES for seen in picture.seen.values())
