"""Where histories part."""

import pytest

from handyrep.model.lsn import Lsn
from handyrep.plugins._parting import Leg, Parting, history, parting


def lsn(text: str) -> Lsn:
    return Lsn.parse(text)


def way(last: int, **left: str) -> tuple[Leg, ...]:
    """way(3, t1="0/1", t2="0/2"): timeline 1 left at 0/1, 2 at 0/2, now on 3."""
    return (*(Leg(int(name[1:]), lsn(at)) for name, at in left.items()), Leg(last))


def test_a_history_file_is_read_as_postgresql_writes_it() -> None:
    text = "1\t0/3000060\tno recovery target specified\n\n2\t0/40000A0\tbefore 2020-01-01\n# a comment\n"
    assert history(text, 3) == way(3, t1="0/3000060", t2="0/40000A0")
    assert history("", 1) == way(1)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (way(1), way(1), None),
        (way(2, t1="0/1"), way(2, t1="0/1"), None),
        (way(1), way(2, t1="0/9"), Parting(1, lsn("0/9"), may_be_empty=True)),
        (way(1), way(3, t1="0/9", t2="0/A"), Parting(1, lsn("0/9"), may_be_empty=True)),
        (way(2, t1="0/9"), way(3, t1="0/9", t2="0/A"), Parting(2, lsn("0/A"), may_be_empty=True)),
        (way(2, t1="0/9"), way(2, t1="0/5"), Parting(1, lsn("0/5"), way(2), lsn("0/9"))),
        (way(2, t1="0/5"), way(2, t1="0/9"), Parting(2, lsn("0/5"))),
        (way(2, t1="0/5"), way(1), Parting(2, lsn("0/5"))),
        (way(3, t1="0/5"), way(2, t1="0/5"), Parting(1, lsn("0/5"), way(3), lsn("0/5"))),
        (way(3, t1="0/5", t2="0/9"), way(4, t1="0/5", t2="0/7"), Parting(2, lsn("0/7"), way(3), lsn("0/9"))),
        (way(3, t1="0/5", t2="0/6"), way(4, t1="0/5", t2="0/7"), Parting(3, lsn("0/6"))),
    ],
)
def test_where_they_part(own: tuple[Leg, ...], other: tuple[Leg, ...], expected: Parting | None) -> None:
    assert parting(own, other) == expected


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing in common"):
        parting(way(2), way(3))


def test_all_that_is_its_own_is_read_timeline_by_timeline() -> None:
    found = parting(way(3, t1="0/5", t2="0/9"), way(4, t1="0/3"))
    assert found is not None
    legs = ((1, lsn("0/2"), lsn("0/5")), (2, lsn("0/5"), lsn("0/9")), (3, lsn("0/9"), None))
    assert found.legs(lsn("0/2")) == legs
