"""The judge on histories that must be found guilty, and on those that look bad and are not."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from soak.history import Ack, Doubt
from soak.judge import judged, longest_gap_s, lost, parted, two_writable

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def ack(row: int, server: str, timeline: int, sent: float, heard: float | None = None, route: str = "direct") -> Ack:
    return Ack(row, server, timeline, sent, sent + 0.01 if heard is None else heard, route)


BEFORE = [ack(1, A, 1, 1.0), ack(2, A, 1, 2.0)]
AFTER = [ack(3, B, 2, 5.0), ack(4, B, 2, 6.0)]


def test_a_clean_failover_is_not_guilty() -> None:
    verdict = judged([*BEFORE, *AFTER], [], {1, 2, 3, 4}, {"a": {1, 2, 3, 4}, "c": {1, 2, 3, 4}})
    assert (verdict.lost, verdict.parted, verdict.two_writable) == (frozenset(), frozenset(), ())


def test_an_acknowledged_row_that_the_final_master_lacks_is_lost() -> None:
    assert lost([*BEFORE, *AFTER], {1, 3, 4}) == {2}


def test_a_row_in_doubt_may_be_there_or_not() -> None:
    for master in ({1, 2, 9}, {1, 2}):
        verdict = judged(BEFORE, [Doubt(9, 3.0)], master, {"c": master})
        assert not verdict.lost | verdict.parted
        assert verdict.in_doubt == {9}


@pytest.mark.parametrize(
    ("replica", "row"), [({1, 2, 99}, 99), ({1}, 2)], ids=["a row of its own", "an acknowledged row is missing"]
)
def test_a_replica_that_differs_has_parted(replica: set[int], row: int) -> None:
    assert parted(BEFORE, {1, 2}, {"a": {1, 2}, "c": replica}) == {row}


def test_rows_that_the_master_took_since_the_replica_was_read_are_no_difference() -> None:
    assert parted(BEFORE, {1, 2, 7, 8}, {"c": {1, 2, 7}}) == frozenset()


def test_an_old_master_that_acknowledges_what_was_sent_after_its_successors_first_word_is_guilty() -> None:
    zombie = ack(5, A, 1, 5.5)
    assert two_writable([*BEFORE, *AFTER, zombie]) == ((zombie, AFTER[0]),)


@pytest.mark.parametrize("route", ["a", "bouncer1"])
def test_whichever_route_it_comes_through(route: str) -> None:
    assert len(two_writable([*AFTER, ack(5, A, 1, 7.0, route=route)])) == 1


def test_an_acknowledgement_that_was_under_way_when_the_successor_began_proves_nothing() -> None:
    assert two_writable([*BEFORE, *AFTER, ack(5, A, 1, 4.9, 9.0)]) == ()


def test_it_is_the_first_word_of_any_later_epoch_that_counts() -> None:
    assert len(two_writable([*BEFORE, ack(6, C, 3, 7.0), ack(7, B, 2, 8.0), ack(8, A, 1, 8.0)])) == 2


def test_a_former_master_that_is_made_master_again_is_not_guilty() -> None:
    assert two_writable([*BEFORE, *AFTER, ack(6, A, 3, 9.0), ack(7, A, 3, 10.0)]) == ()


def test_two_servers_on_one_timeline_are_guilty_whenever_that_was() -> None:
    twin = ack(5, C, 2, 9.0)
    assert two_writable([*BEFORE, *AFTER, twin]) == ((twin, AFTER[0]),)


def test_an_order_of_the_lines_that_is_not_the_order_of_events_changes_nothing() -> None:
    zombie = ack(5, A, 1, 5.5)
    assert two_writable([zombie, *AFTER, *BEFORE]) == ((zombie, AFTER[0]),)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 30), st.integers(1, 5)), max_size=12),
)
def test_it_finds_just_what_looking_at_every_pair_finds(drawn: list[tuple[int, int, int]]) -> None:
    owner: Callable[[int], str] = "-abcd".__getitem__
    acks = [ack(row, owner(line), line, sent, sent + took) for row, (line, sent, took) in enumerate(drawn)]
    naive = {a.row for a in acks for b in acks if b.timeline > a.timeline and a.sent > b.heard}
    assert {guilty.row for guilty, _ in two_writable(acks)} == naive


def test_the_gap_begins_with_the_last_word_before_the_calamity_and_ends_with_the_first_after() -> None:
    assert longest_gap_s([*BEFORE, *AFTER], 3.0, 7.0) == pytest.approx(3.0)
    assert longest_gap_s([*BEFORE, *AFTER], 5.5, 6.5) == pytest.approx(1.0)


def test_when_nobody_could_write_any_more_the_gap_ends_with_the_round() -> None:
    assert longest_gap_s(BEFORE, 3.0, 10.0) == pytest.approx(7.99)
    assert longest_gap_s([], 3.0, 10.0) == pytest.approx(7.0)
