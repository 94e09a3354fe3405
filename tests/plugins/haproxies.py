"""A real HAProxy on loopback in front of real PostgreSQLs, and the plugin that manages it."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from tests.adapters.ports import free_port, program, wait_for
from tests.adapters.postgresql import PASSWORD, account, databases, short_folder
from tests.factories import make_settings
from tests.plugins.bouncers import owner

TEMPLATE = """defaults
    mode tcp
    timeout connect 3s
    timeout client 1h
    timeout server 1h
listen {{ master_section }}
    bind 127.0.0.1:{{ port }}
{% for line in master_servers %}
    {{ line }} check inter 200ms
{% endfor %}
listen {{ readers_section }}
    bind 127.0.0.1:{{ readonly_port }}
{% for line in reader_servers %}
    {{ line }}
{% endfor %}
"""
FOREIGN = "defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 1h\n    timeout server 1h\n"


@dataclasses.dataclass
class Haproxy:
    """A HAProxy with a folder of its own."""

    folder: Path
    port: int
    readonly_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def cfg(self) -> Path:
        return self.folder / "haproxy.cfg"

    @property
    def socket(self) -> Path:
        return self.folder / "m.sock"

    def server(self, name: str = "h1", **changes: Any) -> Server:
        known = {"hostname": "127.0.0.1", "port": self.port, "control": "local", "postgres_os_user": owner()}
        return Server(**{"name": name, "role": "proxy", "sslmode": "disable", **known, **changes})

    def start(self, level: str = "admin") -> None:
        """`level`: what its master socket lets do."""
        with (self.folder / "log").open("ab") as log:
            argv = [program("haproxy"), "-W", "-db", "-S", f"{self.socket},level,{level}", "-f", str(self.cfg)]
            group = None if account() is None else "nogroup"
            self.process = subprocess.Popen(
                argv, stdout=log, stderr=log, user=account(), group=group, start_new_session=True
            )
        wait_for(self.port)

    def stop(self) -> None:
        """At once, with every worker."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    def connect(self, port: int = 0) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=port or self.port, dbname="postgres", user="postgres", password=PASSWORD,
            autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def leads_to(self, port: int = 0) -> int:
        """The port of the server that a new client gets to."""
        with self.connect(port) as client:
            return port_seen(client)

    def reload(self) -> None:
        """As somebody does who changed something: what clients have stays in an old worker."""
        before = self.workers()
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGUSR2)
        end = time.monotonic() + 20
        while self.workers() in ([], before):
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.02)

    def workers(self) -> list[str]:
        """Those that take connections; none while it reloads."""
        argv = [program("socat"), "-", f"UNIX-CONNECT:{self.socket}"]
        said = subprocess.run(argv, input="show proc\n", capture_output=True, text=True, check=False).stdout
        now = said.partition("# workers")[2].partition("# old")[0].partition("# programs")[0]
        return [line.split()[0] for line in now.splitlines() if " worker " in line]


def port_seen(client: "psycopg.Connection[Any]") -> int:
    row = client.execute("show port").fetchone()
    assert row is not None
    return int(row[0])


@contextlib.contextmanager
def haproxy() -> Iterator[Haproxy]:
    """One whose file nobody of HandyRep wrote; it listens at its port, and leads nowhere."""
    with short_folder() as folder:
        made = Haproxy(folder, free_port(), free_port())
        made.cfg.write_text(f"{FOREIGN}listen mine\n    bind 127.0.0.1:{made.port}\n")
        made.start()
        try:
            yield made
        finally:
            made.stop()


@dataclasses.dataclass
class Managed:
    """The plugin, with the cluster that it is called in."""

    cluster: Cluster
    caller: Caller

    async def call(self, method: str = "run", deadline_s: float = 30.0, **arguments: Any) -> Result:
        return await self.caller.call(
            Kind.CONNECTION_FAILOVER, "haproxy_update", method, arguments, cluster=self.cluster, deadline_s=deadline_s
        )


@contextlib.asynccontextmanager
async def managed(
    cluster: Cluster, it: Haproxy, templates: Path, template: str = TEMPLATE, **options: str
) -> AsyncIterator[Managed]:
    """The plugin on real ports."""
    if template:
        (templates / "haproxy.cfg.j2").write_text(template)
    given = {
        "owner": owner(), "config_location": str(it.cfg), "master_socket": str(it.socket),
        "readonly_port": str(it.readonly_port), **options,
    }  # fmt: skip
    settings = make_settings(
        servers=cluster.servers,
        handyrep={"templates_dir": str(templates), "handyrep_user": "postgres"},
        plugins={"haproxy_update": given},
    )
    hosts, db = RealHosts(), databases()
    try:
        yield Managed(cluster, Caller(Registry(), World(settings, hosts, db, SystemClock())))
    finally:
        await db.close()
        await hosts.close()
