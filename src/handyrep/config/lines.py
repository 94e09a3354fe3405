"""The lines of handyrep.conf: which section each key stands in, on which line, with which raw value.

Owns finding every mistake of form, so that a broken line hides no other mistake and ConfigObj only ever sees values that are
quoted well: it stops telling sections apart after a repeated heading, needs exponential time for a long list with an open
quote, and shows the whole line (a password, maybe) in its messages. Must never interpret a value.
"""

import dataclasses
import re

from handyrep.config.findings import Findings, Place

_MOST_SECTIONS = 2000
_DEEPEST = 3
_NAME = r"\"[^\"]*\"|'[^']*'"
_HEADING = re.compile(rf"(?P<open>\[[\[\s]*)(?P<name>{_NAME}|[^\]\"']*)(?P<close>[\]\s]*)(?P<rest>.*)")
_KEY = re.compile(rf"(?P<key>{_NAME}|[^'\"=\s][^=]*?)\s*=\s*(?P<value>.*)")
_PART = re.compile(r"\s*(?:(?P<quoted>\"[^\"]*\"|'[^']*')|(?P<bare>[^\"',#\s][^,#]*))\s*(?P<end>,|#.*|$)")
_TRIPLE = ("'''", '"""')


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One `key = value`. `value` is as it was written, without its comment."""

    number: int
    key: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One section: the line of its heading (0 for the top, before any heading) and its keys."""

    number: int
    lines: dict[str, Line]


class Outline:
    """The sections of a text by their place. Whatever is wrong with the form goes to `findings`."""

    def __init__(self, text: str, findings: Findings) -> None:
        self.sections: dict[Place, Section] = {(): Section(0, {})}
        self._lines = re.split(r"\r\n|\n|\r", text)
        self._findings = findings
        self._here: Place = ()
        self._read()

    def _read(self) -> None:
        number = 0
        while number < len(self._lines):
            number += 1
            line = self._lines[number - 1].strip()
            if line.startswith("["):
                self._heading(line, number)
            elif line and not line.startswith("#"):
                number = self._key(line, number)

    def _heading(self, line: str, number: int) -> None:
        match = _HEADING.fullmatch(line)
        name = match["name"].strip().strip("'\"") if match else ""
        if match is None or not name:
            self._problem("", "is a heading without a name", number)
            return
        opened, closed = match["open"].count("["), match["close"].count("]")
        depth = min(opened, len(self._here) + 1, _DEEPEST)
        self._here = (*self._here[: depth - 1], name)
        if opened != closed or not re.fullmatch(r"\s*(#.*)?", match["rest"]):
            self._problem("", f"is a heading with {opened} '[', {closed} ']' and nothing after them expected", number)
        elif depth != opened:
            self._problem("", f"stands {opened} '[' deep without a section around it", number)
        self._begin(number)

    def _begin(self, number: int) -> None:
        if self._here in self.sections:
            first = self.sections[self._here].number
            self._problem("", f"stands twice, first on line {first}: join the two", number)
        elif len(self.sections) >= _MOST_SECTIONS:
            self._problem("", f"is one of more than {_MOST_SECTIONS} sections: that is no handyrep.conf", number)
        else:
            self.sections[self._here] = Section(number, {})

    def _key(self, line: str, number: int) -> int:
        """Take a key; returns the number of the last line that belongs to it."""
        match = _KEY.fullmatch(line)
        if match is None:
            word = re.split(r"[\s=]", line, maxsplit=1)[0] if self._here != ("passwords",) else ""
            self._problem(word, "is neither [section] nor key = value nor # comment", number)
            return number
        key = match["key"].strip("'\"")
        if match["value"].startswith(_TRIPLE):
            value, last = self._long_value(match["value"], number)
        else:
            value, last = _one_line(match["value"]), number
        self._take(key, value, number)
        return last

    def _long_value(self, value: str, number: int) -> tuple[str | None, int]:
        """A value in triple quotes and the number of its last line; no value when it does not end well."""
        quote, begun = value[:3], value[3:]
        for last in range(number, len(self._lines) + 1):
            part = begun if last == number else self._lines[last - 1]
            if quote in part:
                rest = part.partition(quote)[2]
                good = re.fullmatch(r"\s*(#.*)?", rest) is not None
                inside = [begun, *self._lines[number:last]] if last > number else [begun]
                text = "\n".join([*inside[:-1], inside[-1].partition(quote)[0]])
                return (f"{quote}{text}{quote}" if good else None), last
        return None, len(self._lines)

    def _take(self, key: str, value: str | None, number: int) -> None:
        section = self.sections.get(self._here)
        if section is None:
            return
        if key in section.lines:
            self._problem(key, f"stands twice, first on line {section.lines[key].number}", number)
        elif value is None:
            self._problem(key, "has a value whose quotes or commas do not fit together", number)
        section.lines.setdefault(key, Line(number, key, "" if value is None else value))
        if value is not None and _swallows(self._lines[number - 1], value):
            self._findings.warning(self._here, key, "ends at the '#', since what follows is a comment; quote it", number)

    def _problem(self, key: str, what: str, number: int) -> None:
        self._findings.problem(self._here, key, what, number)


def _one_line(text: str) -> str | None:
    """The value without its comment; None when its quotes or commas are not balanced."""
    text = text.strip()
    at = 0
    while at < len(text):
        if text[at] == "#":
            return text[:at].strip()
        match = _PART.match(text, at)
        if match is None:
            return "," if re.fullmatch(r",\s*(#.*)?", text) else None
        at = match.start("end")
        if match["end"] != ",":
            return text[:at].strip()
        at = match.end("end") + len(text[match.end("end") :]) - len(text[match.end("end") :].lstrip())
    return text


def _swallows(line: str, value: str) -> bool:
    """Whether an unquoted value is followed by '#' at once: `secret#1` would be read as `secret`."""
    return bool(value) and value[-1] not in "'\"," and f"{value}#" in line
