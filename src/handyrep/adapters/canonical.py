"""JSON that says the same for ever: how content becomes bytes and a checksum, and how strictly it is read back.

Must never repair anything: what does not match is damaged.
"""

import hashlib
import json
from typing import Any

_PLAIN = json.JSONEncoder(allow_nan=False)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


class DamagedError(ValueError):
    """Why a text is not what was written, as the end of a sentence."""


def plain(content: object) -> Any:
    """What reading it back will give: tuples become lists, keys become text. Raises TypeError, ValueError, RecursionError."""
    return json.loads(_PLAIN.encode(content))


def checksum(content: object) -> str:
    """SHA-256 over the canonical form of a plain value."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def strict_object(data: bytes) -> dict[str, Any]:
    """The JSON object in the bytes. Raises DamagedError: no UTF-8, no JSON, no object, NaN, or a key twice."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise DamagedError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DamagedError(f"it is not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise DamagedError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise DamagedError("it is not a JSON object")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DamagedError("it has a key twice")
    return made


def _no_constant(name: str) -> None:
    raise DamagedError(f"it holds {name}, which is no JSON")
