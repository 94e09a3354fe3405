"""One call of a plugin: what it may see and use, until its deadline.

Owns revocation (after the deadline every helper raises and does nothing) and the bridge that lets one helper serve the
event loop, a user's own loop and a plain thread alike.
"""

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from handyrep.config.settings import Settings
from handyrep.errors import RevokedError
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Clock, Command, Databases, Hosts, Login, Ran, Row

_LAST_WORDS_SHARE, _LAST_WORDS_S = 0.1, 0.25
"""A helper gives up a little before its call does, so that the plugin can still say what did not answer."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The ports and settings that all calls share."""

    settings: Settings
    hosts: Hosts
    databases: Databases
    clock: Clock


class Others(Protocol):
    """How a plugin calls another one, contained as every call is."""

    async def call(  # noqa: PLR0913 - as Caller.call
        self,
        kind: Kind,
        name: str,
        method: str = "run",
        arguments: Mapping[str, Any] | None = None,
        *,
        cluster: Cluster,
        deadline_s: float,
        depth: int = 0,
    ) -> Result:
        """As Caller.call."""
        ...


class Call:
    """What one call of one plugin holds. `deadline` is on the clock's monotonic scale, in seconds."""

    def __init__(
        self,
        world: World,
        others: Others,
        cluster: Cluster,
        deadline: float,
        memory: dict[str, Any],
        depth: int = 0,
    ) -> None:
        self.world = world
        self._others = others
        self.cluster = cluster
        self.deadline = deadline
        self.memory = memory
        self._depth = depth
        self.main_loop = asyncio.get_running_loop()
        self._revoked = threading.Event()
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether a helper is still at work."""
        return bool(self._under_way)

    def revoke(self) -> None:
        """From now on every helper raises RevokedError; what is under way is cancelled. On the main loop only."""
        self._revoked.set()
        for task in tuple(self._under_way):
            task.cancel()

    def left_s(self, wanted_s: float | None = None) -> float:
        """Seconds that a helper may take: what it wants, within what the call has left."""
        if self._revoked.is_set():
            raise RevokedError("the plugin was called off at its deadline; this helper did nothing")
        left = max(self.deadline - self.world.clock.monotonic(), 0.0)
        left -= min(left * _LAST_WORDS_SHARE, _LAST_WORDS_S)
        return left if wanted_s is None else min(left, wanted_s)

    async def run(self, server: Server | None, command: Command, wanted_s: float | None) -> Ran:
        """A command on a server, or here when server is None."""
        deadline_s = self.left_s(wanted_s)
        if server is None:
            return await self.world.hosts.run_here(command, deadline_s=deadline_s)
        return await self.world.hosts.run(server, command, deadline_s=deadline_s)

    async def query(  # noqa: PLR0913 - as the port has it
        self,
        server: Server,
        statement: str,
        values: Sequence[Any],
        *,
        wanted_s: float | None,
        login: Login,
        database: str | None,
        fresh: bool,
    ) -> tuple[Row, ...]:
        """A statement on a server."""
        deadline_s = self.left_s(wanted_s)
        return await self.world.databases.query(
            server, statement, values, deadline_s=deadline_s, login=login, database=database, fresh=fresh
        )

    async def other(self, kind: Kind, name: str, method: str, arguments: Mapping[str, Any]) -> Result:
        """Call another plugin, within what is left of this call's time."""
        return await self._others.call(
            kind, name, method, arguments, cluster=self.cluster, deadline_s=self.left_s(), depth=self._depth + 1
        )

    async def guarded(self, helps: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a helper on the main loop so that revoke() reaches it. It is made here: whoever is called off before that leaves none unawaited."""
        if self._revoked.is_set():
            raise RevokedError("the plugin was called off at its deadline; this helper did nothing")
        task = asyncio.ensure_future(helps())
        self._under_way.add(task)
        try:
            return await task
        finally:
            self._under_way.discard(task)
            task.cancel()


class _HasCall(Protocol):
    @property
    def call(self) -> Call: ...


S = TypeVar("S", bound=_HasCall)


def helper(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A helper of plugins. In an `async def` await it; in a plain `def`, which has no loop, it waits by itself."""

    @functools.wraps(method)
    def bridged(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        call = self.call
        guarded = call.guarded(functools.partial(method, self, *args, **kwargs))
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            future = asyncio.run_coroutine_threadsafe(guarded, call.main_loop)
            return cast("Coroutine[Any, Any, T]", future.result())
        if running is call.main_loop:
            return guarded
        elsewhere = asyncio.run_coroutine_threadsafe(guarded, call.main_loop)
        return _awaited(asyncio.wrap_future(elsewhere))

    return bridged


async def _awaited(future: "asyncio.Future[T]") -> T:
    return await future
