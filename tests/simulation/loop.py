"""An event loop that never waits: where nothing is left to do, something in HandyRep waits for what never comes."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any


class StuckError(AssertionError):
    """Every task waits."""


class _Nothing(selectors.BaseSelector):
    """No file ever becomes ready, and the time that passes is the imagined one."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            raise StuckError(f"nothing is left to do, and somebody waits ({timeout} s)")
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)


class _Loop(asyncio.SelectorEventLoop):
    """Deadlines are over by the imagined clock, so that a busy machine changes nothing."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        super().__init__(_Nothing())

    def time(self) -> float:
        return self._now_s()


def never_waiting(now_s: Callable[[], float] = lambda: 0.0) -> asyncio.AbstractEventLoop:
    """A new loop."""
    return _Loop(now_s)


class Jumping(asyncio.SelectorEventLoop):
    """Its time is imagined: where nothing is left to do until a moment, it is that moment."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Seconds since it was made."""
        return self._now_s

    def pass_time(self, duration_s: float) -> None:
        """Let time pass at once."""
        self._now_s += duration_s


class _Jump(_Nothing):
    def __init__(self, loop: Jumping) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("nothing is left to do, and somebody waits for ever")
        self._loop.pass_time(max(timeout, 0.0))
        return []
