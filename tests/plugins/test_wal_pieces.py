"""Which files and pieces of WAL lie between two positions."""

import pytest

from handyrep.model.lsn import Lsn
from handyrep.plugins._wal_pieces import PIECE_BYTES, Gap

MB = 1 << 20


def gap(have: str, upto: str, *, segment_mb: int = 1, timeline: int = 1) -> Gap:
    return Gap(timeline, segment_mb * MB, Lsn.parse(have), Lsn.parse(upto))


@pytest.mark.parametrize(
    ("between", "segments"),
    [
        (gap("0/300010", "0/300020"), ["000000010000000000000003"]),
        (gap("0/300000", "0/300020"), ["000000010000000000000002", "000000010000000000000003"]),
        (gap("0/2FFFF8", "0/300000"), ["000000010000000000000002"]),
        (gap("0/FFF00010", "1/10", timeline=0x1F), ["0000001F0000000000000FFF", "0000001F0000000100000000"]),
        (gap("0/FF000010", "1/10", segment_mb=16), ["0000000100000000000000FF", "000000010000000100000000"]),
    ],
)
def test_the_files_begin_with_the_one_that_holds_the_last_byte_there_is(between: Gap, segments: list[str]) -> None:
    assert list(between.segments) == segments


@pytest.mark.parametrize(
    ("have", "start", "begun_bytes", "kept_bytes"),
    [("0/300010", "0/300000", 16, 0), ("0/390000", "0/300000", 9 << 16, PIECE_BYTES), ("0/300000", "0/200000", MB, MB)],
)
def test_what_there_is_of_the_first_file_is_kept(have: str, start: str, begun_bytes: int, kept_bytes: int) -> None:
    between = gap(have, "0/500000")
    assert (str(between.start), between.begun_bytes, between.kept_bytes) == (start, begun_bytes, kept_bytes)


def test_the_pieces_go_on_from_what_is_kept_and_fill_every_file_but_the_last() -> None:
    between = gap("0/390000", "0/510000")
    first, *_, last = between.segments
    grown = {first: between.kept_bytes}
    for piece in between.pieces:
        assert grown.get(piece.segment, 0) == piece.number * PIECE_BYTES
        grown[piece.segment] = piece.grown_bytes
    assert grown == {**dict.fromkeys(between.segments, MB), last: PIECE_BYTES}
    assert between.lacking_bytes == 0x510000 - 0x390000
