"""Puts the values of the sections together with every default, and remembers where each effective value came from.

Owns the order in which defaults win: a server's own line, [server_defaults], the profile, HandyRep's default.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.config.findings import Place
from handyrep.config.profiles import PROFILES
from handyrep.config.settings import (
    ArchiveSettings,
    ExtraCommand,
    FailoverSettings,
    HandyrepSettings,
    PasswordSettings,
    Settings,
)
from handyrep.config.values import Values
from handyrep.directives import directives_of
from handyrep.model.server import Server, ServerDefaults

Origins = Mapping[tuple[str, str], str]
"""Where a value came from, by (section, key); a subsection is written 'servers.NAME'."""

DEFAULT = "default"


class Assembly:
    """`settings` with every default filled in, and their `origins`. Always made, even from values that contradict."""

    def __init__(self, values: Values, source: str) -> None:
        self._values = values
        self._origins: dict[tuple[str, str], str] = {}
        self._note(("server_defaults",), ServerDefaults, {})
        self.settings = Settings(
            source=source,
            handyrep=HandyrepSettings(**self._section("handyrep", HandyrepSettings)),
            passwords=PasswordSettings(**self._section("passwords", PasswordSettings)),
            failover=FailoverSettings(**self._section("failover", FailoverSettings, self._profile())),
            archive=ArchiveSettings(**self._section("archive", ArchiveSettings)),
            extra_failover_commands=tuple(self._command(name) for name in values.names_in("extra_failover_commands")),
            servers=tuple(self._server(name) for name in values.names_in("servers")),
            plugins=MappingProxyType({name: self._plugin(name) for name in values.names_in("plugins")}),
        )
        self.origins: Origins = MappingProxyType(self._origins)

    def _profile(self) -> dict[str, tuple[Any, str]]:
        name = self._values.of("handyrep").get("profile", HandyrepSettings().profile)
        return {key: (value, f"profile {name}") for key, value in dataclasses.asdict(PROFILES[name]).items()}

    def _section(
        self, name: str, declared: type, defaults: Mapping[str, tuple[Any, str]] = MappingProxyType({})
    ) -> dict[str, Any]:
        self._note((name,), declared, {key: origin for key, (_, origin) in defaults.items()})
        return {**{key: value for key, (value, _) in defaults.items()}, **self._values.of(name)}

    def _command(self, name: str) -> ExtraCommand:
        self._note(("extra_failover_commands", name), ExtraCommand, {})
        return ExtraCommand(name=name, **self._values.of("extra_failover_commands", name))

    def _server(self, name: str) -> Server:
        shared = self._values.of("server_defaults")
        origins = {key: f"server_defaults, {self._origins['server_defaults', key]}" for key in shared}
        self._note(("servers", name), Server, origins)
        return Server(name=name, **{**shared, **self._values.of("servers", name)})

    def _plugin(self, name: str) -> Mapping[str, str | tuple[str, ...]]:
        options = self._values.of("plugins", name)
        for key in options:
            self._origins[f"plugins.{name}", key] = self._origin(("plugins", name), key, DEFAULT)
        return MappingProxyType(dict(options))

    def _note(self, place: Place, declared: type, defaults: Mapping[str, str]) -> None:
        for key in directives_of(declared):
            self._origins[".".join(place), key] = self._origin(place, key, defaults.get(key, DEFAULT))

    def _origin(self, place: Place, key: str, default: str) -> str:
        line = self._values.given(place, key)
        return line.origin if line is not None else default
