"""A verdict as it is kept: when it came, how often, and what it was judged from."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from handyrep.model.verdict import Verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A verdict under its `number`. It came first at `at`, and `times` times in a row up to `last_at`.

    `inputs`: the record of the situation at its first time, as decide/recorded.py makes it; None when it could not be kept.
    """

    number: int
    at: dt.datetime
    last_at: dt.datetime
    times: int
    verdict: Verdict
    inputs: Mapping[str, Any] | None
