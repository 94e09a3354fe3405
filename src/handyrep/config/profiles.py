"""The profiles: how quickly a lost master is noticed, and how long an interruption must last to count.

Owns the timings of each profile and what they promise. Must never decide what happens after a master is suspected.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.directives import interval_text

_STALLED_AFTER_S = 20.0
_STALLED_WINDOWS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """The four directives that a profile sets: times in seconds, `fail_retries` a count."""

    poll_interval: float
    fail_retries: int
    fail_retry_interval: float
    call_timeout: float

    @property
    def detection_window_s(self) -> float:
        """An interruption shorter than this never causes a failover: at least one of the looks falls outside it."""
        return self.fail_retries * self.fail_retry_interval

    @property
    def dead_within_s(self) -> float:
        """A master that was lost at the worst moment, and of which its own host says that it does not run, is suspected by then."""
        return self.poll_interval + min(self.fail_retries, 1) * self.fail_retry_interval

    @property
    def refused_within_s(self) -> float:
        """The same for one whose host refuses connections and says nothing."""
        return self.poll_interval + self.detection_window_s

    @property
    def silent_within_s(self) -> float:
        """The same for a host that does not answer at all, so that each look lasts its whole call_timeout."""
        last_s = self.call_timeout if self.fail_retries > 1 else 0.0
        return self.poll_interval + max(self.detection_window_s, self.call_timeout) + last_s

    @property
    def stalled_after_s(self) -> float:
        """Writes that hang for less are a slow disk: far longer than a lost master takes to be noticed, whatever the profile."""
        return max(_STALLED_AFTER_S, self.silent_within_s * _STALLED_WINDOWS)

    @property
    def sentence(self) -> str:
        """What these timings promise, for people."""
        window, dead, refused, silent = (
            interval_text(round(seconds, 6))
            for seconds in (self.detection_window_s, self.dead_within_s, self.refused_within_s, self.silent_within_s)
        )
        spared = f"an interruption shorter than {window} never causes a failover"
        if not self.detection_window_s:
            spared = (
                "every interruption is looked into from everywhere at once, and causes a failover if it lasts that long"
            )
        return (
            f"a lost master is suspected within {dead} when its host says that it does not run, within {refused} when its host "
            f"refuses connections, within {silent} when it does not answer at all; {spared}"
        )


PROFILES: Mapping[str, Timings] = MappingProxyType(
    {
        "careful": Timings(poll_interval=5.0, fail_retries=6, fail_retry_interval=5.0, call_timeout=2.0),
        "normal": Timings(poll_interval=2.0, fail_retries=3, fail_retry_interval=0.5, call_timeout=1.0),
        "fast": Timings(poll_interval=0.2, fail_retries=1, fail_retry_interval=0.1, call_timeout=0.2),
    }
)
NORMAL = PROFILES["normal"]
TIMINGS = tuple(field.name for field in dataclasses.fields(Timings))
