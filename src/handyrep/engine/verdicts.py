"""Which verdicts are kept, and how often. Owns the bound: what tells nothing new is counted, not kept again.

Must never hinder a check: what cannot be kept is lost, and judging goes on.
"""

import dataclasses
import itertools
from collections.abc import Hashable, Mapping
from typing import Any

from handyrep.decide.failover import Situation
from handyrep.decide.recorded import likeness, record
from handyrep.errors import RecordError
from handyrep.model.kept import Kept
from handyrep.model.verdict import Move, Verdict
from handyrep.ports import Clock, VerdictLog

COUNT_EVERY_S = 60.0
IN_MEMORY = 100
APART_S = 30.0
"""One rule with other evidence is kept once in so long: an answer that comes and goes must not drive all else out of the history."""


class InMemory:
    """ports.VerdictLog without a file: the newest ones, until HandyRep ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._kept: dict[int, Kept] = {}

    def keep(self, verdict: Verdict, inputs: Mapping[str, Any] | None) -> int:
        """As ports.VerdictLog.keep."""
        number, now = next(self._numbers), self._clock.now()
        self._kept[number] = Kept(number=number, at=now, last_at=now, times=1, verdict=verdict, inputs=inputs)
        self._kept.pop(number - IN_MEMORY, None)
        return number

    def came_again(self, number: int, times: int) -> None:
        """As ports.VerdictLog.came_again."""
        kept = self._kept[number]
        self._kept[number] = dataclasses.replace(kept, last_at=self._clock.now(), times=kept.times + times)

    def newest(self, count: int) -> list[Kept]:
        """As ports.VerdictLog.newest."""
        return list(self._kept.values())[-count:]

    def find(self, number: int) -> Kept | None:
        """As ports.VerdictLog.find."""
        return self._kept.get(number)


class Verdicts:
    """Keeps verdicts with what they were judged from. `number`: of the one that came last; None when it could not be kept."""

    def __init__(self, log: VerdictLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self.number: int | None = None
        self._rule = ""
        self._like: Hashable = None
        self._kept_s = self._counted_s = 0.0
        self._again = 0

    def take(self, situation: Situation, verdict: Verdict) -> None:
        """Keep it, or count it where it tells nothing new. One that begins a failover is always kept."""
        like, now_s = likeness(situation, verdict), self._clock.monotonic()
        other = verdict.rule != self._rule or (like != self._like and now_s - self._kept_s >= APART_S)
        if other or verdict.move is Move.PROCEED:
            self._count(now_s)
            self.number = self._log.keep(verdict, _inputs(situation))
            self._rule, self._like, self._kept_s = verdict.rule, like, now_s
            return
        self._again += 1
        if now_s - self._counted_s >= COUNT_EVERY_S:
            self._count(now_s)

    def last(self) -> Kept | None:
        """The newest one; None also when it could not be kept: no older one may stand for it."""
        if self._rule and self.number is None:
            return None
        return next(iter(self.newest(1)), None)

    def newest(self, count: int) -> list[Kept]:
        """The newest ones, oldest of them first."""
        self._count(self._clock.monotonic())
        return self._log.newest(count)

    def find(self, number: int) -> Kept | None:
        """The one kept under that number; None when there is none any more."""
        self._count(self._clock.monotonic())
        return self._log.find(number)

    def _count(self, now_s: float) -> None:
        self._counted_s = now_s
        if self._again and self.number is not None:
            self._log.came_again(self.number, self._again)
        self._again = 0


def _inputs(situation: Situation) -> Mapping[str, Any] | None:
    try:
        return record(situation)
    except RecordError:
        return None
