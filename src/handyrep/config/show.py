"""The effective configuration for people: every value, where it came from, secrets hidden. Rows as data, no layout."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from handyrep.config.assemble import Origins
from handyrep.config.settings import Settings
from handyrep.directives import Secret, directives_of

_HIDDEN = "***"
_SECRET_NAME = re.compile(r"pass(?!file|ive)|pwd|secret|token|credential|(?:^|_)key$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(pass(word|wd|phrase)?|pwd|secret|token)\s*=|://[^/\s]*:[^/\s]*@", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """One value as text, never a secret."""

    section: str
    key: str
    value: str
    origin: str


def rows(settings: Settings, origins: Origins) -> list[Shown]:
    """Every effective value in the order of the sections; each text would be read as that value again, save secrets."""
    return list(_rows(settings, origins))


def _rows(settings: Settings, origins: Origins) -> Iterator[Shown]:
    for section in ("handyrep", "passwords", "failover", "archive"):
        yield from _of(section, getattr(settings, section), origins)
    for command in settings.extra_failover_commands:
        yield from _of(f"extra_failover_commands.{command.name}", command, origins)
    for server in settings.servers:
        yield from _of(f"servers.{server.name}", server, origins)
    for name, options in settings.plugins.items():
        for key, value in options.items():
            yield Shown(f"plugins.{name}", key, _option(key, value), origins.get((f"plugins.{name}", key), "file"))


def _of(section: str, values: Any, origins: Origins) -> Iterator[Shown]:
    for key, directive in directives_of(type(values)).items():
        yield Shown(
            section, key, _text(directive.type.show, getattr(values, key)), origins.get((section, key), "default")
        )


def _text(show: Any, value: object) -> str:
    if isinstance(value, Secret):
        return _HIDDEN
    return "" if value is None else str(show(value))


def _option(key: str, value: str | tuple[str, ...]) -> str:
    """A plugin's option. Only the plugin knows which of them are secret, so whatever looks like one is hidden."""
    shown = value if isinstance(value, str) else ", ".join(value)
    return _HIDDEN if shown and (_SECRET_NAME.search(key) or _SECRET_VALUE.search(shown)) else shown
