"""The loop that nothing can end: check, wait, check. An exception in a check is told and the loop goes on."""

import asyncio
import contextlib

from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.errors import BusyError

_LEAST_REST = 0.25
"""Of poll_interval. Where a check takes longer than that, the servers shall still have a rest from being asked."""


def rest_s(poll_interval_s: float, took_s: float) -> float:
    """Until the next check: poll_interval after the last one began, so that what was slow in it delays no notice of what comes next."""
    return max(poll_interval_s - took_s, poll_interval_s * _LEAST_REST)


class Monitor:
    """Runs checks until its task is cancelled. `cycles` counts them; `last_cycle_at` is monotonic, so that its death shows."""

    def __init__(self, engine: Engine, check: Check) -> None:
        self._engine = engine
        self._check = check
        self._wake = asyncio.Event()
        self._last_error = ""
        self.cycles = 0
        self.last_cycle_at = engine.clock.monotonic()

    async def run(self) -> None:
        """For ever."""
        while True:
            began = self._engine.clock.monotonic()
            await self._cycle()
            took_s = self._engine.clock.monotonic() - began
            await self._rest(rest_s(self._engine.settings.failover.poll_interval, took_s))

    async def _rest(self, duration_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await self._wake.wait()
        self._wake.clear()

    def look_now(self) -> None:
        """Let the next check come at once: a held connection broke, or somebody asked. The one under way waits for nobody but the master."""
        self._wake.set()
        self._check.rounds.hurry()

    async def _cycle(self) -> None:
        try:
            await self._check.run(verify=False)
            self._last_error = ""
        except BusyError:
            pass  # an operation changes the cluster: it looks by itself
        except Exception as error:  # noqa: BLE001 - whatever happens, the next check must come
            self._tell(error)
        self.cycles += 1
        self.last_cycle_at = self._engine.clock.monotonic()

    def _tell(self, error: Exception) -> None:
        text = f"a check failed and the next one will come: {type(error).__name__}: {error}"
        if text != self._last_error:
            self._engine.events.record("error", text, {"error": type(error).__name__})
        self._last_error = text
