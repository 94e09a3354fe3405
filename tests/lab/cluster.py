"""A PostgreSQL cluster in the lab: started, looked at, and described to HandyRep in a handyrep.conf."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.lab.databases import OWN_SETTINGS, PASSWORDS, Layout
from tests.lab.host import Host
from tests.lab.image import ROOT_TIER, link, write
from tests.lab.shell import LabError

_CONF = """
[handyrep]
cluster_name = lab
state_dir = {state_dir}
profile = {profile}
handyrep_user = handyrep
replication_user = replication
{handyrep}

[passwords]
handyrep_db_pass = {passwords[handyrep]}
superuser_pass = {passwords[postgres]}
replication_pass = {passwords[replication]}
{more_passwords}

[failover]
auto_failover = True
poll_method = {poll_method}
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
_MINIMAL_ROLE = """
alter role handyrep nosuperuser;
grant pg_monitor, pg_checkpoint to handyrep;
grant execute on function pg_promote(boolean, integer), pg_reload_conf() to handyrep;
grant alter system on parameter primary_conninfo, synchronous_standby_names, wal_retrieve_retry_interval to handyrep;
create schema handyrep authorization handyrep;
"""

_EVIDENCE = """
systemctl is-active "$1"
uptime
journalctl --no-pager -n 15 -u "$1"
tail -n 15 /var/log/postgresql/*.log 2>/dev/null
"""


class LabCluster:
    """`hosts[0]` begins as the master. Statements go through the hosts' own addresses, as a client's would.

    `v6` decides which of its two addresses each host has in handyrep.conf.
    """

    def __init__(
        self, hosts: Sequence[Host], layout: Layout, login: str, known_hosts: Path, *, restart_method: str = ""
    ) -> None:
        self.hosts = list(hosts)
        self.layout = layout
        self.login = login
        self.known_hosts = known_hosts
        self.v6 = False
        self.restart_method = restart_method or ("restart_service" if login == ROOT_TIER else "restart_pg_ctl")

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]

    def host(self, name: str) -> Host:
        """A host by name."""
        return next(host for host in self.hosts if host.name == name)

    def configure(self, *, synchronous: bool) -> None:
        """Before the hosts boot: who they are, and whom the replicas follow."""
        for host in self.hosts:
            others = ", ".join(f'"{other.name}"' for other in self.hosts if other is not host)
            promise = f"ANY 1 ({others})" if synchronous and others else ""
            settings = f"synchronous_standby_names = '{promise}'\ncluster_name = '{host.name}'\n"
            write(host.root / OWN_SETTINGS.lstrip("/"), settings)
        for host in self.hosts[1:]:
            self._make_replica(host, self.hosts[0])

    def start_with_hosts(self, wanted: bool) -> None:
        """Whether PostgreSQL starts by itself when its host boots."""
        for host in self.hosts:
            if self.layout.pgconf:
                write(host.root / self.layout.pgconf.lstrip("/") / "start.conf", "auto\n" if wanted else "manual\n")
            else:
                start = host.root / f"etc/systemd/system/multi-user.target.wants/{self.layout.unit}.service"
                start.unlink(missing_ok=True)
                if wanted:
                    link(start, f"/etc/systemd/system/{self.layout.unit}.service")

    def _make_replica(self, host: Host, master: Host) -> None:
        password = PASSWORDS["replication"]
        conninfo = f"host={master.address} port=5432 user=replication password={password} application_name={host.name}"
        data = host.root / self.layout.pgdata.lstrip("/")
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{conninfo}'\n")
        (data / "standby.signal").touch(mode=0o600)
        shutil.chown(data / "standby.signal", "postgres", "postgres")

    def reduce_role(self) -> None:
        """From now on HandyRep's role is no superuser, but has what it needs (version 15 and later). Call it while the first host is master."""
        with self.connect(self.names[0]) as connection:
            connection.execute(_MINIMAL_ROLE)

    def wait_until_streaming(self, master: str, count: int, patience_s: float = 30.0) -> None:
        """Until so many replicas stream from the master. Raises LabError, with what the hosts say of their PostgreSQL."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            try:
                if self.value(master, "select count(*) from pg_stat_replication where state = 'streaming'") == count:
                    return
            except psycopg.Error:
                pass
            time.sleep(0.05)
        said = "\n".join(f"{host.name}: {self._evidence(host)}" for host in self.hosts)
        raise LabError(f"{count} replicas do not stream from {master} within {patience_s:g} s\n{said}")

    def _evidence(self, host: Host) -> str:
        if not host.init_pid():
            return "it is off"
        return host.inside("sh", "-c", _EVIDENCE, "evidence", self.layout.unit, check=False)

    def connect(self, name: str, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of the superuser on a server."""
        given = {
            "host": self.host(name).address,
            "user": "postgres",
            "password": PASSWORDS["postgres"],
            "dbname": "postgres",
            "connect_timeout": 3,
        }
        return psycopg.connect("", **{**given, **parameters}, autocommit=True)

    def value(self, name: str, statement: str) -> Any:
        """The one value a statement gives."""
        with self.connect(name) as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def in_recovery(self, name: str) -> bool:
        return bool(self.value(name, "select pg_is_in_recovery()"))

    def handyrep_conf(
        self,
        folder: Path,
        *,
        profile: str = "fast",
        poll_method: str = "poll_isready",
        handyrep: str = "",
        passwords: str = "",
        failover: str = "",
        server_defaults: str = "",
        plugins: str = "",
        servers: str = "",
    ) -> Path:
        """Write a handyrep.conf for this cluster into the folder; each argument adds lines to its section."""
        listed = [
            f"[[{host.name}]]\nhostname = {host.place.address_v6 if self.v6 else host.address}\nssh_port = {host.ssh_port}\nrole = {'master' if number == 0 else 'replica'}\nfailover_priority = {number + 1}\n"
            for number, host in enumerate(self.hosts)
        ]
        text = _CONF.format(
            state_dir=folder / "state", profile=profile, poll_method=poll_method, passwords=PASSWORDS, login=self.login, key=self.hosts[0].image.client_key, known_hosts=self.known_hosts,
            layout=self.layout, restart_method=self.restart_method, servers="".join(listed) + servers, handyrep=handyrep, failover=failover,
            server_defaults=server_defaults, plugins=plugins, more_passwords=passwords,
        )  # fmt: skip
        conf = folder / "handyrep.conf"
        conf.write_text(text)
        conf.chmod(0o600)
        return conf
