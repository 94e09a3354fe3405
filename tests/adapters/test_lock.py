"""The lock of the state directory: one holder, who is named; freed however the holder ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.lock import StateLock
from handyrep.errors import BusyError, StateError
from tests.adapters.small_disk import fill, small_disk
from tests.adapters.test_store import NEEDS_ROOT

_HOLDER = """
import sys, time
from pathlib import Path
from handyrep.adapters.clock import SystemClock
from handyrep.adapters.lock import StateLock
StateLock(Path(sys.argv[1]), SystemClock()).take()
print("held", flush=True)
time.sleep(60)
"""


def lock(folder: Path) -> StateLock:
    """A lock on the folder."""
    return StateLock(folder, SystemClock())


def test_e6_the_second_is_told_who_holds_it_since_when(tmp_path: Path) -> None:
    first = lock(tmp_path)
    first.take()
    with pytest.raises(BusyError) as caught:
        lock(tmp_path).take()
    assert f"process {os.getpid()}, since 20" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    first.release()
    second = lock(tmp_path)
    second.take()
    second.release()


def test_releasing_twice_or_unheld_does_nothing(tmp_path: Path) -> None:
    held = lock(tmp_path)
    held.release()
    held.take()
    held.release()
    held.release()
    again = lock(tmp_path)
    again.take()
    with pytest.raises(BusyError):
        lock(tmp_path).take()
    again.release()


def test_e7_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=str(holder.pid)):
            lock(tmp_path).take()
        holder.send_signal(signal.SIGKILL)
    mine = lock(tmp_path)
    mine.take()
    mine.release()


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    held = lock(tmp_path)
    held.take()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.release()
        again = lock(tmp_path)
        again.take()
        with pytest.raises(BusyError):
            lock(tmp_path).take()
        again.release()
        child.kill()


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened"):
        lock(tmp_path / "missing").take()


@NEEDS_ROOT
def test_a_full_disk_takes_the_name_but_not_the_lock(tmp_path: Path) -> None:
    with small_disk(tmp_path) as folder:
        (folder / "lock").touch()
        fill(folder)
        held = lock(folder)
        held.take()
        with pytest.raises(BusyError, match="unknown"):
            lock(folder).take()
        held.release()
