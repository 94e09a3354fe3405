"""Calls plugins and contains them: a plugin that raises, hangs or returns rubbish becomes a Result with a clear reason.

Owns deadlines, revocation, and where a plugin runs: our own on the main loop, a user's on a thread of its own.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar

from handyrep.errors import PluginError
from handyrep.model.cluster import Cluster
from handyrep.model.result import MalformedResultError, Result, fail, parse_rd, uncertain
from handyrep.plugin_api.call import Call, World
from handyrep.plugin_api.contract import KINDS, TEST, Kind, Method
from handyrep.plugin_api.options import read_options
from handyrep.plugin_api.outside import MAX_STUCK_CALLS, Outside, said
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry

T = TypeVar("T")
MAX_DETAILS_CHARACTERS = 2000
MAX_DEPTH = 5
"""So deep may plugins call one another: one that calls itself must not go on for as long as it has time."""
MAX_NAMES = 10_000


class Caller:
    """The one door to plugins. Nothing a plugin does leaves it as an exception, save cancellation of our own task."""

    def __init__(self, registry: Registry, world: World) -> None:
        self.registry = registry
        self.world = world
        self._outside = Outside()
        self._memories: dict[str, dict[str, Any]] = {}

    async def call(  # noqa: PLR0913 - each is a separate fact about one call
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
        """Call a method of a plugin. After one that acts, anything but a well-formed answer in time is UNCERTAIN.

        `depth`: how many plugins are waiting for this one.
        """
        contract = KINDS[kind].method(method)
        if depth > MAX_DEPTH:
            return fail(f"plugin {name} was not called: {depth} plugins are calling one another already")
        call = self._new_call(name, cluster, deadline_s, depth)
        answer = await self._answer(name, contract, dict(arguments or {}), call, parse_rd)
        if isinstance(answer, _Misbehaved):
            return answer.as_result(contract)
        return Result(answer.outcome, answer.details[:MAX_DETAILS_CHARACTERS], answer.extra)

    async def select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...] | Result:
        """The names a selection plugin returns, best first, or the FAIL that says why there is no list."""
        contract = KINDS[Kind.SELECTION].method("run")
        call = self._new_call(name, cluster, deadline_s, depth=0)
        answer = await self._answer(name, contract, {}, call, _names)
        return answer.as_result(contract) if isinstance(answer, _Misbehaved) else answer

    def _new_call(self, name: str, cluster: Cluster, deadline_s: float, depth: int) -> Call:
        deadline = self.world.clock.monotonic() + deadline_s
        return Call(self.world, self, cluster, deadline, self._memories.setdefault(name, {}), depth)

    async def _answer(
        self, name: str, contract: Method, arguments: dict[str, Any], call: Call, understand: Callable[[object], T]
    ) -> "T | _Misbehaved":
        if self._outside.refuses(name):
            reason = f"plugin {name} is not called any more: {MAX_STUCK_CALLS} of its calls never ended"
            return _Misbehaved(reason, sent=False)
        attempt = _Attempt(lambda: self._made(name, call), contract, arguments, understand)
        deadline_s = max(call.deadline - self.world.clock.monotonic(), 0.0)
        limit = asyncio.timeout(deadline_s)
        try:
            async with limit:
                answer = await (self._here(attempt) if self.registry.is_own(name) else self._elsewhere(name, attempt))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its answer
            told = f" did not answer within {round(deadline_s, 2):g} s" if limit.expired() else f": {said(error)}"
            return _Misbehaved(f"plugin {name}{told}", sent=attempt.entered)
        else:
            if call.busy:
                return _Misbehaved(f"plugin {name} returned while a helper was at work: an 'await' is missing")
            return answer
        finally:
            call.revoke()

    async def _here(self, attempt: "_Attempt[T]") -> T:
        returned = attempt.begin()
        return attempt.end(await returned if inspect.isawaitable(returned) else returned)

    async def _elsewhere(self, name: str, attempt: "_Attempt[T]") -> T:
        return await self._outside.run(name, attempt.begin, attempt.end)

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


class _Attempt(Generic[T]):
    """One call: what is asked of whom. `entered`: the plugin's method was begun, so that something may have happened."""

    def __init__(
        self,
        made: Callable[[], Plugin],
        contract: Method,
        arguments: dict[str, Any],
        understand: Callable[[object], T],
    ) -> None:
        self._made = made
        self._contract = contract
        self._arguments = arguments
        self._understand = understand
        self.entered = False

    def begin(self) -> object:
        """Make the plugin and call its method; a user's own code may do anything in here."""
        bound = _bound(self._made(), self._contract, self._arguments)
        self.entered = True
        return bound()

    def end(self, returned: object) -> T:
        """What the method returned, understood. Raises PluginError."""
        try:
            return self._understand(returned)
        except MalformedResultError as error:
            raise PluginError(str(error)) from None


def _bound(plugin: Plugin, contract: Method, arguments: dict[str, Any]) -> Callable[[], Any]:
    """The call with its arguments, by the author's own parameter names: `servername` may be called what they like."""
    function = getattr(plugin, contract.name, None)
    if function is None:
        raise PluginError(f"it has no method {contract.name}()")
    signature = _signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    names = {p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    by_name = set(arguments) <= names or inspect.Parameter.VAR_KEYWORD in kinds
    if contract is TEST and not by_name:
        arguments, by_name = {name: value for name, value in arguments.items() if name in names}, True
    bound = partial(function, **arguments) if by_name else partial(function, *arguments.values())
    try:
        signature.bind(*bound.args, **bound.keywords)
    except TypeError as error:
        wanted = ", ".join(contract.parameters) or "nothing"
        raise PluginError(f"its method {contract.name}() does not take {wanted}: {error}") from None
    return bound


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Of a method it is found out once: that takes longer than many a call."""
    if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
        return _of_method(function.__func__)
    return inspect.signature(function)


@lru_cache(maxsize=1024)
def _of_method(function: FunctionType) -> inspect.Signature:
    return inspect.signature(MethodType(function, object()))


def _names(returned: object) -> tuple[str, ...]:
    if not isinstance(returned, list | tuple) or len(returned) > MAX_NAMES:
        raise PluginError(f"returned {type(returned).__name__} instead of a list of server names")
    if not all(isinstance(item, str) for item in returned):
        raise PluginError("returned a list in which not everything is a server name")
    return tuple(dict.fromkeys(returned))


class _Misbehaved:
    """No answer of a plugin. `sent` is False when the plugin was never entered, so that nothing can have happened."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        self.reason = reason[:MAX_DETAILS_CHARACTERS]
        self.sent = sent

    def as_result(self, contract: Method) -> Result:
        return uncertain(self.reason) if contract.acts and self.sent else fail(self.reason)
