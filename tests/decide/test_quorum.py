"""The data proof of strict synchronous replication, checked against every possible spread of an acknowledged commit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.quorum import SyncList, parse_sync_list

NAMES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANY 1 (a, b)", SyncList(1, ("a", "b"))),
        ("any 2 (a,b , c)", SyncList(2, ("a", "b", "c"))),
        ("FIRST 1 (a, b)", SyncList(1, ("a", "b"))),
        ("2 (a, b)", SyncList(2, ("a", "b"))),
        ("a, b", SyncList(1, ("a", "b"))),
        ('ANY 1 ("my standby", b)', SyncList(1, ("my standby", "b"))),
        ('ANY 1 ("with ""quotes""", b)', SyncList(1, ('with "quotes"', "b"))),
        ("", None),
        ("*", None),
        ("ANY 1 (*)", None),
        ("ANY 1 (a, *)", None),
        ('ANY 1 ("*", a)', None),
        ("ANY 3 (a, b)", None),
        ("ANY 0 (a, b)", None),
        ("ANY 1 ()", None),
        ("ANY 1 (a b)", None),
        ("ANY 1 (a bc)", None),
        ("ANY 1 (a, a)", None),
        ("ANY 1 (a,", None),
        ("ANY 1 (a,)", None),
        ("a,", None),
        ("nonsense ((", None),
    ],
)
def test_what_a_list_promises(text: str, expected: SyncList | None) -> None:
    assert parse_sync_list(text) == expected


@pytest.mark.parametrize("count", range(1, 6))
def test_readable_exactly_when_no_acknowledged_commit_can_hide(count: int) -> None:
    names = NAMES[:count]
    for needed in range(1, count + 1):
        promise = SyncList(needed, names)
        for size in range(count + 1):
            for read in itertools.combinations(names, size):
                holders = itertools.combinations(names, needed)
                every_commit_is_seen = all(set(holder) & set(read) for holder in holders)
                assert promise.is_readable_from(frozenset(read)) == every_commit_is_seen


def test_strangers_that_were_read_count_for_nothing() -> None:
    assert not SyncList(1, ("a", "b")).is_readable_from(frozenset({"a", "x", "y"}))


@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    promise = parse_sync_list(text)
    assert promise is None or 1 <= promise.needed <= len(promise.names)
