"""Verdicts in the history's file: with their inputs, counted, bounded, private, and never able to stop anything."""

import json
import logging
import sqlite3
from pathlib import Path

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.history import History
from handyrep.adapters.verdicts import VerdictFile
from handyrep.model.verdict import Move, Verdict
from tests.adapters.small_disk import fill, small_disk
from tests.adapters.test_store import NEEDS_ROOT

REFUSED = Verdict("F16", Move.REFUSE, "m1 is gone, but …", ("m1: up no", "r1: up yes"))
INPUTS = {"version": 1, "situation": {"é": ["\ud800", None, 1.5, True]}}


def verdicts(folder: Path, kept_verdicts: int = 100) -> VerdictFile:
    return VerdictFile(folder / "history.db", SystemClock(), kept_verdicts)


def change(folder: Path, statement: str, *values: object) -> None:
    """Somebody else changes the file."""
    with sqlite3.connect(folder / "history.db") as other:
        other.execute(statement, values)
    other.close()


def test_a_verdict_comes_back_whole_also_after_a_restart(tmp_path: Path) -> None:
    file = verdicts(tmp_path)
    number = file.keep(REFUSED, INPUTS)
    assert number is not None
    file.came_again(number, 3)
    file.close()
    again = verdicts(tmp_path)
    found = again.find(number)
    assert found is not None
    assert (found.verdict, found.inputs, found.times, found.number) == (REFUSED, INPUTS, 4, number)
    assert found.at < found.last_at
    assert found.at.utcoffset() is not None
    assert again.keep(REFUSED, None) == number + 1
    again.close()


def test_the_newest_come_oldest_first_and_only_so_many_are_kept(tmp_path: Path) -> None:
    file = verdicts(tmp_path, kept_verdicts=5)
    numbers = [file.keep(REFUSED, INPUTS) for _ in range(20)]
    assert [kept.number for kept in file.newest(100)] == numbers[-5:]
    assert [kept.number for kept in file.newest(2)] == numbers[-2:]
    assert file.find(numbers[0] or 0) is None
    file.close()


def test_it_shares_the_file_with_the_events(tmp_path: Path) -> None:
    events, file = History(tmp_path / "history.db", SystemClock()), verdicts(tmp_path)
    for n in range(5):
        events.record("poll", str(n), {})
        file.keep(REFUSED, INPUTS)
    assert (len(events.newest(9)), len(file.newest(9)), events.lost, file.lost) == (5, 5, 0, 0)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    events.close()
    file.close()


def test_large_inputs_take_little_room(tmp_path: Path) -> None:
    file = verdicts(tmp_path)
    inputs = {"version": 1, "situation": {f"r{n}": {"up": "unknown", "notes": ["silent"] * 5} for n in range(500)}}
    for _ in range(20):
        file.keep(REFUSED, inputs)
    file.close()
    assert (tmp_path / "history.db").stat().st_size < len(json.dumps(inputs)) * 3


@pytest.mark.parametrize("inputs", [b"no zlib", b"", "text", 5])
def test_inputs_that_were_damaged_leave_the_verdict(tmp_path: Path, inputs: object) -> None:
    file = verdicts(tmp_path)
    number = file.keep(REFUSED, INPUTS) or 0
    change(tmp_path, "update verdict set inputs = ?", inputs)
    found = file.find(number)
    assert found is not None
    assert (found.verdict, found.inputs) == (REFUSED, None)
    file.close()


@pytest.mark.parametrize(
    "damage", ["move = 'hope'", "at = 'yesterday'", "because = 'no JSON'", "because = '5'", "last_at = x'00'"]
)
def test_a_row_that_is_not_ours_hides_no_other(tmp_path: Path, damage: str) -> None:
    file = verdicts(tmp_path)
    first, second = file.keep(REFUSED, INPUTS), file.keep(REFUSED, INPUTS)
    change(tmp_path, f"update verdict set {damage} where number = ?", first)
    assert [kept.number for kept in file.newest(9)] == [second]
    file.close()


def test_without_a_place_for_it_nothing_is_kept_and_nothing_raised(tmp_path: Path) -> None:
    file = verdicts(tmp_path / "missing")
    assert (file.keep(REFUSED, INPUTS), file.lost, file.newest(9), file.find(1)) == (None, 1, [], None)
    file.came_again(1, 1)
    file.close()


def test_what_cannot_be_written_is_counted_and_nothing_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = verdicts(tmp_path)
    endless: dict[str, object] = {}
    endless["self"] = endless
    for inputs in (endless, {"not": float("nan")}, {"bytes": b"x"}):
        assert file.keep(REFUSED, inputs) is None
    with caplog.at_level(logging.CRITICAL, "handyrep"):
        assert file.keep(Verdict("F16", Move.REFUSE, "\ud800"), INPUTS) is None
    assert file.lost == 4
    assert "could not be kept" in caplog.text
    assert file.find(10**30) is None
    file.close()


def test_one_who_blocks_the_file_costs_a_verdict_and_little_time(tmp_path: Path) -> None:
    file = verdicts(tmp_path)
    number = file.keep(REFUSED, INPUTS) or 0
    blocker = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    blocker.execute("begin exclusive")
    assert file.keep(REFUSED, INPUTS) is None
    file.came_again(number, 1)
    blocker.execute("rollback")
    blocker.close()
    assert [kept.times for kept in file.newest(9)] == [1]
    file.close()


@NEEDS_ROOT
def test_a_full_disk_costs_verdicts_only(tmp_path: Path) -> None:
    with small_disk(tmp_path, 300_000) as folder:
        file = verdicts(folder)
        fill(folder)
        inputs = {"version": 1, "noise": [hash(str(n)) for n in range(2000)]}
        for _ in range(20):
            file.keep(REFUSED, inputs)
        assert file.lost > 0
        file.close()
