"""The 2014 program's guard against a second HandyRep, replaced by a lock that the kernel keeps."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.lock import StateLock
from handyrep.errors import BusyError

_HOLD = "import sys, time; from handyrep.adapters.clock import SystemClock; from handyrep.adapters.lock import StateLock; from pathlib import Path; StateLock(Path(sys.argv[1]), SystemClock()).take(); print('held', flush=True); time.sleep(60)"


def test_e6_e7_hr_23_a_second_handyrep_is_refused_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"lock = None\n{_HOLD.replace('StateLock(Path', 'lock = StateLock(Path').replace(').take()', '); lock.take()')}",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    lock = StateLock(tmp_path, SystemClock())
    with pytest.raises(BusyError, match=str(holder.pid)):
        lock.take()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    end = time.monotonic() + 5
    while True:
        try:
            lock.take()
            break
        except BusyError:
            assert time.monotonic() < end
            time.sleep(0.01)
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
