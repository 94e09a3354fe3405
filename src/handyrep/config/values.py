"""The typed values of every section, as far as they can be taken; what cannot is a finding.

Owns which keys a section may have. Must never fill in a default, nor show the value of a password.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any

from handyrep.config.findings import Findings, Place, nearest, shown_place
from handyrep.config.lines import Line, Section, readable
from handyrep.config.settings import SECTIONS, SUBSECTIONS
from handyrep.directives import Directive, Secret, ValueProblem, directives_of
from handyrep.model.server import Server, ServerDefaults

SERVER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,62}")
_BAD_IN_OPTIONS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TOP = (*SECTIONS, *SUBSECTIONS)


class Values:
    """What the sections say, in the order of the file: typed values by directive, a plugin's options as text."""

    def __init__(self, sections: Mapping[Place, Section], findings: Findings) -> None:
        self._findings = findings
        self._by_place: dict[Place, dict[str, Any]] = {}
        self._given: dict[tuple[Place, str], Line] = {}
        self._headings: dict[Place, int] = {}
        self._written: dict[Place, Place] = {}
        for place, section in sections.items():
            self._read(place, section)
        self._require()

    def of(self, *place: str) -> Mapping[str, Any]:
        """The values that a section sets; those of no section are none."""
        return self._by_place.get(place, {})

    def names_in(self, section: str) -> tuple[str, ...]:
        """The [[names]] of a section, in the order of the file."""
        return tuple(place[1] for place in self._by_place if len(place) == 2 and place[0] == section)

    def given(self, place: Place, key: str) -> Line | None:
        """The line that sets a directive of this section; None when it is left to a default."""
        return self._given.get((place, key)) if key in self.of(*place) else None

    def line_of(self, place: Place, key: str) -> int | None:
        """The number of the line where a directive stands, or else of the heading."""
        line = self._given.get((place, key))
        return line.number if line is not None else self._headings.get(place)

    def as_written(self, place: Place) -> Place:
        """The section as the file spells it."""
        return self._written.get(place, place)

    @property
    def holds_passwords(self) -> bool:
        """Whether a password itself stands in the file, not only where to find it."""
        lines = (
            self.given(("passwords",), key) for key, value in self.of("passwords").items() if isinstance(value, Secret)
        )
        return any(line is not None and not line.text.strip("'\"").startswith(("env:", "file:")) for line in lines)

    def _read(self, place: Place, section: Section) -> None:
        meant = _meant(place)
        kind = _kind(meant)
        self._headings.setdefault(meant, section.number)
        self._written.setdefault(meant, place)
        self._check_heading(place, kind, section.number)
        taken, known = self._by_place.setdefault(meant, {}), _known(meant)
        for line in section.lines.values():
            self._given.setdefault((meant, line.key), line)
            if kind is _Kind.PLUGIN:
                self._take_option(taken, place, line)
            elif line.key in known:
                self._take(taken, place, line, known[line.key])
            elif kind is not _Kind.NOWHERE:
                self._unknown(place, kind, line, known)

    def _check_heading(self, place: Place, kind: "_Kind", number: int) -> None:
        if len(place) == 1 and place[0] not in _TOP:
            self._findings.problem(place, "", "is not a section", number, _TOP)
        elif kind is _Kind.NOWHERE and _meant(place)[0] in _TOP:
            what = f"is a subsection, and {' '.join(shown_place(place[:-1]))} takes none"
            self._findings.problem(place, "", what, number, _TOP)
        elif kind is _Kind.ITEM and _meant(place)[0] == "servers" and not SERVER_NAME.fullmatch(place[1]):
            what = "is not a server's name: at most 63 letters, digits, '_', '-' and '.', not beginning with '-' or '.'"
            self._findings.problem(place, "", what, number)

    def _take(self, taken: dict[str, Any], place: Place, line: Line, directive: Directive[Any]) -> None:
        value = readable(line, place, self._findings)
        if value is None or (isinstance(value, str) and not value.strip()):
            return
        if isinstance(value, str) and "," in value and directive.type.parse_list is not None:
            value = (value,)  # it was quoted, or ConfigObj had split it
        try:
            taken.setdefault(line.key, directive.parse(value))
        except ValueProblem as problem:
            self._findings.problem(place, line.key, str(problem), line.number)

    def _take_option(self, taken: dict[str, Any], place: Place, line: Line) -> None:
        value = readable(line, place, self._findings)
        if value is None:
            return
        if _BAD_IN_OPTIONS.search(line.text):
            self._findings.problem(place, line.key, "must not contain control characters", line.number)
        else:
            taken[line.key] = value

    def _unknown(self, place: Place, kind: "_Kind", line: Line, known: Mapping[str, Directive[Any]]) -> None:
        elsewhere = _homes(line.key)
        if elsewhere:
            self._findings.problem(place, line.key, f"{kind.value}; it belongs in {elsewhere}", line.number)
        else:
            self._findings.problem(place, line.key, kind.value, line.number, known)

    def _require(self) -> None:
        for place, values in self._by_place.items():
            for key, what in _required(place, values, self.of("server_defaults")):
                if (place, key) not in self._given or not self._given[place, key].text.strip("'\""):
                    self._findings.problem(
                        self.as_written(place), key, f"is required: {what}", self.line_of(place, key)
                    )


class _Kind(enum.Enum):
    """What may stand in a section, by what is said of a key that may not."""

    TOP = "stands before the first [section]"
    FLAT = "is not a directive of this section"
    HOLDER = "stands outside any [[name]] of this section"
    ITEM = "is not a directive of such a subsection"
    PLUGIN = "cannot be unknown: a plugin's section may hold anything"
    NOWHERE = "stands in a section that does not exist"


def _kind(place: Place) -> _Kind:
    match place:
        case ():
            return _Kind.TOP
        case (name,) if name in SECTIONS:
            return _Kind.FLAT
        case (name,) if name in SUBSECTIONS:
            return _Kind.HOLDER
        case ("plugins", _):
            return _Kind.PLUGIN
        case (name, _) if name in SUBSECTIONS:
            return _Kind.ITEM
    return _Kind.NOWHERE


def _meant(place: Place) -> Place:
    """The place itself, or the section that a misspelt one must have been, so that its keys are checked all the same."""
    guess = nearest(place[0], _TOP) if place and place[0] not in _TOP else ""
    return (guess, *place[1:]) if guess else place


def _known(place: Place) -> Mapping[str, Directive[Any]]:
    """The directives that may stand in a section."""
    declared = {_Kind.FLAT: SECTIONS, _Kind.ITEM: SUBSECTIONS}.get(_kind(place), {}).get("".join(place[:1]))
    return directives_of(declared) if declared is not None else {}


def _required(place: Place, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what it is) of the directives that this section must set and does not."""
    if place[:1] == ("extra_failover_commands",) and place[1:] and "command" not in values:
        return [("command", "the plugin to run")]
    if place[:1] != ("servers",) or not place[1:]:
        return []
    missing = [] if "hostname" in values else [("hostname", "the name or address of the server")]
    is_postgres = values.get("role", "replica") in {"master", "replica"}
    if is_postgres and not (values.get("pgdata") or defaults.get("pgdata")):
        missing.append(("pgdata", "the data directory of a PostgreSQL server"))
    return missing


def _homes(key: str) -> str:
    """The sections where such a directive would be right, for people."""
    flat = [
        f"[{name}]"
        for name, declared in SECTIONS.items()
        if declared is not ServerDefaults and key in directives_of(declared)
    ]
    if key in directives_of(Server):
        flat.append("[servers] [[name]]" + (" or [server_defaults]" if key in directives_of(ServerDefaults) else ""))
    return " or ".join(flat)
