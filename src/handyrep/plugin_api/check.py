"""Checks the plugins that a configuration names: they exist, fit their directive, and their options are right."""

import difflib
import inspect
from collections.abc import Iterator

from handyrep.config.settings import Settings
from handyrep.errors import PluginError
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.options import read_options
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry

Use = tuple[str, Kind, str]
"""(where it is named, the kind wanted there, the plugin's name)"""


def uses(settings: Settings) -> Iterator[Use]:
    """Every plugin that the configuration names, and where. Blank directives name none."""
    for section in ("handyrep", "failover", "archive"):
        values = getattr(settings, section)
        for contract in KINDS.values():
            named = getattr(values, contract.directive, "")
            for name in named if isinstance(named, tuple) else (named,):
                if name:
                    yield f"[{section}] {contract.directive}", contract.kind, name
    for server in settings.servers:
        for kind in (Kind.RESTART, Kind.PROMOTION, Kind.CLONE) if server.is_postgres else ():
            name = getattr(server, KINDS[kind].directive)
            if name:
                yield f"[servers] [[{server.name}]] {KINDS[kind].directive}", kind, name
    for command in settings.extra_failover_commands:
        yield f"[extra_failover_commands] [[{command.name}]] command", Kind.EXTRA_COMMAND, command.command


def _parameters(settings: Settings, where: str, kind: Kind) -> int:
    """How many parameters the configuration gives it."""
    if kind is Kind.MASTER_CHECK:
        return len(settings.handyrep.master_check_parameters)
    given = [c.parameters for c in settings.extra_failover_commands if where.endswith(f"[[{c.name}]] command")]
    return len(given[0]) if given else 0


def _takes(plugin: type[Plugin], count: int) -> bool:
    run = getattr(plugin, "run", None)
    try:
        return run is not None and inspect.signature(run).bind(plugin, *range(count)) is not None
    except TypeError:
        return False


def check_plugins(settings: Settings, registry: Registry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(problems, warnings), each a sentence. Any problem must stop the start."""
    problems: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for where, kind, name in uses(settings):
        try:
            plugin = registry.load(name)
        except PluginError as error:
            near = difflib.get_close_matches(name, registry.names(), n=1)
            problems[f"{where} = {name}: {error}" + (f"; did you mean {near[0]}?" if near else "")] = None
            continue
        if plugin.kinds and kind not in plugin.kinds:
            meant = ", ".join(KINDS[k].directive for k in plugin.kinds)
            problems[f"{where} = {name}: that plugin is for {meant}"] = None
        count = _parameters(settings, where, kind)
        if count and not _takes(plugin, count):
            problems[f"{where} = {name}: that plugin does not take {count} parameter{'s'[: count - 1]}"] = None
        _, wrong, odd = read_options(plugin, settings.plugins.get(name, {}))
        problems |= dict.fromkeys(wrong)
        warnings |= dict.fromkeys(odd)
    for name in settings.plugins:
        if name not in registry.names():
            near = difflib.get_close_matches(name, registry.names(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings[f"[plugins] [[{name}]] is for a plugin that does not exist{hint}"] = None
    return tuple(problems), tuple(warnings)
