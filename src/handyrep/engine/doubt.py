"""What must pass before a master that did not answer is suspected: the retries, unless its own host says that it does not run.

Decides nothing about a failover, and never shortens the detection window of a master that is merely silent.
"""

import asyncio

from handyrep.config.settings import FailoverSettings
from handyrep.engine.observe import Observer, Trying
from handyrep.model.answer import Answer
from handyrep.model.cluster import Member
from handyrep.ports import Clock

YES, NO = Answer.YES, Answer.NO


class Doubt:
    """Tries again fail_retries times, fail_retry_interval apart. The last of these is the look from everywhere, which is the caller's."""

    def __init__(self, observer: Observer, clock: Clock, failover: FailoverSettings) -> None:
        self._observer = observer
        self._clock = clock
        self._failover = failover

    async def lasts(self, master: Member, began: float) -> bool:
        """Whether it is time for the look from everywhere; False once it answers again. The look without an answer began at `began`."""
        home = asyncio.create_task(self._observer.running(master.server, Trying.ONCE))
        try:
            for attempt in range(1, self._failover.fail_retries):
                if self._moment(began, attempt + 1) <= self._clock.monotonic():
                    continue  # a silent host made the one before it last as long
                await self._until(self._moment(began, attempt))
                if (await self._observer.lightly(master, Trying.ONCE)).up is YES:
                    return False
                if home.done() and home.result() is NO:
                    return True
            await self._until(self._moment(began, self._failover.fail_retries))
            return True
        finally:
            home.cancel()

    def _moment(self, began: float, attempt: int) -> float:
        return began + attempt * self._failover.fail_retry_interval

    async def _until(self, moment: float) -> None:
        left_s = moment - self._clock.monotonic()
        if left_s > 0:
            await self._clock.sleep(left_s)
