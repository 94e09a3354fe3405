"""Reads handyrep.conf. Every mistake is found in one go and named with its section, key, line and what would be right."""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from configobj import ConfigObj, ConfigObjError

from handyrep.config import legacy
from handyrep.config.settings import (
    PROFILES,
    ArchiveSettings,
    ExtraCommand,
    FailoverSettings,
    HandyrepSettings,
    PasswordSettings,
    Settings,
)
from handyrep.directives import Directive, ValueProblem, directives_of
from handyrep.errors import ConfigurationError
from handyrep.model.server import Role, Server, ServerDefaults

MAX_BYTES = 1_000_000
SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "handyrep": HandyrepSettings,
        "passwords": PasswordSettings,
        "failover": FailoverSettings,
        "archive": ArchiveSettings,
        "server_defaults": ServerDefaults,
    }
)
SECTIONS_OF_SECTIONS: Mapping[str, type | None] = MappingProxyType(
    {"extra_failover_commands": ExtraCommand, "servers": Server, "plugins": None}
)
_SERVER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,62}")
Given = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """`settings` is None when there are problems. `origins`: where each effective value came from, by (section, key)."""

    settings: Settings | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    origins: Mapping[tuple[str, str], str]


def load(file: Path) -> Settings:
    """The settings of a file. Raises ConfigurationError with every mistake in it."""
    loaded = read(file)
    if loaded.settings is None:
        raise ConfigurationError(loaded.problems, source=str(file))
    return loaded.settings


def read(file: Path) -> Loaded:
    """The settings of a file, or every mistake in it. Never raises."""
    text, problem = _text_of(file)
    return Loaded(None, (problem,), (), {}) if problem else read_text(text, source=str(file))


def read_text(text: str, *, source: str = "") -> Loaded:
    """The same for a text."""
    problems: tuple[str, ...] = ()
    try:
        parsed = ConfigObj(text.splitlines(), list_values=True, interpolation=False, raise_errors=False, file_error=False)
    except ConfigObjError as error:
        problems = tuple(_syntax_problem(one) for one in (getattr(error, "errors", None) or [error]))
        parsed = getattr(error, "config", ConfigObj())
    loaded = _Reader(parsed, text, source).loaded()
    if not problems:
        return loaded
    return dataclasses.replace(loaded, settings=None, problems=(*problems, *loaded.problems))


def _text_of(file: Path) -> tuple[str, str]:
    try:
        if file.is_dir():
            return "", f"{file} is a folder, not a file"
        if file.stat().st_size > MAX_BYTES:
            return "", f"{file} is larger than {MAX_BYTES} bytes: that is no handyrep.conf"
        return file.read_bytes().decode("utf-8-sig"), ""
    except OSError as error:
        return "", f"{file} cannot be read: {error.strerror}"
    except (UnicodeDecodeError, ValueError) as error:
        return "", f"{file} is not UTF-8 text ({error})"


def _syntax_problem(error: Exception) -> str:
    """What is wrong with a line, without what stands in it after '=': it may be a password."""
    kind = type(error).__name__
    what = {
        "DuplicateError": "names a section or directive a second time",
        "NestingError": "has brackets that do not nest as [section] and [[subsection]]",
    }.get(kind, "is neither [section] nor directive = value, or has a quote that does not end")
    key, sign, _ = str(getattr(error, "line", "")).strip().partition("=")
    shown = f" ({key.strip()[:60]})" if sign or key.startswith("[") else ""
    return f"line {getattr(error, 'line_number', '?')} {what}{shown}"


class _Reader:
    """One reading: collects values, problems, warnings and origins on its way through the sections."""

    def __init__(self, parsed: ConfigObj, text: str, source: str) -> None:
        self._parsed: Given = legacy.modernized(parsed.dict(), warnings := [])
        self._lines = text.splitlines()
        self._source = source
        self._problems: list[str] = []
        self._warnings: list[str] = warnings
        self._origins: dict[tuple[str, str], str] = {}

    def loaded(self) -> Loaded:
        self._refuse_unknown_sections()
        handyrep = HandyrepSettings(**self._section("handyrep"))
        failover = self._with_profile(FailoverSettings(**self._section("failover")), handyrep.profile)
        settings = Settings(
            source=self._source,
            handyrep=handyrep,
            passwords=PasswordSettings(**self._section("passwords")),
            failover=failover,
            archive=ArchiveSettings(**self._section("archive")),
            extra_failover_commands=tuple(self._commands()),
            servers=tuple(self._servers()),
            plugins=self._plugins(),
        )
        self._problems += _contradictions(settings)
        kept = None if self._problems else settings
        return Loaded(kept, tuple(self._problems), tuple(self._warnings), MappingProxyType(self._origins))

    def _refuse_unknown_sections(self) -> None:
        known = [*SECTIONS, *SECTIONS_OF_SECTIONS]
        for name, value in self._parsed.items():
            if not isinstance(value, dict):
                self._problem("", name, "stands before the first [section]")
            elif name not in known:
                self._problem(name, "", f"is not a section{_nearest(name, known)}")

    def _section(self, name: str) -> dict[str, Any]:
        return self._values(name, f"[{name}]", self._given(name), directives_of(SECTIONS[name]))

    def _given(self, name: str) -> Given:
        value = self._parsed.get(name, {})
        return value if isinstance(value, dict) else {}

    def _values(self, section: str, shown: str, given: Given, known: Mapping[str, Directive[Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, text in given.items():
            if isinstance(text, dict):
                self._problem(section, key, f"is a subsection, and {shown} takes none")
            elif key not in known:
                self._problem(section, key, f"is not a directive of {shown}{_nearest(key, known)}")
            else:
                self._take(values, section, key, known[key], text)
        for key in known:
            self._origins.setdefault((section, key), "default")
        return values

    def _take(self, values: dict[str, Any], section: str, key: str, directive: Directive[Any], text: Any) -> None:  # noqa: ANN401, PLR0913 - configobj's value
        try:
            values[key] = directive.parse(text)
        except ValueProblem as problem:
            hidden = section == "passwords"
            self._problem(section, key, "is not a password that can be used" if hidden and "names" not in str(problem) else str(problem))
            return
        blank = isinstance(text, str) and not text.strip()
        line = self._line_of(section, key)
        self._origins[section, key] = "default" if blank else f"line {line}" if line else "file"

    def _with_profile(self, failover: FailoverSettings, profile: str) -> FailoverSettings:
        timings = {key: value for key, value in _timings(profile).items() if self._origins[("failover", key)] == "default"}
        for key in timings:
            self._origins["failover", key] = f"profile {profile}"
        return dataclasses.replace(failover, **timings)

    def _commands(self) -> list[ExtraCommand]:
        known = directives_of(ExtraCommand)
        commands = []
        for name, given in self._subsections("extra_failover_commands"):
            section = f"extra_failover_commands.{name}"
            values = self._values(section, f"[extra_failover_commands] [[{name}]]", given, known)
            if not values.get("command"):
                self._problem(section, "command", "is required: the plugin to run")
            commands.append(ExtraCommand(name=name, **values))
        return commands

    def _servers(self) -> list[Server]:
        defaults = self._section("server_defaults")
        known = directives_of(Server)
        servers = []
        for name, given in self._subsections("servers"):
            if not _SERVER_NAME.fullmatch(name):
                self._problem("servers", name, "is not a server's name: letters, digits, '_', '-' and '.', beginning with a letter")
            section = f"servers.{name}"
            values = self._values(section, f"[servers] [[{name}]]", given, known)
            if not values.get("hostname"):
                self._problem(section, "hostname", "is required: the name or address of the server")
            for key in defaults.keys() - values.keys():
                self._origins[section, key] = "server_defaults"
            servers.append(Server(name=name, **{**defaults, **values}))
        return servers

    def _plugins(self) -> Mapping[str, Mapping[str, str | list[str]]]:
        found: dict[str, Mapping[str, str | list[str]]] = {}
        for name, given in self._subsections("plugins"):
            nested = [key for key, value in given.items() if isinstance(value, dict)]
            for key in nested:
                self._problem(f"plugins.{name}", key, "is a subsection, and a plugin's section takes none")
            found[name] = MappingProxyType({key: value for key, value in given.items() if key not in nested})
        return MappingProxyType(found)

    def _subsections(self, section: str) -> list[tuple[str, Given]]:
        found = []
        for name, value in self._given(section).items():
            if isinstance(value, dict):
                found.append((name, value))
            else:
                self._problem(section, name, f"stands outside any [[subsection]] of [{section}]")
        return found

    def _problem(self, section: str, key: str, what: str) -> None:
        outer, _, inner = section.partition(".")
        where = " ".join(part for part in (f"[{outer}]" if outer else "", f"[[{inner}]]" if inner else "", key) if part)
        line = self._line_of(section, key)
        self._problems.append(f"{where} {what}" + (f" (line {line})" if line else ""))

    def _line_of(self, section: str, key: str) -> int | None:
        """Where the key stands, found by reading the text again: configobj tells lines only of what it cannot parse."""
        here: list[str] = []
        for number, line in enumerate(self._lines, 1):
            heading = re.fullmatch(r"\s*(\[+)\s*(.*?)\s*\]+\s*(?:#.*)?", line)
            if heading:
                depth, name = len(heading[1]), heading[2].strip("\"'")
                here = [*here[: depth - 1], name]
                if ".".join(here) == section and not key:
                    return number
            elif ".".join(here) == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return None


def _timings(profile: str) -> dict[str, Any]:
    return dataclasses.asdict(PROFILES[profile])


def _nearest(name: str, known: Any) -> str:  # noqa: ANN401 - any collection of names
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _contradictions(settings: Settings) -> list[str]:
    """What is wrong only when directives are seen together."""
    problems = []
    masters = [server.name for server in settings.servers if server.enabled and server.role == Role.MASTER]
    if not settings.servers:
        problems.append("[servers] names no server")
    elif len(masters) != 1:
        problems.append(f"[servers] {len(masters)} enabled servers have the role master instead of one ({', '.join(masters) or 'none'})")
    seen: dict[tuple[str, int], str] = {}
    for server in settings.servers:
        place = (server.hostname, server.port)
        if server.hostname and place in seen:
            problems.append(f"[servers] [[{server.name}]] has the same hostname and port as [[{seen[place]}]]")
        seen.setdefault(place, server.name)
        if server.is_postgres and not server.pgdata:
            problems.append(f"[servers] [[{server.name}]] pgdata is required for a PostgreSQL server")
    names = {server.name for server in settings.servers}
    archive = settings.archive.archive_server
    if archive and archive not in names:
        problems.append(f"[archive] archive_server names {archive!r}, which is not in [servers]{_nearest(archive, names)}")
    return problems
