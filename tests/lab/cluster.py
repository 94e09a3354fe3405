"""A PostgreSQL cluster in the lab: started, looked at, and described to HandyRep in a handyrep.conf."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.lab.host import Host
from tests.lab.image import PASSWORDS, ROOT_TIER, Layout
from tests.lab.shell import LabError

_CONF = """
[handyrep]
cluster_name = lab
state_dir = {state_dir}
profile = fast
handyrep_user = handyrep
replication_user = replication
{handyrep}

[passwords]
handyrep_db_pass = {passwords[handyrep]}
superuser_pass = {passwords[postgres]}
replication_pass = {passwords[replication]}

[failover]
auto_failover = True
poll_method = poll_isready
{failover}

[server_defaults]
ssh_user = {login}
ssh_key = {key}
known_hosts = {known_hosts}
pgdata = {layout.pgdata}
pgconf = {layout.pgconf}
bin_dir = {layout.bin_dir}
restart_method = {restart_method}
{server_defaults}

[servers]
{servers}

[plugins]
[[restart_service]]
service_name = {layout.unit}
{plugins}
"""


class LabCluster:
    """`hosts[0]` begins as the master. Statements go through the hosts' own addresses, as a client's would."""

    def __init__(self, hosts: Sequence[Host], layout: Layout, login: str, known_hosts: Path, *, restart_method: str = "") -> None:
        self.hosts = list(hosts)
        self.layout = layout
        self.login = login
        self.known_hosts = known_hosts
        self.restart_method = restart_method or ("restart_service" if login == ROOT_TIER else "restart_pg_ctl")

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]

    def host(self, name: str) -> Host:
        """A host by name."""
        return next(host for host in self.hosts if host.name == name)

    def start(self, *, synchronous: bool) -> None:
        """Start the master, then the replicas, and wait until they stream."""
        master = self.hosts[0]
        for host in self.hosts:
            others = ", ".join(f'"{other.name}"' for other in self.hosts if other is not host)
            promise = f"ANY 1 ({others})" if synchronous and len(self.hosts) > 1 else ""
            host.inside("mkdir", "-p", "/srv/lab")
            host.inside("sh", "-c", "cat > /srv/lab/postgres.conf; chmod 644 /srv/lab/postgres.conf", stdin=f"synchronous_standby_names = '{promise}'\ncluster_name = '{host.name}'\n")
        for host in self.hosts[1:]:
            self._make_replica(host, master)
        for host in self.hosts:
            host.inside("systemctl", "start", "--no-block", self.layout.unit)
        self.wait_until_streaming(master.name, len(self.hosts) - 1)
        for host in self.hosts:
            host.inside("systemctl", "start", self.layout.unit)

    def _make_replica(self, host: Host, master: Host) -> None:
        password = PASSWORDS["replication"]
        conninfo = f"host={master.address} port=5432 user=replication password={password} application_name={host.name}"
        script = f"cat >> {self.layout.pgdata}/postgresql.auto.conf; : > {self.layout.pgdata}/standby.signal; chown postgres: {self.layout.pgdata}/standby.signal"
        host.inside("sh", "-c", script, stdin=f"primary_conninfo = '{conninfo}'\n")

    def wait_until_streaming(self, master: str, count: int, patience_s: float = 30.0) -> None:
        """Until so many replicas stream from the master. Raises LabError."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            try:
                if self.value(master, "select count(*) from pg_stat_replication where state = 'streaming'") == count:
                    return
            except psycopg.Error:
                pass
            time.sleep(0.05)
        raise LabError(f"{count} replicas do not stream from {master} within {patience_s:g} s")

    def connect(self, name: str, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of the superuser on a server."""
        given = {"host": self.host(name).address, "user": "postgres", "password": PASSWORDS["postgres"], "dbname": "postgres", "connect_timeout": 3}
        return psycopg.connect("", **{**given, **parameters}, autocommit=True)

    def value(self, name: str, statement: str) -> Any:
        """The one value a statement gives."""
        with self.connect(name) as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def in_recovery(self, name: str) -> bool:
        return bool(self.value(name, "select pg_is_in_recovery()"))

    def handyrep_conf(self, folder: Path, *, handyrep: str = "", failover: str = "", server_defaults: str = "", plugins: str = "", servers: str = "") -> Path:
        """Write a handyrep.conf for this cluster into the folder; each argument adds lines to its section."""
        listed = [
            f"[[{host.name}]]\nhostname = {host.address}\nrole = {'master' if number == 0 else 'replica'}\nfailover_priority = {number + 1}\n"
            for number, host in enumerate(self.hosts)
        ]
        text = _CONF.format(
            state_dir=folder / "state", passwords=PASSWORDS, login=self.login, key=self.hosts[0].image.client_key, known_hosts=self.known_hosts,
            layout=self.layout, restart_method=self.restart_method, servers="".join(listed) + servers, handyrep=handyrep, failover=failover,
            server_defaults=server_defaults, plugins=plugins,
        )  # fmt: skip
        conf = folder / "handyrep.conf"
        conf.write_text(text)
        conf.chmod(0o600)
        return conf
