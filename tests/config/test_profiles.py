"""What the profiles promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.config.profiles import NORMAL, PROFILES, Timings
from handyrep.config.settings import FailoverSettings, HandyrepSettings
from tests.factories import make_settings


def test_the_profiles_are_what_was_settled() -> None:
    assert (NORMAL.poll_interval, NORMAL.fail_retries, NORMAL.fail_retry_interval, NORMAL.call_timeout) == (
        2,
        3,
        0.5,
        1,
    )
    assert PROFILES["fast"].silent_within_s <= 0.7 + 1e-9
    assert PROFILES["careful"].detection_window_s == 30


def test_normal_is_the_default_and_its_timings_are_the_defaults() -> None:
    assert HandyrepSettings().profile == "normal"
    assert FailoverSettings().timings == NORMAL


def test_a_more_careful_profile_is_slower_and_more_patient() -> None:
    fast, normal, careful = (PROFILES[name] for name in ("fast", "normal", "careful"))
    assert fast.detection_window_s < normal.detection_window_s < careful.detection_window_s
    assert fast.refused_within_s < normal.refused_within_s < careful.refused_within_s
    assert fast.silent_within_s < normal.silent_within_s < careful.silent_within_s


def test_timings_set_alone_state_their_own_window() -> None:
    failover = make_settings(failover={"fail_retries": 4, "fail_retry_interval": 2.0, "poll_interval": 1.0}).failover
    assert failover.timings.detection_window_s == 8.0
    assert "within 9 s when its host refuses" in failover.timings.sentence
    assert "an interruption shorter than 8 s never causes a failover" in failover.timings.sentence


def test_without_retries_nothing_is_promised_of_short_interruptions() -> None:
    sentence = make_settings(failover={"fail_retries": 0}).failover.timings.sentence
    assert "shorter than" not in sentence
    assert "every interruption is looked into from everywhere at once" in sentence


SOME_SECONDS = st.floats(0.05, 60)


@given(
    st.builds(Timings, poll_interval=SOME_SECONDS, fail_retries=st.integers(0, 10), fail_retry_interval=SOME_SECONDS, call_timeout=SOME_SECONDS),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_an_interruption_shorter_than_the_window_is_never_seen_by_all_looks(
    timings: Timings, phase: float, share: float
) -> None:
    """Looks of one poll, each failing at once: whenever it begins, a shorter interruption leaves one look outside."""
    length = timings.detection_window_s * share
    begin = phase * timings.poll_interval - timings.poll_interval
    looks = [number * timings.fail_retry_interval for number in range(timings.fail_retries + 1)]
    lost = [begin <= look < begin + length for look in looks]
    assert not all(lost)


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_states_its_window_in_words(name: str) -> None:
    assert "never causes a failover" in PROFILES[name].sentence
