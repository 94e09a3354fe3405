"""What happens while somebody waits for the answer of an operation: each step of a change of master, as it ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Listener = Callable[[str], None]
"""Hears one sentence. It is called from the event loop, so it must not wait."""

_TOLD = ("begin", "step")


class Audience:
    """ports.EventSink that passes the steps of changes of master on to whoever listens at that time."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:  # noqa: ARG002 - the port's form
        """As ports.EventSink.record."""
        if kind in _TOLD:
            for listener in tuple(self._listeners):
                listener(text)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Let it hear what happens until the block ends."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
