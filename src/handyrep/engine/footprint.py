"""What HandyRep has left on the servers, told by the plugins that leave it, and taken back by them.

Looks again after every act. Who does not answer, or does not tell, is unknown, never empty.
"""

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator

from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.engine.kept_up import Pair, called
from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.trace import Trace, parse_traces
from handyrep.plugin_api.check import uses
from handyrep.plugin_api.contract import FOOTPRINT, KINDS, TAKE_BACK, Kind
from handyrep.plugin_api.options import read_options
from handyrep.plugin_api.plugin import Plugin

_CALLS_OF_A_LOOK = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """One trace on a server, and the plugins that tell of it."""

    server: str
    plugins: tuple[str, ...]
    trace: Trace

    @property
    def place(self) -> tuple[str, str]:
        """What makes it the same as one that another plugin, or a later look, shows."""
        return self.server, self.trace.where


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """All that was told. `unknown`: (server or '', plugin or '', why) for what could not be."""

    left: tuple[Left, ...]
    unknown: tuple[tuple[str, str, str], ...]

    @property
    def going(self) -> tuple[Left, ...]:
        """What would be taken back."""
        return tuple(one for one in self.left if not one.trace.stays)

    @property
    def staying(self) -> tuple[Left, ...]:
        """What would be left where it is."""
        return tuple(one for one in self.left if one.trace.stays)


async def look(engine: Engine, *names: str) -> Footprint:
    """Ask every plugin that can tell, on these servers or on all."""
    asked, unknown = _plugins(engine)
    members = [m for m in engine.cluster.members.values() if m.name in names or not names]
    unknown += [(m.name, "", "it is disabled, so it was not looked at") for m in members if not m.server.enabled]
    unknown += [(name, fence, "HandyRep knows this server no more") for fence, name in _lost(engine)]
    pairs = [(plugin, member.name) for member in members if member.server.enabled for plugin in asked]
    answers = await asyncio.gather(*(_told(engine, kind, name, server) for (kind, name), server in pairs))
    found: dict[tuple[str, str], Left] = {}
    for ((_, plugin), server), (traces, why) in zip(pairs, answers, strict=True):
        unknown += [(server, plugin, why)] if why else []
        for trace in traces:
            one = found.get((server, trace.where), Left(server, (), trace))
            found[one.place] = dataclasses.replace(one, plugins=(*one.plugins, plugin))
    order = list(engine.cluster.members)
    return Footprint(tuple(sorted(found.values(), key=lambda one: order.index(one.server))), tuple(unknown))


async def _told(engine: Engine, kind: Kind, plugin: str, server: str) -> tuple[tuple[Trace, ...], str]:
    """(what it tells, why that may not be all, or '')."""
    patience_s = engine.settings.failover.call_timeout * _CALLS_OF_A_LOOK
    answer = await engine.hands.use(kind, FOOTPRINT.name, name=plugin, servername=server, patience_s=patience_s)
    well = answer.outcome is Outcome.SUCCESS
    if not well and "traces" not in answer.extra:
        return (), said(answer)
    try:
        return parse_traces(answer.extra.get("traces")), "" if well else said(answer)
    except ValueError as error:
        return (), str(error)


def _lost(engine: Engine) -> Iterator[Pair]:
    return (pair for pair in engine.cluster.kept_up if pair[1] not in engine.cluster.members)


def _plugins(engine: Engine) -> tuple[list[tuple[Kind, str]], list[tuple[str, str, str]]]:
    """(kind and name of all that can tell, what is unknown since a plugin cannot). One that is not configured any more may have left things too."""
    registry, settings = engine.caller.registry, engine.settings
    configured = {name: kind for _, kind, name in uses(settings)}
    found: list[tuple[Kind, str]] = []
    unknown: list[tuple[str, str, str]] = []
    for name in dict.fromkeys((*configured, *(fence for fence, _ in engine.cluster.kept_up), *registry.names())):
        try:
            plugin = registry.load(name)
        except PluginError as error:
            unknown += [("", name, str(error))] if name in configured else []
            continue
        kind = configured.get(name) or next(iter(plugin.kinds), None)
        if kind is not None and hasattr(plugin, FOOTPRINT.name):
            usable = name in configured or not read_options(plugin, settings.plugins.get(name, {}))[1]
            found += [(kind, name)] if usable else []
        elif name in configured and not registry.is_own(name) and any(m.acts for m in KINDS[configured[name]].methods):
            unknown.append(
                ("", name, f"it is no part of HandyRep, and has no {FOOTPRINT.name}() that tells what it leaves")
            )
    return found, unknown


async def take_back(engine: Engine, found: Footprint) -> dict[str, Result]:
    """Let the plugins take back what goes: fences first, since one may act by itself, and the copies of the journal last. What failed, by server and plugin."""
    problems = await _let_go(engine)
    registry = engine.caller.registry
    wanted = dict.fromkeys((one.server, plugin) for one in found.going for plugin in one.plugins)
    able = [pair for pair in wanted if hasattr(registry.load(pair[1]), TAKE_BACK.name)]
    for order in range(3):
        now = [pair for pair in able if _order(registry.load(pair[1])) == order]
        problems |= await _each(engine, now)
    return problems


def _order(plugin: type[Plugin]) -> int:
    if Kind.FENCE in plugin.kinds:
        return 0
    return 2 if Kind.JOURNAL in plugin.kinds else 1


async def _each(engine: Engine, pairs: Iterable[tuple[str, str]]) -> dict[str, Result]:
    """All servers at once, one plugin after the other on each."""

    async def on(server: str, plugins: list[str]) -> dict[str, Result]:
        answers = {f"{server}, {plugin}": await _taken(engine, plugin, server) for plugin in plugins}
        return {where: answer for where, answer in answers.items() if answer.outcome is not Outcome.SUCCESS}

    by_server: dict[str, list[str]] = {}
    for server, plugin in pairs:
        by_server.setdefault(server, []).append(plugin)
    told = await asyncio.gather(*(on(server, plugins) for server, plugins in by_server.items()))
    return {where: answer for problems in told for where, answer in problems.items()}


async def _taken(engine: Engine, plugin: str, server: str) -> Result:
    failover = engine.settings.failover
    patience_s = max(failover.fence_timeout, failover.start_timeout)
    kind = next(iter(engine.caller.registry.load(plugin).kinds), Kind.EXTRA_COMMAND)
    return await engine.hands.use(kind, TAKE_BACK.name, name=plugin, servername=server, patience_s=patience_s)


async def _let_go(engine: Engine) -> dict[str, Result]:
    """What fences keep up is not kept up any more, save on a server that is left alone: it may be what holds a former master down."""
    problems: dict[str, Result] = {}
    for pair in engine.cluster.kept_up:
        member = engine.cluster.members.get(pair[1])
        if member is None or not member.server.enabled:
            continue
        result = await called(engine.hands, pair, "leave")
        if result.outcome is Outcome.SUCCESS:
            kept_up = tuple(one for one in engine.cluster.kept_up if one != pair)
            engine.state.update(dataclasses.replace(engine.cluster, kept_up=kept_up))
        else:
            problems[f"{pair[1]}, {pair[0]}"] = result
    return problems
