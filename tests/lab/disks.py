"""Disks of the lab's hosts that can hang: ext4 on a loop device, which takes no writes while it is frozen and says nothing.

A process that writes to a frozen disk does not end by SIGKILL before the disk is thawed: whatever ends a host must do that.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.lab import cgroups
from tests.lab.shell import run


def mount_image(image: Path, place: Path, size_mb: int) -> None:
    """A new ext4 of that size at `place`, in the file `image`. The loop device goes with the mount."""
    run("truncate", "-s", f"{size_mb}M", str(image))
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
    run("mount", "-o", "loop", str(image), str(place))


def freeze(place: Path) -> None:
    """From now on writes to it wait."""
    run("fsfreeze", "--freeze", str(place))


def thaw(folder: Path) -> None:
    """Let every disk that is mounted below the folder take writes again."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "ext4" and place.startswith(f"{folder}/"):
            run("fsfreeze", "--unfreeze", place, check=False)


def kill(group: str, root: Path) -> None:
    """End every process of a host. What waits for its disk has its SIGKILL before the disk is thawed, so that it does nothing more."""
    for process in cgroups.processes(group):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    thaw(root)
    cgroups.kill(group)
