"""The effective configuration for people: every value, where it came from, secrets hidden."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from handyrep.config.settings import Settings
from handyrep.directives import Secret, directives_of


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """One value as text, never a secret."""

    section: str
    key: str
    value: str
    origin: str


def rows(settings: Settings, origins: Mapping[tuple[str, str], str]) -> list[Shown]:
    """Every effective value in the order of the sections."""
    return list(_rows(settings, origins))


def _rows(settings: Settings, origins: Mapping[tuple[str, str], str]) -> Iterator[Shown]:
    for section in ("handyrep", "passwords", "failover", "archive"):
        yield from _of(section, getattr(settings, section), origins)
    for command in settings.extra_failover_commands:
        yield from _of(f"extra_failover_commands.{command.name}", command, origins)
    for server in settings.servers:
        yield from _of(f"servers.{server.name}", server, origins)
    for name, options in settings.plugins.items():
        for key, value in options.items():
            hidden = any(word in key.lower() for word in ("pass", "secret", "token", "key"))
            yield Shown(f"plugins.{name}", key, "***" if hidden else _text(value), "file")


def _of(section: str, values: Any, origins: Mapping[tuple[str, str], str]) -> Iterator[Shown]:  # noqa: ANN401 - one of our settings classes
    for key in directives_of(type(values)):
        value = getattr(values, key)
        yield Shown(section, key, _text(value), origins.get((section, key), "default"))


def _text(value: object) -> str:
    if isinstance(value, Secret):
        return "***"
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
