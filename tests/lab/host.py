"""One host: a Debian under systemd in namespaces of its own, that can be powered off and on, with what stood on its disk."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.lab import network
from tests.lab.image import Image, mount
from tests.lab.network import Place
from tests.lab.shell import LabError, run

_BOOT_S = 30.0


class Host:
    """`place` is where it stands on the network. Commands run inside it without the network: faults must not hinder the lab."""

    def __init__(self, image: Image, place: Place) -> None:
        self.image = image
        self.place = place
        self.nspawn: subprocess.Popen[bytes] | None = None
        self._root = image.folder / f"{place.name}.root"

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def address(self) -> str:
        return self.place.address

    def create(self) -> None:
        """Its disk and its cable."""
        mount(self.image.folder, self.image.folder / self.place.name, self.image.layer)
        (self._root / "etc/hostname").write_text(f"{self.name}\n")
        network.plug_in(self.place)

    def power_on(self) -> None:
        """Boot, without waiting: see wait_until_up."""
        network.link_up(self.place)
        log = (self.image.folder / f"{self.place.name}.console").open("ab")
        # --keep-unit and --register=no: there is no systemd or machined on the machine itself that could keep a scope or a record.
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", str(self._root), "--keep-unit", "--register=no", "-M", f"hr{self.name}",
             f"--network-namespace-path=/run/netns/{self.place.namespace}", "--resolv-conf=off", "--timezone=off", "-b"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()

    def wait_until_up(self) -> None:
        """Until sshd runs inside. Raises LabError."""
        end = time.monotonic() + _BOOT_S
        while time.monotonic() < end:
            if self.init_pid() and "active" == self.inside("systemctl", "is-active", "ssh", check=False).strip():
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
            return next((int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "systemd"), 0)
        return 0

    def inside(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a program inside the host as root; its output. Raises LabError."""
        init = self.init_pid()
        if not init:
            raise LabError(f"{self.name} is off")
        return run("nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "--", *argv, stdin=stdin, check=check)

    def power_off(self) -> None:
        """As when the plug is pulled: the link drops and every process is gone at once."""
        network.link_down(self.place)
        self._kill()

    def remove(self) -> None:
        """Take it away whole."""
        self._kill()
        network.unplug(self.place)
        run("umount", "-R", "-l", str(self._root), check=False)

    def _kill(self) -> None:
        init = self.init_pid()
        if init:
            os.kill(init, signal.SIGKILL)
        if self.nspawn is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.nspawn.pid, signal.SIGKILL)
            self.nspawn.wait(timeout=20)
