"""What the plugin for replication slots says, for people: what a change of master would lose, and what keeps WAL for nobody.

Changes nothing.
"""

from typing import Any

from handyrep.engine.hands import Hands, said
from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import Kind
from handyrep.ports import EventSink


async def would_lack(hands: Hands, candidate: str) -> list[str]:
    """A sentence for each logical slot of the master that the candidate would not have in its place, or why that is not known."""
    told = await hands.use(Kind.SLOTS, "lost", newmaster=candidate)
    if told.outcome is not Outcome.SUCCESS:
        return [said(told)]
    return [f"{candidate} would not have the logical slot {one}" for one in sentences(told.extra.get("lost"))]


def sentences(told: Any) -> list[str]:
    """A list of sentences that a plugin returned; anything else is none."""
    return [str(one) for one in told] if isinstance(told, list) else []


class KeptForNobody:
    """Looks for slots that keep much WAL and that nobody uses, and tells of them when they change."""

    def __init__(self, hands: Hands, events: EventSink) -> None:
        self._hands = hands
        self._events = events
        self._told: list[str] = []

    async def look(self) -> None:
        """A server that did not answer takes nothing back of what was told."""
        looked = await self._hands.use(Kind.SLOTS, "test")
        found = sentences(looked.extra.get("warnings"))
        if looked.outcome is not Outcome.SUCCESS:
            found = list(dict.fromkeys([*self._told, *found]))
        if found != self._told:
            self._events.record("slots", "; ".join(found) or "no slot keeps much WAL for nobody any more", {})
        self._told = found
