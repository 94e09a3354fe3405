"""The lines of handyrep.conf: which section each key stands in, on which line, with which raw value.

Owns finding every mistake of form, so that a broken line hides no other mistake and ConfigObj only ever sees single values that
are quoted well. Given whole files, ConfigObj mixes sections up after a repeated heading, needs exponential time for a long
list with an open quote, and shows the whole line (a password, maybe) in its messages. Must never interpret a value.
"""

import dataclasses
import re

from configobj import ConfigObj, ConfigObjError

from handyrep.config.findings import Findings, Place

_MOST_SECTIONS = 2000
_DEEPEST = 3
_LONGEST_VALUE = 2**16
_HEADING = re.compile(
    r"""(?P<open>\[[\[\s]*) (?P<name>"[^"]*"|'[^']*'|[^\]"']*) (?P<close>[\]\s]*) (?P<rest>.*)""", re.VERBOSE
)
_QUOTED_KEY = re.compile(r"""(?P<key>"[^"]*"|'[^']*') \s*=\s* (?P<value>.*)""", re.VERBOSE)
_COMMENT = re.compile(r"\s*(#.*)?")
_PART = re.compile(r"""\s* (?:"[^"]*"|'[^']*'|[^"',#\s][^,#]*) \s* (?P<end>,|\#|$)""", re.VERBOSE)
_TRIPLE = ("'''", '"""')


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One `key = value`. `text` is the value as written, without its comment. `said`: the name of 2014, if that was used."""

    number: int
    key: str
    text: str
    said: str = ""

    @property
    def value(self) -> str | tuple[str, ...]:
        """What ConfigObj makes of it. Raises ConfigObjError for what the outline should have refused."""
        parsed = ConfigObj(f"k = {self.text}".split("\n"), interpolation=False, list_values=True)
        value = parsed["k"]
        return value if isinstance(value, str) else tuple(str(part) for part in value)

    @property
    def origin(self) -> str:
        """Where its value comes from, for people."""
        return f"line {self.number}" + (f", as {self.said}" if self.said else "")


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
        self._never_closed: set[str] = set()
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
            self._problem("", "is followed by a heading that cannot be read", number)
            return
        opened, closed = match["open"].count("["), match["close"].count("]")
        depth = min(opened, len(self._here) + 1, _DEEPEST)
        self._here = (*self._here[: depth - 1], name)
        if opened != closed:
            self._problem("", f"is opened by {opened} '[' and closed by {closed} ']'", number)
        elif not _COMMENT.fullmatch(match["rest"]):
            self._problem("", "is followed by something on the line of its heading", number)
        elif depth != opened:
            self._problem("", f"stands {opened} '[' deep without a section around it", number)
        self._begin(number)

    def _begin(self, number: int) -> None:
        if self._here in self.sections:
            first = self.sections[self._here].number
            self._problem("", f"stands twice, first on line {first}: join the two", number)
        elif len(self.sections) > _MOST_SECTIONS:
            self._problem("", f"is one of more than {_MOST_SECTIONS} sections", number)
        else:
            self.sections[self._here] = Section(number, {})

    def _key(self, line: str, number: int) -> int:
        """Take a key; returns the number of the last line that belongs to it."""
        key, raw = _split(line)
        if not key:
            self._problem(self._first_word(line), "is neither [section] nor key = value nor # comment", number)
            return number
        last = number
        text: str | None
        if raw.startswith(_TRIPLE):
            text, last = self._long_value(raw, number)
        else:
            text = _one_line(raw)
        self._take(key, text, number)
        if text and text[-1] not in "'\"" and raw[len(text) :].startswith("#"):
            self._findings.warning(self._here, key, "ends where '#' begins a comment; quote it if it does not", number)
        return last

    def _long_value(self, raw: str, number: int) -> tuple[str | None, int]:
        """A value in triple quotes and the number of its last line; no value when it does not end well.

        Then the lines that follow are read as lines of their own, so that their mistakes are named too.
        """
        quote = raw[:3]
        if quote in raw[3:]:
            return _closed(raw[3:], quote), number
        if quote not in self._never_closed:
            for last in range(number + 1, len(self._lines) + 1):
                if quote in self._lines[last - 1]:
                    text = _closed("\n".join([raw[3:], *self._lines[number:last]]), quote)
                    return text, number if text is None else last
            self._never_closed.add(quote)
        return None, number

    def _take(self, key: str, text: str | None, number: int) -> None:
        section = self.sections.get(self._here)
        if section is None:
            return
        if key in section.lines:
            self._problem(key, f"stands twice, first on line {section.lines[key].number}", number)
        elif text is None:
            self._problem(key, "has a value whose quotes or commas do not fit together", number)
        elif len(text) > _LONGEST_VALUE:
            self._problem(key, f"has a value of more than {_LONGEST_VALUE} characters", number)
            text = ""
        section.lines.setdefault(key, Line(number, key, text or ""))

    def _first_word(self, line: str) -> str:
        """The beginning of a broken line, where that cannot be a part of a password."""
        return "" if self._here[:1] in {("passwords",), ("plugins",)} else line.split(maxsplit=1)[0]

    def _problem(self, key: str, what: str, number: int) -> None:
        self._findings.problem(self._here, key, what, number)


def readable(line: Line, place: Place, findings: Findings) -> str | tuple[str, ...] | None:
    """The value of a line; None, and a finding, where ConfigObj refuses it."""
    try:
        return line.value
    except ConfigObjError:
        findings.problem(place, line.key, "has a value that cannot be read", line.number)
        return None


def _split(line: str) -> tuple[str, str]:
    """Key and raw value; an empty key when the line has none."""
    quoted = _QUOTED_KEY.fullmatch(line)
    if quoted is not None:
        return quoted["key"][1:-1], quoted["value"]
    key, sign, raw = line.partition("=")
    return (key.strip(), raw.strip()) if sign and not key.startswith(("'", '"')) else ("", "")


def _closed(text: str, quote: str) -> str | None:
    inside, _, rest = text.partition(quote)
    return f"{quote}{inside}{quote}" if _COMMENT.fullmatch(rest) else None


def _one_line(raw: str) -> str | None:
    """The value without its comment; None when its quotes or commas do not fit together."""
    if raw.startswith(",") and _COMMENT.fullmatch(raw, 1):
        return ","
    at = 0
    while not _COMMENT.fullmatch(raw, at):
        part = _PART.match(raw, at)
        if part is None:
            return None
        at = part.start("end")
        if part["end"] != ",":
            break
        at = part.end()
    return raw[:at].strip()
