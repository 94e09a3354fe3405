"""A date that no jump of the wall clock moves while HandyRep runs. Decisions that must outlive a restart rest on it."""

import datetime as dt

from handyrep.ports import Clock


class Steady:
    """The wall clock is read once; from then on only the monotonic clock counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._began_s = clock.monotonic()

    def now(self) -> dt.datetime:
        """Aware UTC."""
        return self._began + dt.timedelta(seconds=self._clock.monotonic() - self._began_s)
