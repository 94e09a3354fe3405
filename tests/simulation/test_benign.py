"""Nothing that is no reason to fail over leads to one; what is one does."""

import pytest

from tests.simulation.benign import EVENTS, play

_FEW = 110


def test_benign_events_are_left_alone() -> None:
    outcomes = [play(seed) for seed in range(_FEW)]
    assert [(seed, one) for seed, one in enumerate(outcomes) if one.acted] == []
    assert {one.name for one in outcomes} == {event.name for event in EVENTS}
    assert sum(one.missed > 0 for one in outcomes) > _FEW / 4


@pytest.mark.parametrize("seed", range(3))
def test_a_flap_that_is_none_is_acted_on(seed: int) -> None:
    """Or else the test above could not fail."""
    assert "fence.run m1" in play(seed, event=EVENTS[0], longer_than_the_window=True).acted
