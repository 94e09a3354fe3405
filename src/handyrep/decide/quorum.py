"""Strict synchronous replication: what a list of names promises, and when enough replicas were read to lose nothing.

The rule: N named, k must confirm, R of the named were read after the master could acknowledge no more. Every acknowledged
commit is on at least k of the N, so R + k > N means that at least one of the R has it.
"""

import dataclasses
import re

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z0-9_$\-.]+))\s*')
_HEAD = re.compile(r"\s*(ANY|FIRST)?\s*(\d+)\s*\((.*)\)\s*", re.IGNORECASE | re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class SyncList:
    """`needed` (k) of `names` (N) confirm each commit."""

    needed: int
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """The synchronous_standby_names that promises this."""
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in self.names)
        return f"ANY {self.needed} ({quoted})"

    def is_as(self, other: "SyncList | None") -> bool:
        """Whether the other one promises the same. The order of the names promises nothing."""
        return other is not None and (self.needed, set(self.names)) == (other.needed, set(other.names))

    def is_readable_from(self, read: frozenset[str]) -> bool:
        """Whether reading these replicas is enough to see every acknowledged commit: R + k > N."""
        return len(read & set(self.names)) + self.needed > len(self.names)


def parse_sync_list(text: str) -> SyncList | None:
    """The promise of synchronous_standby_names; None when it promises nothing that can be counted: '', '*', rubbish."""
    head = _HEAD.fullmatch(text)
    needed, listed = (int(head[2]), head[3]) if head else (1, text)
    names = _names(listed)
    if "*" in names or not 1 <= needed <= len(names):
        return None
    return SyncList(needed, names)


def _names(listed: str) -> tuple[str, ...]:
    names: list[str] = []
    position = 0
    while position <= len(listed):
        match = _NAME.match(listed, position)
        if match is None:
            return ()
        names.append(match[1].replace('""', '"') if match[1] else match[2])
        position = match.end()
        if position < len(listed) and listed[position] != ",":
            return ()
        position += 1
    return tuple(names) if len(set(names)) == len(names) else ()
