"""The history: bounded, private, and never able to stop anything."""

import datetime as dt
import logging
import sqlite3
from pathlib import Path

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.history import Both, History
from tests.adapters.small_disk import fill, small_disk
from tests.adapters.test_store import NEEDS_ROOT


def history(folder: Path, kept_events: int = 100) -> History:
    """A history there."""
    return History(folder / "history.db", SystemClock(), kept_events)


def test_events_come_back_oldest_first_with_their_facts(tmp_path: Path) -> None:
    kept = history(tmp_path)
    for n in range(4):
        kept.record("verdict" if n % 2 else "poll", f"event {n}", {"n": n, "when": dt.timedelta(1)})
    assert [event["text"] for event in kept.newest(3)] == ["event 1", "event 2", "event 3"]
    assert [event["facts"]["n"] for event in kept.newest(9, "verdict")] == [1, 3]
    assert kept.newest(1)[0]["at"].endswith("+00:00")
    kept.close()
    again = history(tmp_path)
    assert len(again.newest(9)) == 4
    again.close()


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    kept = history(tmp_path, kept_events=5)
    for n in range(20):
        kept.record("poll", str(n), {})
    assert [event["text"] for event in kept.newest(100)] == ["15", "16", "17", "18", "19"]
    kept.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    kept = history(tmp_path)
    kept.record("poll", "x", {})
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    kept.close()


def test_facts_that_cannot_be_kept_are_counted_and_nothing_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = history(tmp_path)
    endless: dict[str, object] = {}
    endless["self"] = endless
    for facts in (endless, {"huge": 10**5000}, {("a", "b"): 1}):
        kept.record("poll", "x", facts)  # type: ignore[arg-type]
    with caplog.at_level(logging.CRITICAL, "handyrep"):
        kept.record("poll", "\ud800", {})
    assert kept.lost == 4
    assert "could not be kept" in caplog.text
    kept.record("poll", "good", {})
    assert kept.newest(1)[0]["text"] == "good"
    kept.close()


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"this is no database at all" * 100)
    kept = history(tmp_path)
    kept.record("poll", "x", {})
    assert len(kept.newest(9)) == 1
    assert (tmp_path / "history.db.damaged").read_bytes().startswith(b"this is no")
    kept.close()


def test_e16_without_a_place_for_it_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = history(tmp_path / "missing")
    kept.record("poll", "x", {})
    assert (kept.newest(1), kept.lost) == ([], 1)
    assert "there is no history" in caplog.text
    kept.close()


def test_one_who_blocks_the_file_costs_an_event_and_little_time(tmp_path: Path) -> None:
    kept = history(tmp_path)
    blocker = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    blocker.execute("begin exclusive")
    kept.record("poll", "x", {})
    assert kept.lost == 1
    blocker.execute("rollback")
    blocker.close()
    kept.record("poll", "y", {})
    assert [event["text"] for event in kept.newest(9)] == ["y"]
    kept.close()


def test_a_file_that_became_rubbish_cannot_be_read_and_nothing_is_raised(tmp_path: Path) -> None:
    kept = history(tmp_path)
    kept.record("poll", "x", {})
    with sqlite3.connect(tmp_path / "history.db") as other:
        other.execute("drop table event")
    other.close()
    kept.record("poll", "y", {})
    assert (kept.newest(1), kept.lost) == ([], 1)
    kept.close()


@NEEDS_ROOT
def test_e16_a_full_disk_costs_events_only(tmp_path: Path) -> None:
    with small_disk(tmp_path, 300_000) as folder:
        kept = history(folder)
        fill(folder)
        for _ in range(50):
            kept.record("poll", "x" * 5000, {})
        assert kept.lost > 0
        kept.close()


def test_two_sinks_both_hear(tmp_path: Path) -> None:
    one, two = history(tmp_path), History(tmp_path / "other.db", SystemClock())
    Both(one, two).record("poll", "x", {})
    assert (len(one.newest(9)), len(two.newest(9))) == (1, 1)
    one.close()
    two.close()
