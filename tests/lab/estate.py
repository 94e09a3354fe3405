"""What a lab owns on the machine, all of it found by the lab's number; and the end of it, by whoever notices that the lab is dead.

A lab is alive as long as its process holds the lock on its record, which the kernel releases even after SIGKILL. Whatever belongs to
a number without a living lab is removed: by a watcher process that each lab starts and that sees the lab's end of a pipe close, or
by the next lab. Run as a program, this module is that watcher. Must never touch what has not the number in its name.
"""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tests.lab import cgroups, disks
from tests.lab.network import Net
from tests.lab.shell import LabError, run

_RECORDS = Path("/run/handyrep-lab")
_NSPAWN = Path("/run/systemd/nspawn")
_MOST = 60
_PATIENCE_S = 10.0


def folder_of(number: int) -> Path:
    """Where the lab's file system is mounted: disks, keys, logs."""
    return _RECORDS / str(number)


def _record_of(number: int) -> Path:
    return _RECORDS / f"{number}.lock"


def claim() -> tuple[int, TextIO]:
    """A free number and the lock that keeps it ours. Raises LabError."""
    for number in range(1, _MOST):
        lock = _try_lock(number)
        if lock is not None:
            return number, lock
    raise LabError(f"{_MOST} labs are at work on this machine")


def release(number: int, lock: TextIO) -> None:
    """Remove all that the lab owns, its record last."""
    _remove_all_of(number)
    _record_of(number).unlink()
    lock.close()
    with suppress(OSError):
        _RECORDS.rmdir()


def bury_the_dead() -> None:
    """Remove what labs have left whose process is gone."""
    for record in _RECORDS.glob("*.lock"):
        _bury(int(record.stem))


def _bury(number: int) -> bool:
    """Whether the lab was dead, and so is now removed."""
    lock = _try_lock(number)
    if lock is not None:
        release(number, lock)
    return lock is not None


def _try_lock(number: int) -> TextIO | None:
    try:
        _RECORDS.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _record_of(number).open("w")
    except (FileExistsError, FileNotFoundError):
        # Another lab that ended has removed the folder since we saw or made it.
        return None
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it before us may have removed the file: then ours is a lock on nothing.
        if os.path.samestat(os.fstat(lock.fileno()), _record_of(number).stat()):
            return lock
    lock.close()
    return None


def _remove_all_of(number: int) -> None:
    net, folder = Net(number), folder_of(number)
    disks.thaw(folder)
    _kill(net.namespace)
    net.remove()
    for place in _mounts_below(folder):
        _forget_lock_of(place)
        run("umount", "-l", place, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    for left in _NSPAWN.glob(f"*/{net.namespace}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _kill(group: str) -> None:
    """First what is in the hosts: nspawn, once its host is dead, ends by itself and tidies up."""
    for host in cgroups.below(group):
        cgroups.kill(f"{host}/payload")
    end = time.monotonic() + _PATIENCE_S
    while cgroups.processes(group) and time.monotonic() < end:
        time.sleep(0.01)
    cgroups.kill(group)
    cgroups.remove(group)


def _mounts_below(folder: Path) -> list[str]:
    """Newest first."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in reversed(places) if place == str(folder) or place.startswith(f"{folder}/")]


def _forget_lock_of(place: str) -> None:
    """The lock file that a killed nspawn keeps for the folder it started from."""
    with suppress(OSError):
        status = Path(place).stat()
        (_NSPAWN / "locks" / f"inode-{status.st_dev}:{status.st_ino}").unlink()


@contextmanager
def owned() -> Iterator[int]:
    """A number of one's own with an empty file system at folder_of(it); all that carries it is removed at the end, however that comes."""
    bury_the_dead()
    number, lock = claim()
    try:
        _remove_all_of(number)
        with _watcher(number):
            folder_of(number).mkdir(mode=0o700)
            run("mount", "-t", "tmpfs", "-o", "size=6g,mode=755", "tmpfs", str(folder_of(number)))
            yield number
            _remove_all_of(number)
    finally:
        release(number, lock)


@contextmanager
def _watcher(number: int) -> Iterator[None]:
    """A process that outlives a killed lab and removes what it left at once."""
    top = Path(__file__).parents[2]
    reading, writing = os.pipe()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-m", __name__, str(number)], {**os.environ, "PYTHONPATH": str(top)},
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)], setsid=True,
    )  # fmt: skip
    os.close(reading)
    try:
        yield
    finally:
        os.write(writing, b"done")
        os.close(writing)
        os.waitpid(pid, 0)


def _watch(number: int) -> None:
    if os.read(0, 4):
        return
    end = time.monotonic() + _PATIENCE_S
    while not _bury(number) and time.monotonic() < end:
        time.sleep(0.05)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
