"""Real pgbouncers on loopback in front of real PostgreSQLs, and the plugin that manages them."""

import contextlib
import dataclasses
import getpass
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.config.settings import Settings
from handyrep.model.cluster import Cluster, Member
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.model.status import Health
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from tests.adapters.ports import free_port, program, wait_for
from tests.adapters.postgresql import PASSWORD, PostgreSQL, account, databases, short_folder
from tests.factories import make_member, make_settings


@dataclasses.dataclass
class Bouncer:
    """A pgbouncer with a folder of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def ini(self) -> Path:
        return self.folder / "pgbouncer.ini"

    def server(self, name: str = "b1", **changes: Any) -> Server:
        known = {"hostname": "127.0.0.1", "port": self.port, "control": "local", "postgres_os_user": owner()}
        return Server(**{"name": name, "role": "pgbouncer", "sslmode": "disable", **known, **changes})

    def configure(self, leads_to: int, **settings: str) -> None:
        """Write its files: it leads to that port of this host."""
        (self.folder / "userlist.txt").write_text(f'"postgres" "{PASSWORD}"\n')
        databases = f"postgres = host=127.0.0.1 port={leads_to} dbname=postgres\n"
        more = "".join(f"{key} = {value}\n" for key, value in settings.items())
        self.ini.write_text(f"[databases]\n{databases}\n[pgbouncer]\n{_rest(self)}{more}")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            argv = [program("pgbouncer"), str(self.ini)]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, user=account(), group=_group())
        wait_for(self.port)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def connect(self, dbname: str = "postgres", connect_timeout: int = 5, **more: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=dbname, user="postgres", password=PASSWORD, autocommit=True,
            prepare_threshold=None, connect_timeout=connect_timeout, **more,
        )  # fmt: skip

    def console(self, command: str) -> list[tuple[Any, ...]]:
        with self.connect("pgbouncer", cursor_factory=psycopg.ClientCursor) as console:
            cursor = console.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def leads(self) -> dict[str, int]:
        """The port of the server that each name leads to."""
        return {row[0]: row[2] for row in self.console("show databases") if row[0] != "pgbouncer"}


def owner() -> str:
    """The account that runs them."""
    return account() or getpass.getuser()


def _group() -> str | None:
    return None if account() is None else "nogroup"


@contextlib.contextmanager
def bouncer(leads_to: int | None = None, **settings: str) -> Iterator[Bouncer]:
    """One that runs, if it leads to a port, with an ini that HandyRep wrote earlier."""
    with short_folder() as folder:
        made = Bouncer(folder, free_port())
        if leads_to is not None:
            made.configure(leads_to, **settings)
            made.start()
        try:
            yield made
        finally:
            made.stop()


def _rest(made: Bouncer) -> str:
    return (
        f"listen_addr = 127.0.0.1\nlisten_port = {made.port}\nunix_socket_dir = {made.folder}\npidfile = {made.folder}/pid\n"
        f"auth_type = scram-sha-256\nauth_file = {made.folder}/userlist.txt\nadmin_users = postgres\nserver_login_retry = 0.2\n"
    )


TEMPLATE = """[databases]
{% for name, connection in databases.items() %}
{{ name }} = {{ connection }}
{% endfor %}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {{ port }}
unix_socket_dir = {{ folder }}
pidfile = {{ folder }}/pid
auth_type = scram-sha-256
auth_file = {{ folder }}/userlist.txt
admin_users = {{ admin_user }}
pool_mode = transaction
server_login_retry = 0.2
"""


@dataclasses.dataclass
class Managed:
    """The plugin, with the cluster and configuration that it is called in."""

    cluster: Cluster
    settings: Settings
    caller: Caller
    name: str = "multi_pgbouncer"

    async def call(self, method: str = "run", deadline_s: float = 30.0, **arguments: Any) -> Result:
        return await self.caller.call(
            Kind.CONNECTION_FAILOVER, self.name, method, arguments, cluster=self.cluster, deadline_s=deadline_s
        )


def cluster_of(*members: Server | Member) -> Cluster:
    """Of these, the plain ones healthy."""
    made = [one if isinstance(one, Member) else make_member(one, Health.HEALTHY) for one in members]
    return Cluster(members=MappingProxyType({member.name: member for member in made}))


@contextlib.asynccontextmanager
async def managed(
    cluster: Cluster,
    config: Path,
    templates: Path,
    template: str = TEMPLATE,
    name: str = "multi_pgbouncer",
    template_name: str = "",
    **options: str,
) -> AsyncIterator[Managed]:
    """The plugin on real ports. `config` is where pgbouncer.ini stands; all pgbouncers of the cluster have it there."""
    if template:
        (templates / "pgbouncer.ini.j2").write_text(template)
    given = {
        "owner": owner(),
        "config_location": str(config),
        "database_list": "postgres",
        "template": template_name,
        **options,
    }
    settings = make_settings(
        servers=cluster.servers,
        handyrep={"templates_dir": str(templates), "handyrep_user": "postgres"},
        plugins={name: given},
    )
    hosts, db = RealHosts(), databases()
    try:
        yield Managed(cluster, settings, Caller(Registry(), World(settings, hosts, db, SystemClock())), name)
    finally:
        await db.close()
        await hosts.close()


def pid_of(bouncer_: Bouncer) -> int:
    return int((bouncer_.folder / "pid").read_text())


def postgres_server(pg: PostgreSQL, name: str, role: str, **changes: Any) -> Server:
    """As the cluster knows it."""
    return pg.server(name, role=role, **changes)


@dataclasses.dataclass
class Pair:
    """A master and a replica (for pgbouncer any two PostgreSQLs will do)."""

    master: PostgreSQL
    replica: PostgreSQL


def cluster_with(pair: Pair, *bouncers: Bouncer, **of_master: Any) -> Cluster:
    servers = [
        postgres_server(pair.master, "m1", "master", **of_master),
        postgres_server(pair.replica, "r1", "replica"),
    ]
    return cluster_of(*servers, *(one.server(f"b{number}") for number, one in enumerate(bouncers, 1)))


def port_seen(client: "psycopg.Connection[tuple[str]]") -> int:
    row = client.execute("show port").fetchone()
    assert row is not None
    return int(row[0])
