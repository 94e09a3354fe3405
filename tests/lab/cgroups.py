"""Control groups of the lab: one for each host, so that every process of a host can be counted, and ended, from outside.

A group per host is needed for another reason too: systemd-nspawn without a scope of its own puts its host into the group `payload`
below the one it was started in. Hosts started side by side would then share every group (system.slice/ssh.service …), and the
systemd of one would find the processes of another in its services.
"""

import os
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.lab.shell import LabError

_PATIENCE_S = 20.0


@cache
def _hierarchies() -> tuple[Path, ...]:
    """Where groups are made: cgroup 2, and systemd's own hierarchy of cgroup 1 where there is one."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(place))
    if not found:
        raise LabError("no cgroup hierarchy is mounted: the lab's hosts cannot be told apart")
    return tuple(found)


def make(group: str) -> list[Path]:
    """Make the group in every hierarchy; the files that a process writes its number into to join."""
    for top in _hierarchies():
        (top / group).mkdir(parents=True, exist_ok=True)
    return [top / group / "cgroup.procs" for top in _hierarchies()]


def processes(group: str) -> set[int]:
    """All processes in the group and below, as this machine numbers them; zombies have left it already."""
    found: set[int] = set()
    for top in _hierarchies():
        for folder in _folders(top / group):
            with suppress(OSError):
                found.update(int(word) for word in (folder / "cgroup.procs").read_text().split() if word != "0")
    return found


def kill(group: str) -> None:
    """SIGKILL everything in the group and below, again and again until nothing is left. Raises LabError."""
    end = time.monotonic() + _PATIENCE_S
    while left := processes(group):
        if time.monotonic() > end:
            raise LabError(f"processes {sorted(left)} of {group} cannot be killed")
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.005)


def remove(group: str) -> None:
    """Remove the empty group and all below."""
    for top in _hierarchies():
        for folder in sorted(_folders(top / group), reverse=True):
            with suppress(FileNotFoundError):
                folder.rmdir()


def below(group: str) -> list[str]:
    """The groups directly in this one."""
    inside = {name for top in _hierarchies() for name in next(os.walk(top / group), ("", [], []))[1]}
    return sorted(f"{group}/{name}" for name in inside)


def _folders(top: Path) -> list[Path]:
    """The folder and all below. A host that ends takes its groups away while they are read: one that is gone is passed over."""
    return [Path(folder) for folder, _, _ in os.walk(top)]
