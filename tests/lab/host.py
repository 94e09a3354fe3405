"""One host: a Debian under systemd in namespaces of its own, that can be powered off and on, with what stood on its disk."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.lab import cgroups, disks
from tests.lab.image import Image, mount
from tests.lab.network import Place
from tests.lab.shell import LabError, run

_BOOT_S = 30.0
_JOIN = 'for group in $GROUPS_OF_HOST; do echo $$ > "$group" || exit 90; done; exec "$@"'


class Host:
    """`place` is where it stands on the network, `layers` are what it has above the image.

    Commands run inside it without the network: faults must not hinder the lab. `root` is its file system, seen from outside.
    """

    def __init__(self, image: Image, place: Place, *layers: Path, ssh_port: int = 22) -> None:
        self.image = image
        self.layers = layers
        self.place = place
        self.ssh_port = ssh_port
        self.nspawn: subprocess.Popen[bytes] | None = None
        self._upper = image.folder / place.name
        self.root = image.folder / f"{place.name}.root"

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def address(self) -> str:
        return self.place.address

    @property
    def group(self) -> str:
        """The control group of everything in it."""
        return f"{self.place.net.namespace}/{self.name}"

    def create(self, *separate: tuple[str, int, str]) -> None:
        """Its disk and its cable. `separate` are folders that shall be file systems of their own, each with its size in MB and its kind."""
        mount(self.image.folder, self._upper, (self.image.layer, *self.layers))
        self.image.make_identity(self.root, self.name, (self.place.address, self.place.address_v6), self.ssh_port)
        for folder, size_mb, kind in separate:
            self._separate_disk(folder, size_mb, kind)
        self.place.plug_in()

    def _separate_disk(self, folder: str, size_mb: int, kind: str) -> None:
        place = self.root / folder.lstrip("/")
        kept = place.with_name(f"{place.name}.before")
        run("cp", "-a", str(place), str(kept))
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place))
        else:
            disks.mount_image(self.image.folder / f"{self.place.name}.disk", place, size_mb)
        run("cp", "-a", f"{kept}/.", str(place))
        run("rm", "-rf", str(kept))

    def power_on(self) -> None:
        """Boot, without waiting: see wait_until_up."""
        self.place.link_up()
        log = (self.image.folder / f"{self.place.name}.console").open("ab")
        # --keep-unit and --register=no: there need be no systemd or machined on the machine itself that could keep a scope or a record.
        self.nspawn = subprocess.Popen(
            ["sh", "-c", _JOIN, "join", "systemd-nspawn", "-q", "-D", str(self.root), "--keep-unit", "--register=no", "--link-journal=no",
             "-M", self.place.namespace, f"--network-namespace-path=/run/netns/{self.place.namespace}",
             "--resolv-conf=off", "--timezone=off", "--console=pipe", "-b"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GROUPS_OF_HOST": " ".join(map(str, cgroups.make(self.group)))},
        )  # fmt: skip
        log.close()

    def wait_until_up(self) -> None:
        """Until sshd runs inside. Raises LabError."""
        end = time.monotonic() + _BOOT_S
        while time.monotonic() < end:
            if self.init_pid() and self.inside("systemctl", "is-active", "ssh", check=False).strip() == "active":
                return
            time.sleep(0.05)
        console = (self.image.folder / f"{self.place.name}.console").read_text(errors="replace")
        raise LabError(f"{self.name} did not boot within {_BOOT_S:g} s: {console[-1500:]}")

    def init_pid(self) -> int:
        """Its PID 1, as this machine numbers it; 0 when it is off."""
        if self.nspawn is None or self.nspawn.poll() is not None:
            return 0
        with suppress(OSError, ValueError):
            children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
            return next(
                (int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "systemd"), 0
            )
        return 0

    def inside(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a program inside the host as root; its output. Raises LabError."""
        init = self.init_pid()
        if not init:
            raise LabError(f"{self.name} is off")
        return run("nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "--", *argv, stdin=stdin, check=check)

    def power_off(self) -> None:
        """As when the plug is pulled: the link drops first, so that nobody hears a goodbye, and every process is gone at once."""
        self.place.link_down()
        self._kill()

    def remove(self) -> None:
        """Take it away whole."""
        self._kill()
        self.place.unplug()
        run("umount", "-R", str(self.root), check=False)
        run(
            "rm",
            "-rf",
            *(f"{self._upper}{ending}" for ending in ("", ".work", ".root", ".console", ".disk")),
            check=False,
        )

    def _kill(self) -> None:
        """Its own PID 1 dies, and with it everything in the host; nspawn, which waits for that, then tidies up and ends by itself."""
        disks.kill(f"{self.group}/payload", self.root)
        if self.nspawn is not None:
            with suppress(subprocess.TimeoutExpired):
                self.nspawn.wait(timeout=10)
            cgroups.kill(self.group)
            self.nspawn.wait(timeout=10)
        cgroups.remove(self.group)
