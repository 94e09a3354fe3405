"""A lab: one prepared image, a bridge, hosts made from it. One lab at a time on a machine; what a dead one left is cleaned first."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TextIO

from tests.lab import network
from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.image import LAYOUTS, ROOT_TIER, Image
from tests.lab.network import Place
from tests.lab.shell import LabError, run

_RECORD = Path("/run/handyrep-lab")


class Lab:
    """Use it as a context manager. `cluster()` gives fresh hosts each time: nothing is reset, nothing is shared."""

    def __init__(self) -> None:
        self._lock: TextIO | None = None
        self._hosts: list[Host] = []
        self._number = 10
        self.folder = Path()
        self.image = Image(self.folder)

    def __enter__(self) -> "Lab":
        self._lock = _take_lock()
        clean_up()
        self.folder = Path(tempfile.mkdtemp(prefix="handyrep-lab-"))
        run("mount", "-t", "tmpfs", "-o", "size=6g,mode=755", "tmpfs", str(self.folder))
        (_RECORD / "folder").write_text(str(self.folder))
        self.image = Image(self.folder)
        try:
            self.image.prepare()
            network.make_bridge()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove_hosts()
        clean_up()
        if self._lock is not None:
            self._lock.close()

    def hosts(self, *names: str) -> list[Host]:
        """New hosts, up and reachable."""
        made = []
        for name in names:
            self._number += 1
            made.append(Host(self.image, Place(name, self._number)))
        self._hosts += made
        for host in made:
            host.create()
            host.power_on()
        for host in made:
            host.wait_until_up()
        self._write_known_hosts()
        return made

    def cluster(
        self, version: int = 15, *, replicas: int = 2, login: str = ROOT_TIER, synchronous: bool = True, restart_method: str = ""
    ) -> LabCluster:
        """A running cluster on fresh hosts: the first is the master."""
        suffix = chr(ord("a") + len(self._hosts) % 26) + str(len(self._hosts))
        hosts = self.hosts(*(f"pg{number}{suffix}" for number in range(1, replicas + 2)))
        cluster = LabCluster(hosts, LAYOUTS[version], login, self.known_hosts, restart_method=restart_method)
        cluster.start(synchronous=synchronous)
        return cluster

    @property
    def known_hosts(self) -> Path:
        """The file with every host's SSH key."""
        return self.folder / "known_hosts"

    def remove_hosts(self) -> None:
        """Take all hosts away; the image stays."""
        for host in self._hosts:
            host.remove()
            shutil.rmtree(self.folder / host.name, ignore_errors=True)
        self._hosts.clear()

    def _write_known_hosts(self) -> None:
        key = self.image.host_public_key()
        lines = [f"{address} {key}\n" for host in self._hosts for address in (host.place.address, host.place.address_v6)]
        self.known_hosts.write_text("".join(lines))


def _take_lock() -> TextIO:
    _RECORD.mkdir(mode=0o700, exist_ok=True)
    lock = (_RECORD / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise LabError("another lab runs on this machine") from None
    return lock


def clean_up() -> None:
    """Remove whatever the lab of the record left: processes, namespaces, the bridge, mounts, files. Called under the lock."""
    record = _RECORD / "folder"
    folder = Path(record.read_text()) if record.exists() else None
    if folder is not None:
        _kill_hosts_of(folder)
    for namespace in run("ip", "netns", "list", check=False).split():
        if namespace.startswith("hr-"):
            run("ip", "netns", "del", namespace, check=False)
    network.remove_bridge()
    if folder is not None and folder.name.startswith("handyrep-lab-"):
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
    record.unlink(missing_ok=True)


def _kill_hosts_of(folder: Path) -> None:
    """The nspawn processes whose hosts' disks lie in the folder, with all that is in them."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (process / "cmdline").read_bytes().split(b"\0")
            if argv[0].endswith(b"systemd-nspawn") and any(str(folder).encode() in word for word in argv):
                children = (process / f"task/{process.name}/children").read_text().split()
                for pid in (*children, process.name):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((m for m in mounts if m == str(folder) or m.startswith(f"{folder}/")), reverse=True):
        run("umount", "-l", place, check=False)
