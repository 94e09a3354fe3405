"""WAL as files and as pieces of files: which of them lie between two positions. Pure."""

import dataclasses
from functools import cached_property

from handyrep.model.lsn import Lsn

PIECE_BYTES = 1 << 19
"""So much is carried at a time. Packed and as text it stays below what a command may print, and every segment is some whole pieces."""


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a segment: the `number`th, counted from 0; with it the segment has grown to `grown_bytes`."""

    segment: str
    number: int

    @property
    def grown_bytes(self) -> int:
        """The size of a file that ends with this piece."""
        return (self.number + 1) * PIECE_BYTES


@dataclasses.dataclass(frozen=True)
class Gap:
    """The WAL of one timeline that a server lacks: it has all before `have` and wants all before `upto`."""

    timeline: int
    segment_bytes: int
    have: Lsn
    upto: Lsn

    @property
    def lacking_bytes(self) -> int:
        """How much that is."""
        return self.upto - self.have

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The files that hold it, in order. The first one holds the last byte that the server has, too."""
        last = (self.upto.position_bytes - 1) // self.segment_bytes
        return tuple(self._name(number) for number in range(self._first, last + 1))

    @property
    def start(self) -> Lsn:
        """Where the first file begins."""
        return Lsn(self._first * self.segment_bytes)

    @property
    def begun_bytes(self) -> int:
        """So much of the first file the server has: at least one byte, to compare by."""
        return self.have - self.start

    @property
    def kept_bytes(self) -> int:
        """So much of the first file need not be carried: whole pieces."""
        return self.begun_bytes // PIECE_BYTES * PIECE_BYTES

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What must be carried, in order. What the last segment has behind the last piece nobody wants."""
        first, last = self.have.position_bytes // PIECE_BYTES, (self.upto.position_bytes - 1) // PIECE_BYTES
        in_one = self.segment_bytes // PIECE_BYTES
        return tuple(Piece(self._name(one // in_one), one % in_one) for one in range(first, last + 1))

    @property
    def _first(self) -> int:
        return (self.have.position_bytes - 1) // self.segment_bytes

    def _name(self, number: int) -> str:
        upper, lower = divmod(number, (1 << 32) // self.segment_bytes)
        return f"{self.timeline:08X}{upper:08X}{lower:08X}"
