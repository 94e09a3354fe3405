"""Calls plugins and contains them: a plugin that raises, hangs or returns rubbish becomes a Result with a clear reason.

Owns deadlines, revocation, and where a plugin runs: our own on the main loop, a user's on a thread of its own.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from handyrep.errors import NoAnswerError, PluginError
from handyrep.model.cluster import Cluster
from handyrep.model.result import MalformedResultError, Result, fail, parse_rd, uncertain
from handyrep.plugin_api.call import Call, World
from handyrep.plugin_api.contract import KINDS, TEST, Kind, Method
from handyrep.plugin_api.options import read_options
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry

MAX_STUCK_CALLS = 8
"""So many threads of one plugin may hang before it is not called any more: a hung thread cannot be killed."""
MAX_DETAILS_CHARACTERS = 2000


class Caller:
    """The one door to plugins. Nothing a plugin does leaves it as an exception, save cancellation of our own task."""

    def __init__(self, registry: Registry, world: World) -> None:
        self.registry = registry
        self.world = world
        self._memories: dict[str, dict[str, Any]] = {}
        self._stuck: dict[str, int] = {}

    async def call(
        self,
        kind: Kind,
        name: str,
        method: str = "run",
        arguments: Mapping[str, Any] | None = None,
        *,
        cluster: Cluster,
        deadline_s: float,
    ) -> Result:
        """Call a method of a plugin. After one that acts, anything but a well-formed answer in time is UNCERTAIN."""
        contract = KINDS[kind].method(method)
        returned = await self._returned(contract, name, dict(arguments or {}), cluster, deadline_s)
        if isinstance(returned, _Misbehaved):
            return returned.as_result(contract)
        try:
            result = parse_rd(returned)
        except MalformedResultError as error:
            return _Misbehaved(f"plugin {name} {error}").as_result(contract)
        return Result(result.outcome, result.details[:MAX_DETAILS_CHARACTERS], result.extra)

    async def select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...] | Result:
        """The names a selection plugin returns, best first, or the FAIL that says why there is no list."""
        contract = KINDS[Kind.SELECTION].method("run")
        returned = await self._returned(contract, name, {}, cluster, deadline_s)
        if isinstance(returned, _Misbehaved):
            return returned.as_result(contract)
        if isinstance(returned, list | tuple) and all(isinstance(item, str) for item in returned):
            return tuple(dict.fromkeys(returned))
        return fail(f"plugin {name} returned {type(returned).__name__} instead of a list of server names")

    async def _returned(
        self, contract: Method, name: str, arguments: dict[str, Any], cluster: Cluster, deadline_s: float
    ) -> object:
        if self._stuck.get(name, 0) >= MAX_STUCK_CALLS:
            return _Misbehaved(
                f"plugin {name} is not called any more: {MAX_STUCK_CALLS} of its calls never ended", sent=False
            )
        call = Call(
            self.world, self, cluster, self.world.clock.monotonic() + deadline_s, self._memories.setdefault(name, {})
        )
        try:
            plugin = self._made(name, call)
            bound = _bound(plugin, contract, arguments)
        except Exception as error:  # noqa: BLE001 - a plugin's __init__ may raise anything
            return _Misbehaved(f"plugin {name} cannot be used: {_said(error)}", sent=False)
        try:
            async with asyncio.timeout(deadline_s):
                return await self._ran(plugin, bound)
        except TimeoutError:
            return _Misbehaved(f"plugin {name} did not answer within {deadline_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its answer
            return _Misbehaved(f"plugin {name}: {_said(error)}")
        finally:
            call.revoke()

    def _made(self, name: str, call: Call) -> Plugin:
        try:
            plugin = self.registry.load(name)
        except PluginError as missing:
            stand_in = self.registry.load("failplugin")
            return stand_in(call, {"asked_for": name, "why": str(missing)})
        options, problems, _ = read_options(plugin, self.world.settings.plugins.get(name, {}))
        if problems:
            raise PluginError("; ".join(problems))
        return plugin(call, options)

    async def _ran(self, plugin: Plugin, bound: Callable[[], Any]) -> object:
        if self.registry.is_own(type(plugin)):
            returned = bound()
            return await returned if inspect.isawaitable(returned) else returned
        return await self._ran_on_a_thread(type(plugin).__name__, bound)

    async def _ran_on_a_thread(self, name: str, bound: Callable[[], Any]) -> object:
        """A user's plugin may block its own thread and loop, never ours. Nobody waits for a daemon thread at exit."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[object] = loop.create_future()

        def tell(answer: object, error: BaseException | None) -> None:
            if ended.done():
                self._stuck[name] = self._stuck.get(name, 1) - 1
            elif error is not None:
                ended.set_exception(PluginError(_said(error)))
            else:
                ended.set_result(answer)

        def work() -> None:
            answer, error = _worked(bound)
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, answer, error)

        threading.Thread(target=work, name=f"plugin {name}", daemon=True).start()
        try:
            return await ended
        except asyncio.CancelledError:
            self._stuck[name] = self._stuck.get(name, 0) + 1
            raise


def _worked(bound: Callable[[], Any]) -> tuple[object, BaseException | None]:
    try:
        returned = bound()
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
    except BaseException as error:  # noqa: BLE001 - SystemExit and friends must not end HandyRep
        return None, error
    return returned, None


def _bound(plugin: Plugin, contract: Method, arguments: dict[str, Any]) -> Callable[[], Any]:
    """The call with its arguments, by the author's own parameter names: `servername` may be called what they like."""
    function = getattr(plugin, contract.name, None)
    if function is None:
        raise PluginError(f"has no method {contract.name}()")
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if contract is TEST:
        return partial(function, **{name: value for name, value in arguments.items() if name in names})
    if set(arguments) <= names:
        return partial(function, **arguments)
    return partial(function, *arguments.values())


class _Misbehaved:
    """No answer of a plugin. `sent` is False when the plugin was never entered, so that nothing can have happened."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        self.reason = reason[:MAX_DETAILS_CHARACTERS]
        self.sent = sent

    def as_result(self, contract: Method) -> Result:
        return uncertain(self.reason) if contract.acts and self.sent else fail(self.reason)


def _said(error: BaseException) -> str:
    if isinstance(error, PluginError | NoAnswerError):
        return str(error)
    try:
        return f"raised {type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even the text of a plugin's exception may raise
        return f"raised {type(error).__name__}"
