"""What every step works with: the way to plugins, the eyes, the recorded state, the settings. Owns waiting until something is seen."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from handyrep.config.settings import Settings
from handyrep.decide.policy import Policy
from handyrep.engine.beside import Beside
from handyrep.engine.everywhere import Everywhere
from handyrep.engine.hands import Hands
from handyrep.engine.listening import Listening
from handyrep.engine.observe import Observer
from handyrep.engine.standing import Standing
from handyrep.engine.state import State
from handyrep.engine.steady import Steady
from handyrep.model.cluster import Cluster
from handyrep.model.server import Server
from handyrep.ports import Clock, EventSink

_LOOK_EVERY_S = 0.003
_MOMENT_S = 0.1
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Shared by all steps of all runs; nothing of a single run is kept here: that stands in its journal.

    `busy`: the servers that long work is done on at this moment: what they hold may be taken away under us. `holding`: clients are being
    held back at the proxies. Whoever leads them elsewhere, or on, waits for its end.
    """

    hands: Hands
    observer: Observer
    everywhere: Everywhere
    listening: Listening
    standing: Standing
    state: State
    events: EventSink
    settings: Settings
    policy: Policy
    clock: Clock
    steady: Steady
    holding: Beside
    busy: AbstractSet[str]

    @property
    def cluster(self) -> Cluster:
        """The present snapshot."""
        return self.state.cluster

    def server(self, name: str) -> Server:
        """A server of the cluster."""
        return self.state.cluster.members[name].server

    async def meanwhile(self, work: Awaitable[_T], *unheeded: Coroutine[Any, Any, None]) -> _T:
        """`work`, and beside it what spares a later step time. That is waited for a moment longer and then given up: the later step does it all."""
        begun = {asyncio.create_task(one) for one in unheeded}
        try:
            done = await work
            await asyncio.wait(begun, timeout=_MOMENT_S)
            return done
        finally:
            for task in begun:
                task.cancel()

    async def until(self, holds: Callable[[], Awaitable[bool]], limit_s: float) -> bool:
        """Look again and again until it holds or `limit_s` has passed; at least once."""
        end = self.clock.monotonic() + limit_s
        while True:
            if await holds():
                return True
            if self.clock.monotonic() >= end:
                return False
            await self.clock.sleep(_LOOK_EVERY_S)
