"""The journal: what append() promised is there; what a crash tore is not; any other damage is an error."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handyrep.adapters import journal_file
from handyrep.adapters.journal_file import RecordFile
from handyrep.errors import StateError
from tests.adapters.small_disk import fill, small_disk
from tests.adapters.test_store import NEEDS_ROOT

RECORDS: list[dict[str, Any]] = [
    {"intent": "promote", "server": "r1"},
    {"result": "success", "note": "line\nbreak é"},
    {"n": 3},
]


def written(folder: Path) -> Path:
    """A journal of RECORDS."""
    path = folder / "journal"
    for record in RECORDS:
        RecordFile(path).append(record)
    return path


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert RecordFile(tmp_path / "journal").read() == []


def test_records_come_back_in_their_order(tmp_path: Path) -> None:
    assert RecordFile(written(tmp_path)).read() == RECORDS


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    assert written(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_record_is_on_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr("os.fsync", fsync)
    path = tmp_path / "journal"
    RecordFile(path).append(RECORDS[0])
    assert synced[-1] == path.stat().st_size
    assert len(synced) == 2, "a new file's name must be durable too"


def test_a_note_is_durable_with_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    journal = RecordFile(path)
    journal.note({"n": 4})
    assert (synced, journal.read()) == ([], [*RECORDS, {"n": 4}])
    journal.append({"n": 5})
    assert (synced, journal.read()) == ([path.stat().st_size], [*RECORDS, {"n": 4}, {"n": 5}])


def test_what_was_read_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = RecordFile(written(tmp_path))
    first = journal.read()
    parsed: list[bytes] = []
    real = journal_file._parsed

    def noted(line: bytes) -> Mapping[str, Any]:
        parsed.append(line)
        return real(line)

    monkeypatch.setattr(journal_file, "_parsed", noted)
    journal.append({"n": 4})
    again = journal.read()
    assert [record for record in again[:3] if record not in first] == []
    assert [line for line in parsed if line] == [(tmp_path / "journal").read_bytes().splitlines()[3]]


@pytest.mark.parametrize("how", ["shortened", "changed", "gone"])
def test_a_file_that_does_not_begin_with_what_was_read_is_read_anew(tmp_path: Path, how: str) -> None:
    path = written(tmp_path)
    journal = RecordFile(path)
    assert journal.read() == RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "gone":
        path.unlink()
        assert journal.read() == []
    elif how == "shortened":
        path.write_bytes(b"".join(lines[:2]))
        assert journal.read() == RECORDS[:2]
    else:
        path.write_bytes(b"".join((lines[1], lines[0], lines[2])))
        assert journal.read() == [RECORDS[1], RECORDS[0], RECORDS[2]]
    path.write_bytes(lines[0] + b"rubbish" + lines[1])
    with pytest.raises(StateError, match="line 2"):
        journal.read()


def test_whoever_is_given_the_records_may_do_with_the_list_as_he_likes(tmp_path: Path) -> None:
    journal = RecordFile(written(tmp_path))
    journal.read().clear()
    assert journal.read() == RECORDS


def test_a_tear_at_any_byte_of_the_last_line_is_forgiven(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    for length in range(last, len(data)):
        path.write_bytes(data[:length])
        assert RecordFile(path).read() == RECORDS[:2]
        RecordFile(path).append({"after": length})
        assert RecordFile(path).read() == [*RECORDS[:2], {"after": length}]


def test_e4_a_flipped_bit_is_an_error_wherever_it_changes_anything(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    errors = 0
    for place in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            assert RecordFile(path).read() == RECORDS, "\\u00E9 is the same as \\u00e9"
        except StateError:
            errors += 1
    assert errors >= len(data) * 8 - 4


@pytest.mark.parametrize(
    "line", [b"", b"null", b"{}", b"\0\0\0", b"\xff", b'{"record": {}, "checksum": "x"}', b"[" * 100_000]
)
def test_a_line_that_is_no_record_is_an_error_that_names_it(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(StateError, match="line 4") as caught:
        RecordFile(path).read()
    assert caught.value.remedy is not None


def test_a_record_that_is_no_json_adds_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(StateError):
        RecordFile(path).append({"a": object()})
    assert RecordFile(path).read() == RECORDS


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="written"):
        RecordFile(tmp_path).append({})
    with pytest.raises(StateError, match="read"):
        RecordFile(tmp_path).read()


@pytest.mark.parametrize("short", [True, False])
def test_a_write_that_fails_half_way_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    path = written(tmp_path)
    real = os.pwrite

    def half(descriptor: int, data: bytes, offset: int) -> int:
        count = real(descriptor, data[: len(data) // 2], offset)
        if short:
            return count
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", half)
        with pytest.raises(StateError):
            RecordFile(path).append({"never": "there"})
    assert path.read_bytes().endswith(b"\n")
    assert RecordFile(path).read() == RECORDS


@NEEDS_ROOT
def test_e5_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as folder:
        path = written(folder)
        fill(folder)
        with pytest.raises(StateError, match="No space left"):
            RecordFile(path).append({"much": "x" * 20_000})
        assert RecordFile(path).read() == RECORDS
        (folder / "filler").unlink()
        RecordFile(path).append({"n": 4})
        assert RecordFile(path).read() == [*RECORDS, {"n": 4}]


_WRITER = """
import sys
from pathlib import Path
from typing import Any
from handyrep.adapters.journal_file import RecordFile
journal = RecordFile(Path(sys.argv[1]))
n = len(journal.read())
while True:
    journal.append({"n": n, "filler": "x" * (n % 5) * 2000})
    n += 1
    print(n, flush=True)
"""


def test_a_writer_killed_at_any_moment_keeps_all_that_it_promised(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for round_ in range(10):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            promised = int(writer.stdout.readline())
            time.sleep(round_ * 0.004)
            writer.send_signal(signal.SIGKILL)
            promised = max([promised, *(int(line) for line in writer.stdout.read().split())])
        found = [record["n"] for record in RecordFile(path).read()]
        assert found == list(range(len(found)))
        assert len(found) >= promised
