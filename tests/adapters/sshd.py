"""A real sshd on loopback with its own host key, and a key that may log in as the account that runs the tests."""

import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handyrep.model.server import Server
from tests.adapters.ports import free_port, program, wait_for

ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name
_ENDING_S = 20.0


@dataclasses.dataclass
class Sshd:
    """A running one."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        """Where its host key stands."""
        return self.folder / "known_hosts"

    def server(self, name: str = "one", **changes: Any) -> Server:
        """A server that is reached through it."""
        settings: dict[str, Any] = {
            "name": name,
            "hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": ACCOUNT,
            "ssh_key": str(self.folder / "id"),
            "known_hosts": str(self.known_hosts),
            **changes,
        }
        return Server(**settings)

    def sessions(self) -> list[int]:
        """The processes of its connections."""
        listed = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def wait_for_no_session(self) -> None:
        """Raises AssertionError when one has not ended after long."""
        end = time.monotonic() + _ENDING_S
        while self.sessions():
            assert time.monotonic() < end, f"sessions of sshd: {self.sessions()}"
            time.sleep(0.01)

    def cut_all(self) -> None:
        """End its connections the hard way."""
        for pid in self.sessions():
            _signal_tree(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it and its connections."""
        self.cut_all()
        self.process.kill()
        self.process.wait()


def make_key(path: Path) -> None:
    """A new key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def running_sshd(folder: Path, address: str = "127.0.0.1") -> Iterator[Sshd]:
    """Started in that folder, which is its own; stopped at the end."""
    make_key(folder / "host")
    make_key(folder / "id")
    shutil.copy(folder / "id.pub", folder / "authorized_keys")
    (folder / "authorized_keys").chmod(0o600)
    port = free_port()
    _write_configuration(folder, port, address)
    kind, key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [program("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log:
        sshd = Sshd(folder, port, subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL))
    try:
        wait_for(port)
        sshd.wait_for_no_session()
        yield sshd
    finally:
        sshd.stop()


def _write_configuration(folder: Path, port: int, address: str) -> None:
    """A home of its own: what the account's shell would read at each login may take long, and leave locks behind when it is killed."""
    lines = [
        f"SetEnv HOME={folder}",
        f"Port {port}",
        f"ListenAddress {address}",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f"PidFile {folder / 'pid'}",
        "UsePAM no",
        "StrictModes no",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "MaxStartups 100",
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")


def _signal_tree(pid: int, number: int) -> None:
    """From the top: a connection must be gone before the end of its command can be told."""
    for process in [pid, *_below(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _below(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    children = [int(child) for child in listed.stdout.split()]
    return [process for child in children for process in (child, *_below(child))]
