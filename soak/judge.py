"""The judge: from what clients were told, and what the servers hold in the end, to what went wrong. Pure.

Never samples: each acknowledgement of each client is looked at, through whichever route it came.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from soak.history import Ack, Doubt


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """`two_writable` are acknowledgements of an old master, each with the one of its successor that it came after."""

    lost: frozenset[int]
    parted: frozenset[int]
    in_doubt: frozenset[int]
    two_writable: tuple[tuple[Ack, Ack], ...]


def judged(
    acks: Collection[Ack], doubts: Iterable[Doubt], master: Collection[int], others: Mapping[str, Collection[int]]
) -> Verdict:
    """`acks` were all heard before the tables were read: first those of `others`, the replicas, and then the master's."""
    return Verdict(
        lost(acks, master), parted(acks, master, others), frozenset(d.row for d in doubts), two_writable(acks)
    )


def lost(acks: Iterable[Ack], master: Collection[int]) -> frozenset[int]:
    """Acknowledged rows that the master does not have."""
    return frozenset({ack.row for ack in acks}.difference(master))


def parted(acks: Iterable[Ack], master: Collection[int], others: Mapping[str, Collection[int]]) -> frozenset[int]:
    """Rows that a replica has and the master has not, and acknowledged rows of the master's that a replica has not."""
    promised = {ack.row for ack in acks}.intersection(master)
    return frozenset(
        row for rows in others.values() for row in (*set(rows).difference(master), *promised.difference(rows))
    )


def two_writable(acks: Iterable[Ack]) -> tuple[tuple[Ack, Ack], ...]:
    """Acknowledgements that a server gave on an older timeline to what was sent after a newer one was heard to take writes.

    Also those that two servers gave on one timeline, whenever that was: each has a history of its own then.
    """
    ordered = sorted(acks, key=lambda ack: ack.heard)
    first: dict[int, Ack] = {}
    for ack in ordered:
        first.setdefault(ack.timeline, ack)
    newer = _first_newer(first)
    found = []
    for ack in ordered:
        after, beside = newer[ack.timeline], first[ack.timeline]
        if after is not None and ack.sent > after.heard:
            found.append((ack, after))
        elif ack.server != beside.server:
            found.append((ack, beside))
    return tuple(found)


def _first_newer(first: Mapping[int, Ack]) -> dict[int, Ack | None]:
    """For each timeline the acknowledgement that was heard first on any newer one."""
    newer: dict[int, Ack | None] = {}
    earliest: Ack | None = None
    for timeline in sorted(first, reverse=True):
        newer[timeline] = earliest
        if earliest is None or first[timeline].heard < earliest.heard:
            earliest = first[timeline]
    return newer


def longest_gap_s(acks: Iterable[Ack], begin: float, end: float) -> float:
    """The longest time without an acknowledgement on any route, from the last one before `begin` to `end`."""
    times = sorted(ack.heard for ack in acks)
    before = max((time for time in times if time <= begin), default=begin)
    within = [before, *(time for time in times if begin < time < end), end]
    return max(later - earlier for earlier, later in pairwise(within))
