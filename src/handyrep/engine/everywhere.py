"""The look from everywhere, which comes before every verdict about a master that does not answer: who is asked what, and who need not be.

Must never make up what a host would have said: one that was not asked sees neither that the master lives nor that it does not.
"""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from handyrep.engine.hands import Hands
from handyrep.engine.observe import Observer, Trying
from handyrep.engine.state import State
from handyrep.model.answer import Answer
from handyrep.model.cluster import Member
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.server import Server
from handyrep.ports import Clock

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
_HEAD_START_S = 0.05
"""So long the master's own host is asked alone: what others see of it may not matter, and to ask them takes processor time from it."""


class Everywhere:
    """The full look at the recorded master, and from every server's own host whether that can be seen."""

    def __init__(self, observer: Observer, hands: Hands, state: State, clock: Clock) -> None:
        self._observer = observer
        self._hands = hands
        self._state = state
        self._clock = clock
        self._last: Picture | None = None
        self._last_at = 0.0

    async def look(self, suspected_for_s: float, trying: Trying = Trying.ONCE) -> Picture:
        """All databases at once; the proxies only where nothing else answers: they tell nothing of the master, but that HandyRep is not cut off.

        `suspected_for_s`: a replica's receiver that heard from the master within so many seconds counts as seeing it. While that is less
        than call_timeout, the other hosts are asked what they see a moment later, and not at all once the master's own says that it
        does not run and lets nobody in. Of one that merely lets nobody in they may see a sign of life.
        """
        cluster, orders = self._state.cluster, self._state.orders
        databases = [member for member in cluster.enabled if member.server.is_postgres]
        ways = [member for member in cluster.enabled if not member.server.is_postgres]
        if cluster.master is None:
            seen = await self._lightly(databases, trying)
        else:
            seen = await self._suspected(cluster.master, databases, suspected_for_s, trying)
        if not _others_answer(seen, cluster.master):
            seen |= await self._lightly(ways, trying)
        self._last = Picture(seen=MappingProxyType(seen), verified=True, orders=orders)
        self._last_at = self._clock.monotonic()
        return self._last

    def seen_within(self, duration_s: float) -> Picture | None:
        """The last of these looks, if it ended within so many seconds before now."""
        return self._last if self._clock.monotonic() - self._last_at <= duration_s else None

    async def _lightly(self, members: Sequence[Member], trying: Trying) -> dict[str, Seen]:
        seen = await asyncio.gather(*(self._observer.lightly(member, trying) for member in members))
        return {member.name: one for member, one in zip(members, seen, strict=True)}

    async def _suspected(
        self, master: Member, databases: Sequence[Member], suspected_for_s: float, trying: Trying
    ) -> dict[str, Seen]:
        at_home = asyncio.create_task(self._at_home(master, trying))
        head_start_s = 0.0 if suspected_for_s >= self._hands.calls_s(1) else _HEAD_START_S

        async def witnessed(member: Member) -> Seen:
            view = self._view(member.server, master.name, at_home, head_start_s)
            seen, answer = await asyncio.gather(self._observer.witness(member, trying), view)
            return _with_view(seen, answer, suspected_for_s)

        others = [member for member in databases if member.name != master.name]
        try:
            seen = await asyncio.gather(*(witnessed(member) for member in others))
            named = {member.name: one for member, one in zip(others, seen, strict=True)}
            return {master.name: await at_home, **named}
        finally:
            at_home.cancel()

    async def _at_home(self, master: Member, trying: Trying) -> Seen:
        """What the master says, and its own host of it. What a silent host would see is of no use."""
        view = asyncio.create_task(self._observer.sees(master.server, master.name))
        try:
            seen = await self._observer.fully(master, trying)
            return dataclasses.replace(seen, sees_master=await view if seen.host_answers is YES else UNKNOWN)
        finally:
            view.cancel()

    async def _view(self, server: Server, master: str, at_home: asyncio.Task[Seen], head_start_s: float) -> Answer:
        """What a host sees of the master. However slowly it says so, it may see it after all, unless that has ended."""
        await asyncio.wait({at_home}, timeout=head_start_s)
        if _ended(at_home):
            return UNKNOWN
        asked = asyncio.create_task(self._observer.sees(server, master))
        try:
            await asyncio.wait({at_home, asked}, return_when=asyncio.FIRST_COMPLETED)
            return UNKNOWN if not asked.done() and _ended(at_home) else await asked
        finally:
            asked.cancel()


def _ended(at_home: asyncio.Task[Seen]) -> bool:
    """Whether the master's own host has said by now that it does not run, and that nobody gets in there."""
    return at_home.done() and (at_home.result().running, at_home.result().sees_master) == (NO, NO)


def _others_answer(seen: Mapping[str, Seen], master: Member | None) -> bool:
    others = [one for name, one in seen.items() if master is None or name != master.name]
    return any(YES in (one.up, one.alive, one.host_answers) for one in others)


def _with_view(seen: Seen, answer: Answer, suspected_for_s: float) -> Seen:
    """A host that has a view, whatever it is, runs commands."""
    heard = seen.facts is not None and _heard_within(seen.facts, suspected_for_s)
    host = seen.host_answers if answer is UNKNOWN else YES
    return dataclasses.replace(seen, host_answers=host, sees_master=YES if heard else answer)


def _heard_within(facts: PostgresFacts, suspected_for_s: float) -> bool:
    return facts.receiving and facts.message_age_s is not None and facts.message_age_s < suspected_for_s
