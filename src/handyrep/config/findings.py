"""What a reading of handyrep.conf found: mistakes and warnings, each with its place, in the order of the lines.

Owns how a finding is worded and bounded. Must never be given the value of a password.
"""

import dataclasses
import difflib
from collections.abc import Iterable

Place = tuple[str, ...]
"""A section: () is the top, ("failover",) is [failover], ("servers", "m1") is [servers] [[m1]]."""

_MOST = 200
_LONGEST_NAME = 80
_LONGEST = 600


@dataclasses.dataclass(frozen=True, slots=True)
class _Finding:
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class Findings:
    """Collects mistakes and warnings. After 200 of a kind, further ones are not kept."""

    def __init__(self) -> None:
        self._problems: list[_Finding] = []
        self._warnings: list[_Finding] = []
        self._left_out = 0

    def problem(self, place: Place, key: str, what: str, line: int | None, known: Iterable[str] = ()) -> None:
        """A mistake. `what` completes the sentence that begins with the place; `known`: names that could be meant."""
        if len(self._problems) < _MOST:
            sentence = _worded(place, key, what) + hint(key or "".join(place[-1:]), known)
            self._problems.append(_Finding(line, sentence))
        else:
            self._left_out += 1

    def warning(self, place: Place, key: str, what: str, line: int | None) -> None:
        """Something that is taken, but that a person should know of."""
        if len(self._warnings) < _MOST:
            self._warnings.append(_Finding(line, _worded(place, key, what)))

    @property
    def problems(self) -> tuple[str, ...]:
        """Every mistake as one sentence, first lines first."""
        more = (f"and {self._left_out} more, not listed",) if self._left_out else ()
        return (*_sorted(self._problems), *more)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning as one sentence, first lines first."""
        return _sorted(self._warnings)


def _worded(place: Place, key: str, what: str) -> str:
    *headings, name = (part[:_LONGEST_NAME] for part in (*place, key))
    return printable(" ".join(part for part in (*shown_place(tuple(headings)), name, what) if part))


def shown_place(place: Place) -> tuple[str, ...]:
    """The headings that lead to a place: [servers] [[m1]]."""
    return tuple("[" * depth + name + "]" * depth for depth, name in enumerate(place, 1))


def printable(text: str) -> str:
    """The text on one line of bounded length, with what no terminal should get written as its code."""
    shown = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one; '' when none is."""
    near = difflib.get_close_matches(name.lower()[:100], list(known), n=1, cutoff=0.6)
    return near[0] if near else ""


def hint(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?', or ''."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def _sorted(findings: list[_Finding]) -> tuple[str, ...]:
    return tuple(str(finding) for finding in sorted(findings, key=lambda one: one.line or 10**9))
