"""Whether the old master takes logins as a master again, asked beside the steps between the fence and the choice.

A fence that ended it would be refuted by an answer, so its silence is waited for. One that left it as it was has proven enough without:
there the question goes on beside the steps, and whoever has not answered by their end is not waited for.
"""

import asyncio

from handyrep.engine.observe import Observer, Trying
from handyrep.ports import Clock

_LISTENS_S, _ASKS_EVERY_S = 1.0, 0.01
"""For so long it goes on. Whoever wants to know later asks anew: HandyRep may have slept."""


class Listening:
    """To one server at a time. Nothing of it outlives the process: another one asks anew."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._name = ""
        self._began = 0.0
        self._asked: asyncio.Task[bool] | None = None

    def begin(self, name: str) -> None:
        """Ask this server again and again, and go on."""
        self._end()
        self._name, self._began = name, self._clock.monotonic()
        self._asked = asyncio.create_task(self._answers(name, self._began + _LISTENS_S))

    async def hears_master(self, name: str) -> bool:
        """Whether it has answered as a master by now; where it was not asked a moment ago, it is asked now and waited for."""
        recent = self._name == name and self._clock.monotonic() - self._began <= _LISTENS_S
        if self._asked is None or not recent:
            self._end()
            return await self._is_master(name)
        heard = self._asked.done() and self._asked.result()
        self._end()
        return heard

    def _end(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
        self._asked = None

    async def _answers(self, name: str, end: float) -> bool:
        while self._clock.monotonic() < end:
            if await self._is_master(name):
                return True
            await self._clock.sleep(_ASKS_EVERY_S)
        return False

    async def _is_master(self, name: str) -> bool:
        facts = await self._observer.facts(name, Trying.ONCE)
        return facts is not None and not facts.in_recovery
