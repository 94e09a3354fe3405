"""What must pass before a master that did not answer is suspected: the retries, unless its own host says that it does not run.

Decides nothing about a failover, and never shortens the detection window of a master that is merely silent: one that comes and goes is
given longer.
"""

import asyncio

from handyrep.config.settings import FailoverSettings
from handyrep.engine.observe import Observer, Trying
from handyrep.model.answer import Answer
from handyrep.model.cluster import Member
from handyrep.ports import Clock

YES, NO = Answer.YES, Answer.NO


_REMEMBERED_S = 60.0
_TIMES_THE_LONGEST = 2.0
_AT_MOST_S = 10.0
"""A master that comes and goes is not given for lost before it was away for longer than it has been lately."""


class Doubt:
    """Tries again fail_retries times, fail_retry_interval apart. The last of these is the look from everywhere, which is the caller's."""

    def __init__(self, observer: Observer, clock: Clock, failover: FailoverSettings) -> None:
        self._observer = observer
        self._clock = clock
        self._failover = failover
        self._pauses: list[tuple[float, float]] = []

    async def lasts(self, master: Member, began: float) -> bool:
        """Whether it is time for the look from everywhere; False once it answers again. The look without an answer began at `began`."""
        due = began + self._window_s()
        if began + self._failover.fail_retry_interval >= due:
            await self._until(due)
            return True
        home = asyncio.create_task(self._observer.running(master.server, Trying.ONCE))
        try:
            return await self._stays_away(master, began, due, home)
        finally:
            home.cancel()

    async def _stays_away(self, master: Member, began: float, due: float, home: asyncio.Task[Answer]) -> bool:
        """Until it is due, or it answers, or `home` has said that it does not run."""
        apart_s = self._failover.fail_retry_interval
        next_try = began + apart_s
        while next_try < due:
            await self._until(next_try)
            if (await self._observer.lightly(master, Trying.ONCE)).up is YES:
                return False
            if home.done() and home.result() is NO:
                return True
            # A silent host makes an attempt last: those that it passed over are not made up for.
            next_try = max(next_try + apart_s, self._clock.monotonic())
        await self._until(due)
        return True

    def is_over(self, began: float) -> None:
        """It answers again after not answering since `began`."""
        now = self._clock.monotonic()
        self._pauses = [(at, s) for at, s in self._pauses if at > now - _REMEMBERED_S] + [(now, now - began)]

    def _window_s(self) -> float:
        now, own_s = self._clock.monotonic(), self._failover.timings.detection_window_s
        lately_s = max((s for at, s in self._pauses if at > now - _REMEMBERED_S), default=0.0)
        return max(own_s, min(lately_s * _TIMES_THE_LONGEST, _AT_MOST_S))

    async def _until(self, moment: float) -> None:
        left_s = moment - self._clock.monotonic()
        if left_s > 0:
            await self._clock.sleep(left_s)
