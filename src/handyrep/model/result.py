"""The result of a plugin or an operation, and the return dictionary (RD) made from it.

Owns the one place where an RD is made and where a foreign RD is understood. A result cannot be tested for truth.
"""

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.model.answer import Outcome, _NoTruth

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
RD = dict[str, Any]
"""The return dictionary: plain JSON with `result` ("SUCCESS" or "FAIL") and `details`, plus what is documented."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})


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
        rd: RD = {"result": "SUCCESS" if self.outcome is Outcome.SUCCESS else "FAIL", "details": self.details}
        if self.outcome is Outcome.UNCERTAIN:
            rd["uncertain"] = True
        extra: RD = json.loads(json.dumps(dict(self.extra)))
        return rd | extra


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
    if isinstance(returned, Result):
        returned = returned.as_rd()
    if not isinstance(returned, dict):
        raise MalformedResultError(f"returned {_shown(returned)} instead of a return dictionary")
    word = returned.get("result")
    if word not in ("SUCCESS", "FAIL"):
        raise MalformedResultError(f"returned a dictionary whose 'result' is {_shown(word)}, not 'SUCCESS' or 'FAIL'")
    try:
        plain = json.loads(json.dumps(returned, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedResultError(f"returned a dictionary that is not plain JSON ({error})") from None
    details = plain.pop("details", "")
    if not isinstance(details, str):
        raise MalformedResultError(f"returned 'details' that are not text but {_shown(details)}")
    plain.pop("result")
    outcome = Outcome(word)
    if plain.pop("uncertain", False) is True and outcome is Outcome.FAIL:
        outcome = Outcome.UNCERTAIN
    return Result(outcome, details, MappingProxyType(plain))


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a plugin's object may do anything in its __repr__
        text = "something that cannot be shown"
    return f"{type(value).__name__} {text[:80]}"
