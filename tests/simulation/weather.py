"""What goes wrong at the door and when: all chances of one seed, so that a calm sky can be made at any time."""

import enum
from collections.abc import Callable
from random import Random
from typing import ClassVar

from tests.simulation.cluster import World


class Killed(BaseException):
    """HandyRep was killed at this very place. Nothing in HandyRep may catch it."""


class Trouble(enum.Enum):
    """How one call goes wrong."""

    NONE = "none"
    NOT_DONE = "nothing was done and nobody answered"
    LATE = "nobody answered, and it is done some seconds later"
    ANSWER_LOST = "it was done, and the answer was lost"
    RUBBISH = "the plugin returned rubbish"
    ONLY_SAID = "the plugin says SUCCESS and did nothing"


class Weather:
    """`roughness` 0 is a calm sky: every call does what it says and HandyRep lives."""

    can_be_late: ClassVar = {
        "promotion_run": "promote",
        "restart_run": "start",
        "fence_run": "stop",
        "sync_run": "agree",
    }

    def __init__(self, world: World, rng: Random, fault: Callable[[], None], name: str = "") -> None:
        self.name = name
        self._world = world
        self._rng = rng
        self._fault = fault
        self.roughness = 0.0
        self.faults_left = 0
        self.dead = False
        self.people = 0
        self.power_works = rng.random() < 0.7

    def _chance(self, of: float) -> bool:
        return self.roughness > 0 and self._rng.random() < of * self.roughness

    def trouble(self, *, acts: bool) -> Trouble:
        """How this call goes wrong; orders more often than looks, of which there are many."""
        if not self._chance(0.15 if acts else 0.02):
            return Trouble.NONE
        return self._rng.choice(list(Trouble)[1:])

    def maybe_killed(self, where: str) -> None:
        """A place at which HandyRep may be killed. Once dead it does nothing any more."""
        if not self.dead and self._chance(0.003):
            self.dead = True
            self._world.tell(f"HandyRep {self.name} is killed {where}")
        if self.dead:
            raise Killed(where)

    def power_was_lost(self) -> bool:
        """Whether it was killed by its host's loss of power: by the microsecond, which leaves all other chances as they are."""
        return self.dead and int(self._world.monotonic() * 1e6) % 2 == 0

    async def maybe_stopped(self, call: str) -> None:
        """A place at which HandyRep may be stopped in its tracks, and woken later."""

    def maybe_fault(self) -> None:
        """The world may change while HandyRep is at work."""
        if self.faults_left and self._chance(0.03):
            self.faults_left -= 1
            self._fault()

    def duration_s(self) -> float:
        """How long a call takes."""
        return 4.0 if self._chance(0.01) else self._rng.uniform(0.001, 0.02)

    def turns_to_wait(self) -> int:
        """For how many turns others are heard before this call is made; only matters while somebody else is at work."""
        if not self.people:
            return 0
        return 150 if self._chance(0.03) else self._rng.randint(0, 3)

    def is_active(self) -> bool:
        """Whether this HandyRep is told that it may act."""
        return not self._chance(0.05)

    def power_answers(self) -> bool:
        """Whether the power switch answers."""
        return self.power_works and not self._chance(0.2)

    def half_done(self) -> bool:
        """Whether a fence is cut off in its middle."""
        return self._chance(0.1)

    def disk_is_read(self) -> bool:
        """Whether the end of the WAL can be read."""
        return not self._chance(0.1)

    def no_room(self) -> bool:
        """Whether the disk of HandyRep is full."""
        return self._chance(0.02)
