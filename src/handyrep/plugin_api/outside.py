"""Runs plugins of users on threads with event loops of their own, so that whatever they do, HandyRep's loop goes on.

Owns these threads and their count. A thread cannot be killed: one that hangs is left behind, and told of.
"""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from handyrep.errors import HandyRepError, PluginError

T = TypeVar("T")
MAX_STUCK_CALLS = 8
"""So many calls of one plugin may hang before it is not called any more."""


class Outside:
    """The threads of users' plugins. Nobody waits for them, not at HandyRep's end either."""

    def __init__(self) -> None:
        self._stuck: dict[str, int] = {}

    def refuses(self, name: str) -> bool:
        """Whether too many calls of this plugin have never ended."""
        return self._stuck.get(name, 0) >= MAX_STUCK_CALLS

    async def run(self, name: str, begin: Callable[[], object], end: Callable[[object], T]) -> T:
        """`end(begin())` on a thread; a coroutine that begin() returns is run there to its end.

        Raises PluginError with what was raised there, SystemExit and its like too. When nobody waits any more, the coroutine
        is cancelled; a thread that stays all the same counts as stuck until it ends.
        """
        work = _Work(begin, end)
        answer = work.start(f"plugin {name}")
        try:
            return await answer
        except asyncio.CancelledError:
            if not work.ended.is_set():
                self._stuck[name] = self._stuck.get(name, 0) + 1
                work.call_off(lambda: self._unstuck(name))
            raise

    def _unstuck(self, name: str) -> None:
        self._stuck[name] -= 1


class _Work(Generic[T]):
    """One call on one thread."""

    def __init__(self, begin: Callable[[], object], end: Callable[[object], T]) -> None:
        self.ended = threading.Event()
        self._begin = begin
        self._end = end
        self._main = asyncio.get_running_loop()
        self._answer: asyncio.Future[T] = self._main.create_future()
        self._at_last: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._called_off = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def start(self, name: str) -> "asyncio.Future[T]":
        threading.Thread(target=self._run, name=name, daemon=True).start()
        return self._answer

    def call_off(self, at_last: Callable[[], None]) -> None:
        """Cancel its coroutine, if it has one; `at_last` is called on the main loop when the thread ends."""
        with self._lock:
            self._at_last = at_last
            self._called_off = True
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        try:
            tell = partial(self._answer.set_result, self._end(self._completed(self._begin())))
        except BaseException as error:  # noqa: BLE001 - SystemExit and friends must not end HandyRep
            tell = partial(self._answer.set_exception, PluginError(said(error)))
        self.ended.set()
        with contextlib.suppress(RuntimeError):  # HandyRep has ended meanwhile
            self._main.call_soon_threadsafe(self._tell, tell)

    def _completed(self, returned: object) -> object:
        if not inspect.iscoroutine(returned):
            return returned
        with asyncio.Runner() as runner:
            return runner.run(self._on_own_loop(returned))

    async def _on_own_loop(self, coroutine: Coroutine[Any, Any, object]) -> object:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            called_off = self._called_off
        try:
            if called_off:
                coroutine.close()
                raise asyncio.CancelledError
            return await coroutine
        finally:
            with self._lock:
                self._loop = self._task = None

    def _tell(self, tell: Callable[[], None]) -> None:
        if self._at_last is not None:
            self._at_last()
        elif not self._answer.done():
            tell()


def said(error: BaseException) -> str:
    """What an exception of a plugin says, in one line; its own text may raise too."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - a plugin's exception may do anything in its __str__
        return f"raised {type(error).__name__}"
    return text if isinstance(error, HandyRepError) else f"raised {type(error).__name__}: {text}"
