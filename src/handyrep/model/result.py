"""The result of a plugin or an operation, and the return dictionary (RD) made from it.

Owns the one place where an RD is made and where a foreign RD is understood. A result cannot be tested for truth.
"""

import dataclasses
import itertools
import json
import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.model.answer import Outcome, _NoTruth

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
RD = dict[str, Any]
"""The return dictionary: plain JSON with `result` ("SUCCESS" or "FAIL") and `details`, plus what is documented."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})


MAX_CHARACTERS = 1_000_000
"""The largest result: characters of all texts, and one for each value."""


class MalformedResultError(ValueError):
    """What a plugin returned is no result; the text says what it was."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result(_NoTruth):
    """`outcome`, a sentence for people, and extra keys (plain JSON)."""

    outcome: Outcome
    details: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _EMPTY)

    def as_rd(self) -> RD:
        """The plain dictionary for the surfaces. UNCERTAIN is a FAIL that says so in `uncertain`."""
        extra: RD = json.loads(json.dumps(dict(self.extra)))
        return extra | _head(self)


def _head(result: Result) -> RD:
    """The keys that nothing else in an RD may replace."""
    head: RD = {"result": "SUCCESS" if result.outcome is Outcome.SUCCESS else "FAIL", "details": result.details}
    return {**head, "uncertain": True} if result.outcome is Outcome.UNCERTAIN else head


def success(details: str = "", **extra: object) -> Result:
    """It was done, or it is so."""
    return Result(Outcome.SUCCESS, details, MappingProxyType(extra))


def fail(details: str, **extra: object) -> Result:
    """It was certainly not done, or (from something that only looks) it is not known to be so."""
    return Result(Outcome.FAIL, details, MappingProxyType(extra))


def uncertain(details: str, **extra: object) -> Result:
    """It was sent; whether it happened is not known. Look."""
    return Result(Outcome.UNCERTAIN, details, MappingProxyType(extra))


def parse_rd(returned: object) -> Result:
    """A Result from what a plugin returned: a Result, or a plain RD. Raises MalformedResultError for anything else."""
    rd = _plain(_dictionary(returned))
    word, details = rd.pop("result", None), rd.pop("details", "")
    if word not in ("SUCCESS", "FAIL"):
        raise MalformedResultError(f"returned a dictionary whose 'result' is {_shown(word)}, not 'SUCCESS' or 'FAIL'")
    if not isinstance(details, str):
        raise MalformedResultError(f"returned 'details' that are not text but {_shown(details)}")
    outcome = Outcome(word)
    if rd.pop("uncertain", False) is True and outcome is Outcome.FAIL:
        outcome = Outcome.UNCERTAIN
    return Result(outcome, details, MappingProxyType(rd))


def _dictionary(returned: object) -> RD:
    if isinstance(returned, Result):
        outcome: object = returned.outcome
        extra: object = returned.extra
        if isinstance(outcome, Outcome) and isinstance(extra, Mapping):
            return {**extra, **_head(returned)}
    if not isinstance(returned, dict):
        raise MalformedResultError(f"returned {_shown(returned)} instead of a return dictionary")
    return returned


def _plain(rd: RD) -> RD:
    """The same as plain JSON, of bounded size, with nothing in it that cannot be written as UTF-8."""
    _refuse_too_large(rd)
    try:
        text = json.dumps(rd, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedResultError(f"returned a dictionary that is not plain JSON ({error})") from None
    plain: RD = json.loads(text.encode("utf-8", "replace"))
    return plain


def _refuse_too_large(rd: RD) -> None:
    """Counted before it is made into text: json holds up the whole process while it works."""
    left = MAX_CHARACTERS
    waiting: list[object] = [rd]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(itertools.islice(itertools.chain.from_iterable(value.items()), left + 1))
        elif isinstance(value, list | tuple):
            waiting.extend(itertools.islice(value, left + 1))
        left -= 1 + (len(value) if isinstance(value, str) else 0)
        if left < 0 or len(waiting) > left:
            raise MalformedResultError("returned a dictionary that is endless or far too large")


def _shown(value: object) -> str:
    try:
        text = reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a plugin's object may do anything in its __repr__
        text = "something that cannot be shown"
    return f"{type(value).__name__} {text[:80]}"
