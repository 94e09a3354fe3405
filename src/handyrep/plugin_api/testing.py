"""The contract suite: what every plugin must keep, HandyRep's own or a user's, tried in worlds where nothing works.

    from handyrep.plugin_api.testing import check_plugin, try_plugin

Touches no server: the worlds are fakes.
"""

import asyncio
import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from handyrep.config.settings import ArchiveSettings, FailoverSettings, HandyrepSettings, Settings
from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.model.trace import parse_traces
from handyrep.plugin_api import fakes
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import COMMON, FOOTPRINT, KINDS, RUNMODES, TAKE_BACK, Kind, Method
from handyrep.plugin_api.docs import HEADINGS
from handyrep.plugin_api.options import Option, options_of, read_options
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry

_PATIENCE_S = 5.0
_DEADLINE_S = 0.3
_LONG_DEADLINE_S = 1.0
"""On a busy machine a plugin that ends by itself may be cut off a tenth of a second before. One that does not is cut off at any time."""
_GRACE_S = 2.0
_WORLDS: Mapping[str, Callable[[], fakes.FakeWorld]] = MappingProxyType(
    {
        "where nobody answers": fakes.refusing,
        "of unknown host keys": fakes.unknown_keys,
        "where everything is denied": fakes.denying,
        "where everything hangs": fakes.hanging,
        "of empty answers": fakes.babbling,
        "of strange answers": lambda: fakes.babbling({"\u2028odd": None}, {}),
    }
)
_SILENT = ("where nobody answers", "of unknown host keys", "where everything hangs")
"""Here no question is answered, so nothing can have been done, and nothing can be known."""
_ORDINARY = (*_SILENT, "where everything is denied")
"""What happens every day; here a plugin must not be surprised. In the others it may raise: its caller contains that."""
_ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "servername": "r1", "replicaserver": "r1", "mastername": "m1", "newmaster": "m1", "clonefrom": "m1", "reclone": False,
        "bouncerserver": "b1", "alerttype": "error", "category": "test", "message": "a test", "text": "a text",
    }
)  # fmt: skip


def check_plugin(
    plugin: str | type[Plugin],
    kind: Kind,
    *,
    plugins_dir: Path | None = None,
    options: Mapping[str, str | tuple[str, ...]] | None = None,
) -> list[str]:
    """What is wrong with a plugin as one of its kind, a sentence each; [] when it keeps the contract.

    `plugin` is its class, or its name in `plugins_dir` or among HandyRep's own. `options` as they would stand in handyrep.conf.
    It has an event loop of its own: call it from a plain test function.
    """
    registry = Registry(plugins_dir) if isinstance(plugin, str) else _Given(plugin)
    name = plugin if isinstance(plugin, str) else plugin.__name__
    try:
        found = registry.load(name)
    except PluginError as error:
        return [str(error)]
    problems = list(_wrong_in_its_form(found, kind, registry, options or {}))
    return problems or asyncio.run(_Trial(registry, name, kind, options or {}).problems())


def try_plugin(  # noqa: PLR0913 - each is a separate fact about one call
    plugin: str | type[Plugin],
    kind: Kind,
    method: str = "run",
    arguments: Mapping[str, Any] | None = None,
    *,
    world: fakes.FakeWorld | None = None,
    cluster: Cluster | None = None,
    plugins_dir: Path | None = None,
    options: Mapping[str, str | tuple[str, ...]] | None = None,
) -> Result | tuple[str, ...]:
    """What one call of a plugin gives, as HandyRep would see it: a Result, or the names of a selection plugin.

    Left out, `world` is one where nobody answers (others are in handyrep.plugin_api.fakes) and `cluster` is fakes.example_cluster().
    """
    name = plugin if isinstance(plugin, str) else plugin.__name__
    registry = Registry(plugins_dir) if isinstance(plugin, str) else _Given(plugin)
    settings = _settings_that_name(name, kind, options or {})
    known = cluster or _cluster_that_names(name, kind)

    async def called() -> Result | tuple[str, ...]:
        caller = Caller(registry, (world or fakes.refusing()).world(settings))
        if KINDS[kind].method(method).returns_list:
            return await caller.select(name, cluster=known, deadline_s=_PATIENCE_S)
        return await caller.call(kind, name, method, arguments, cluster=known, deadline_s=_PATIENCE_S)

    return asyncio.run(called())


class _Given(Registry):
    """Knows one more plugin: a class that a test has at hand."""

    def __init__(self, plugin: type[Plugin]) -> None:
        super().__init__()
        self._given = plugin

    def load(self, name: str) -> type[Plugin]:
        return self._given if name == self._given.__name__ else super().load(name)

    def is_own(self, name: str) -> bool:
        return super().is_own(name) and (name != self._given.__name__ or _is_ours(self._given))


def _is_ours(plugin: type[Plugin]) -> bool:
    return plugin.__module__.startswith("handyrep.plugins.")


def _wrong_in_its_form(
    plugin: type[Plugin], kind: Kind, registry: Registry, options: Mapping[str, str | tuple[str, ...]]
) -> Iterator[str]:
    name = plugin.__name__
    if plugin.__module__.rpartition(".")[2] != name and not isinstance(registry, _Given):
        yield f"the class {name} stands in the file of another name, {plugin.__module__}"
    if plugin.kinds and kind not in plugin.kinds:
        yield f"{name} does not say that it is of kind {kind}: kinds = (Kind.{kind.name},)"
    if not (plugin.__doc__ or "").strip():
        yield f"{name} has no docstring: say what it does"
    if _is_ours(plugin):
        yield from _wrong_in_its_docstring(plugin)
    yield from (f"{name}: {problem}" for problem in read_options(plugin, options)[1])
    yield from _wrong_in_its_options(plugin)
    for attribute, value in vars(plugin).items():
        if isinstance(value, list | dict | set) and not attribute.startswith("__"):
            yield f"{name}.{attribute} is a {type(value).__name__} that all calls share: use self.memory, or a tuple"
    for method in (*KINDS[kind].methods, *COMMON):
        yield from _wrong_in_its_method(plugin, method)
    if hasattr(plugin, TAKE_BACK.name) and not hasattr(plugin, FOOTPRINT.name):
        yield f"{name} has take_back() and no footprint(): what is taken away is told first"


def _wrong_in_its_docstring(plugin: type[Plugin]) -> Iterator[str]:
    lines = [line.strip() for line in inspect.cleandoc(plugin.__doc__ or "").splitlines()]
    found = [heading for line in lines for heading in HEADINGS if line.startswith(f"{heading}:")]
    if found != list(HEADINGS):
        yield f"the docstring of {plugin.__name__} needs the headings {' / '.join(HEADINGS)}, once each and in this order"
    about_options = (plugin.__doc__ or "").rpartition("Options:")[2]
    for option in vars(plugin).values():
        if isinstance(option, Option) and option.name not in about_options:
            yield f"the docstring of {plugin.__name__} does not name its option {option.name}"


def _wrong_in_its_options(plugin: type[Plugin]) -> Iterator[str]:
    for name, directive in options_of(plugin).items():
        if not directive.help.strip():
            yield f"option {name} of {plugin.__name__} has no help"
        if isinstance(directive.default, list | dict | set):
            yield f"the default of option {name} of {plugin.__name__} is shared and can be changed: use a tuple"


def _wrong_in_its_method(plugin: type[Plugin], method: Method) -> Iterator[str]:
    function = getattr(plugin, method.name, None)
    if function is None:
        if not method.optional:
            yield f"{plugin.__name__} has no method {method.name}()"
        return
    if not callable(function):
        yield f"{plugin.__name__}.{method.name} is no method"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield f"{plugin.__name__}.{method.name}() yields: a plugin returns its answer"
    elif not _takes(function, method):
        yield f"{plugin.__name__}.{method.name}() does not take {', '.join(method.parameters) or 'nothing'}"
    elif function.__qualname__.startswith("handyrepplugin.") and plugin.__name__ != "handyrepplugin":
        yield f"{plugin.__name__} has no {method.name}() of its own"


def _takes(function: Callable[..., object], method: Method) -> bool:
    """Whether it can be called with the parameters of the contract: by their names, or one after the other."""
    signature = inspect.signature(function)
    parameters = [name for name in method.parameters if not name.startswith("*")]
    for positional, named in (((None, *parameters), {}), ((None,), dict.fromkeys(parameters))):
        try:
            signature.bind(*positional, **named)
        except TypeError:
            continue
        return True
    return False


class _Trial:
    """One plugin, called in every world."""

    def __init__(self, registry: Registry, name: str, kind: Kind, options: Mapping[str, str | tuple[str, ...]]) -> None:
        self._registry = registry
        self._name = name
        self._kind = kind
        self._settings = _settings_that_name(name, kind, options)
        self._cluster = _cluster_that_names(name, kind)

    async def problems(self) -> list[str]:
        """Every problem once, though it may show in several worlds."""
        found: dict[str, None] = {}
        for where, made in _WORLDS.items():
            for method, arguments in self._calls():
                found |= dict.fromkeys(await self._wrong_in(where, made(), method, arguments))
        if repr(self._cluster) != repr(_cluster_that_names(self._name, self._kind)):
            found["it has changed the cluster that it was given"] = None
        return list(found)

    def _calls(self) -> Iterator[tuple[Method, dict[str, Any]]]:
        plugin = self._registry.load(self._name)
        for method in (*KINDS[self._kind].methods, *COMMON):
            if hasattr(plugin, method.name):
                arguments = {name: _ARGUMENTS[name] for name in method.parameters if name in _ARGUMENTS}
                modes = RUNMODES if "runmode" in method.parameters else ("",)
                yield from ((method, {**arguments, **({"runmode": mode} if mode else {})}) for mode in modes)

    async def _wrong_in(
        self, where: str, world: fakes.FakeWorld, method: Method, arguments: dict[str, Any]
    ) -> list[str]:
        answer, late_s = await self._answered(world, method, arguments, _DEADLINE_S)
        if _was_cut_off(answer):
            answer, late_s = await self._answered(world, method, arguments, _LONG_DEADLINE_S)
        what = f"in a world {where}, {method.name}({', '.join(map(str, arguments.values()))})"
        problems = [*_wrong_with(answer, where, late_s, silent_asked=bool(world.asked))]
        if method is FOOTPRINT and ("traces" in answer.extra or answer.outcome is Outcome.SUCCESS):
            problems += _wrong_in_its_traces(answer)
        return [f"{what} {problem}" for problem in problems]

    async def _answered(
        self, world: fakes.FakeWorld, method: Method, arguments: dict[str, Any], deadline_s: float
    ) -> tuple[Result, float]:
        """(the answer, how long after its deadline it came)."""
        caller = Caller(self._registry, world.world(self._settings))
        began = time.monotonic()
        if method.returns_list:
            selected = await caller.select(self._name, cluster=self._cluster, deadline_s=deadline_s)
            answer = selected if isinstance(selected, Result) else Result(Outcome.SUCCESS)
        else:
            answer = await caller.call(
                self._kind, self._name, method.name, arguments, cluster=self._cluster, deadline_s=deadline_s
            )
        return answer, time.monotonic() - began - deadline_s


def _was_cut_off(answer: Result) -> bool:
    return "did not answer within" in answer.details and "plugin " in answer.details


def _wrong_with(answer: Result, where: str, late_s: float, *, silent_asked: bool) -> Iterator[str]:
    if late_s > _GRACE_S:
        yield f"took {late_s:.1f} s longer than it had"
    if answer.outcome is Outcome.SUCCESS:
        if where in _SILENT and silent_asked:
            yield "says SUCCESS, though nothing that it asked for was answered"
    elif not answer.details.strip():
        yield "fails without saying why"
    elif ": returned " in answer.details or (": raised " in answer.details and where in _ORDINARY):
        yield f"ends badly: {answer.details}"
    elif _was_cut_off(answer):
        yield f"does not end by itself: {answer.details}"


def _wrong_in_its_traces(answer: Result) -> list[str]:
    try:
        parse_traces(answer.extra.get("traces"))
    except ValueError as error:
        return [f"does not tell its traces: {error}"]
    return []


def _settings_that_name(name: str, kind: Kind, options: Mapping[str, str | tuple[str, ...]]) -> Settings:
    directive = KINDS[kind].directive
    sections: dict[str, Any] = {
        "handyrep": HandyrepSettings(),
        "failover": FailoverSettings(fail_retries=1, fail_retry_interval=0.01, call_timeout=0.05),
        "archive": ArchiveSettings(archive_server="a1", archive_directory="/srv/wal/archive"),
    }
    for section, values in sections.items():
        if hasattr(values, directive):
            named = (name,) if isinstance(getattr(values, directive), tuple) else name
            sections[section] = dataclasses.replace(values, **{directive: named})
    servers = tuple(member.server for member in _cluster_that_names(name, kind).members.values())
    return Settings(source="a test", servers=servers, plugins=MappingProxyType({name: dict(options)}), **sections)


def _cluster_that_names(name: str, kind: Kind) -> Cluster:
    directive = KINDS[kind].directive
    return fakes.example_cluster(**({directive: name} if hasattr(Server(name=""), directive) else {}))
