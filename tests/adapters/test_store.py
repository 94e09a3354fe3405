"""servers.save: whatever happens to the file, what is read is a whole version, or an error; never "none"."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handyrep.adapters.store import StateFile
from handyrep.errors import StateError
from tests.adapters.small_disk import fill, small_disk

OLD = {"epoch": 1, "servers": {"m1": {"role": "master", "note": 'é\u2028\\"'}}}
NEW = {"epoch": 2, "servers": {"m2": {"role": "master"}}}
NEEDS_ROOT = pytest.mark.root


def both_saved(folder: Path) -> Path:
    """A file whose version before is OLD and whose present one is NEW."""
    path = folder / "servers.save"
    StateFile(path).save(OLD)
    StateFile(path).save(NEW)
    return path


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "servers.save").load() is None


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = both_saved(tmp_path)
    assert StateFile(path).load() == NEW
    assert sorted(path.name for path in tmp_path.iterdir()) == ["servers.save", "servers.save.1"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        both_saved(tmp_path)
    finally:
        os.umask(old_mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_form_of_the_file(tmp_path: Path) -> None:
    whole = json.loads(both_saved(tmp_path).read_text())
    assert whole.keys() == {"version", "generation", "checksum", "content"}
    assert (whole["version"], whole["generation"], whole["content"]) == (1, 2, NEW)


def test_who_has_the_old_file_open_reads_the_old_version_to_its_end(tmp_path: Path) -> None:
    path = both_saved(tmp_path)
    with path.open() as reader:
        StateFile(path).save(OLD)
        assert json.load(reader)["content"] == NEW
    assert json.loads(path.with_name("servers.save.1").read_text())["content"] == NEW


def test_content_that_json_changes_is_read_back_as_json_has_it(tmp_path: Path) -> None:
    store = StateFile(tmp_path / "servers.save")
    store.save({"a": (1, 2), "b": {10: "x", 9: "y"}})
    assert store.load() == {"a": [1, 2], "b": {"10": "x", "9": "y"}}


@pytest.mark.parametrize("content", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}])
def test_content_that_is_no_json_is_refused_and_the_old_stays(tmp_path: Path, content: dict[str, object]) -> None:
    path = both_saved(tmp_path)
    with pytest.raises(StateError):
        StateFile(path).save(content)
    assert StateFile(path).load() == NEW


def test_e4_a_file_cut_at_any_byte_gives_the_version_before_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = both_saved(tmp_path)
    data = path.read_bytes()
    for length in range(len(data) - 1):  # without its last newline it is still whole
        path.write_bytes(data[:length])
        caplog.clear()
        assert StateFile(path).load() == OLD
        assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_e4_any_flipped_bit_gives_a_whole_version(tmp_path: Path) -> None:
    path = both_saved(tmp_path)
    data = path.read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert StateFile(path).load() in (OLD, NEW)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(rubbish=st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode)))
def test_two_unreadable_files_are_an_error(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    path = both_saved(tmp_path_factory.mktemp("state"))
    path.write_bytes(rubbish)
    path.with_name("servers.save.1").write_bytes(rubbish)
    with pytest.raises(StateError, match="cannot be read"):
        StateFile(path).load()


WHOLE = '{"checksum": "x", "content": {}, "generation": 1, "version": 1}'
WRONG = (
    b"",
    b"\0" * 500,
    b"\xff\xfe{}",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    WHOLE.encode(),
    WHOLE.replace('"version": 1', '"version": 2').encode(),
    WHOLE.replace('"content": {}', '"content": []').encode(),
    WHOLE.replace('"content": {}', '"content": {"a": NaN}').encode(),
    WHOLE.replace('"content": {}', '"content": {"a": 1, "a": 2}').encode(),
    WHOLE.replace('"generation": 1', '"generation": "one"').encode(),
)


@pytest.mark.parametrize("wrong", WRONG)
def test_e4_wrong_forms_are_errors_that_say_what_to_do(tmp_path: Path, wrong: bytes) -> None:
    path = tmp_path / "servers.save"
    path.write_bytes(wrong)
    with pytest.raises(StateError) as caught:
        StateFile(path).load()
    assert str(path) in str(caught.value)
    assert caught.value.remedy is not None


def test_e4_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "servers.save"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(StateError, match="larger"):
        StateFile(path).load()


def test_what_would_be_too_large_to_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = both_saved(tmp_path)
    monkeypatch.setattr("handyrep.adapters.store.MAX_BYTES", 1000)
    with pytest.raises(StateError, match="larger"):
        StateFile(path).save({"much": "x" * 1000})
    assert StateFile(path).load() == NEW


def test_a_missing_file_with_a_version_before_is_not_none(tmp_path: Path) -> None:
    path = both_saved(tmp_path)
    path.unlink()
    assert StateFile(path).load() == OLD


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "servers.save"
    path.mkdir()
    with pytest.raises(StateError):
        StateFile(path).load()
    with pytest.raises(StateError):
        StateFile(path).save(NEW)


def test_a_damaged_version_never_replaces_the_good_one_before(tmp_path: Path) -> None:
    path = both_saved(tmp_path)
    path.write_bytes(b"damaged")
    StateFile(path).save(NEW)
    path.write_bytes(b"damaged again")
    assert StateFile(path).load() == OLD


@NEEDS_ROOT
def test_e5_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as folder:
        path = both_saved(folder)
        fill(folder)
        with pytest.raises(StateError, match="No space left"):
            StateFile(path).save({"much": "x" * 20_000})
        assert StateFile(path).load() == NEW
        (folder / "filler").unlink()
        StateFile(path).save(OLD)
        assert StateFile(path).load() == OLD


@NEEDS_ROOT
def test_e5_a_read_only_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as folder:
        path = both_saved(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(StateError, match="Read-only"):
            StateFile(path).save(OLD)
        assert StateFile(path).load() == NEW


_WRITER = """
import sys
from pathlib import Path
from handyrep.adapters.store import StateFile
store, n = StateFile(Path(sys.argv[1])), 0
print("begun", flush=True)
while True:
    n += 1
    store.save({"n": n, "same": n, "filler": "x" * (n % 7) * 3000})
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_version(tmp_path: Path) -> None:
    path = tmp_path / "servers.save"
    for round_ in range(15):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02 + round_ * 0.003)
            writer.send_signal(signal.SIGKILL)
        found = StateFile(path).load()
        assert found is not None
        assert found["n"] == found["same"]
