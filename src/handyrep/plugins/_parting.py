"""Where the histories of two servers part, told from their timelines. Pure."""

import dataclasses
from collections.abc import Sequence

from handyrep.model.lsn import Lsn


@dataclasses.dataclass(frozen=True, slots=True)
class Leg:
    """One timeline of a history, and where it was left; None: it is the last one."""

    timeline: int
    end: Lsn | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Parting:
    """What a server wrote on `timeline` from `fork` on, and on `later` timelines of its own, no other server has.

    `may_be_empty`: perhaps it wrote nothing beyond the fork; that is for its WAL to tell.
    """

    timeline: int
    fork: Lsn
    later: tuple[Leg, ...] = ()
    end: Lsn | None = None
    may_be_empty: bool = False

    def legs(self, start: Lsn) -> tuple[tuple[int, Lsn, Lsn | None], ...]:
        """(timeline, from, to) of everything that it has from `start` on; start lies not behind the fork."""
        legs = [(self.timeline, start, self.end)]
        for leg in self.later:
            legs.append((leg.timeline, legs[-1][2] or start, leg.end))
        return tuple(legs)


def history(text: str, last: int) -> tuple[Leg, ...]:
    """The legs that a timeline history file tells, and the timeline that the file is of. Raises ValueError."""
    words = (line.partition("#")[0].split() for line in text.splitlines())
    legs = tuple(Leg(int(found[0]), Lsn.parse(found[1])) for found in words if len(found) > 1)
    return (*legs, Leg(last))


def left_at(way: Sequence[Leg], timeline: int, replayed: Lsn) -> Lsn | None:
    """Where a server has left this way that replayed to that place of that timeline: it goes on elsewhere. None: it has not."""
    ends = [leg.end for leg in way if leg.timeline == timeline]
    if not ends:
        return Lsn(0)
    return ends[0] if ends[0] is not None and replayed > ends[0] else None


def parting(own: Sequence[Leg], other: Sequence[Leg]) -> Parting | None:
    """Where `own` left the way of `other`; None: it is the same way, as far as `own` goes. Raises ValueError: they share nothing."""
    left: Lsn | None = None
    for number, (mine, theirs) in enumerate(zip(own, other, strict=False)):
        if theirs.timeline != mine.timeline:
            if left is None:
                raise ValueError("their histories have nothing in common")
            return Parting(own[number - 1].timeline, left, tuple(own[number:]), left)
        if theirs.end is not None and (mine.end is None or mine.end > theirs.end):
            return Parting(mine.timeline, theirs.end, tuple(own[number + 1 :]), mine.end, mine.end is None)
        if mine.end is not None and mine.end != theirs.end:
            return Parting(own[number + 1].timeline, mine.end, tuple(own[number + 2 :]), own[number + 1].end)
        left = mine.end
    return None
