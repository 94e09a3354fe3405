"""Work that is done beside the checks: one piece at a time, and none of it outlives HandyRep."""

import asyncio
import contextlib
from collections.abc import Coroutine


class Beside:
    """Whoever begins work here tells people how it ended: an error that escapes it is heard by nobody."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._task is None or self._task.done()

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Do this beside the checks. Only while idle."""
        self._task = asyncio.create_task(work)

    async def ended(self) -> None:
        """Wait until what was begun has ended."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
