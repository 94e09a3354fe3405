"""Hosts of the lab with Debian's pgbouncer, or Debian's HAProxy, in front of a cluster."""

import shutil

import psycopg

from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.host import Host
from tests.lab.image import link, write

PORT = 6432
ADMIN, ADMIN_PASSWORD = "boss", "lab-bouncer-secret"
"""Who may use the admin console."""
_INI = """[databases]
postgres = host={master} port=5432 dbname=postgres
[pgbouncer]
listen_addr = *
listen_port = {port}
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
admin_users = {admin}
pool_mode = transaction
default_pool_size = 8
ignore_startup_parameters = extra_float_digits
unix_socket_dir = /var/run/postgresql
logfile = /var/log/postgresql/pgbouncer.log
pidfile = /var/run/postgresql/pgbouncer.pid
"""


class LabProxy:
    """pgbouncer on a host of its own; its unit starts with the host."""

    unit = "pgbouncer"

    def __init__(self, host: Host) -> None:
        self.host = host

    @property
    def name(self) -> str:
        return self.host.name

    def configure(self, cluster: LabCluster) -> None:
        """Before the host boots: it leads to the cluster's first host."""
        users = {**PASSWORDS, ADMIN: ADMIN_PASSWORD}
        folder = self.host.root / "etc/pgbouncer"
        write(folder / "pgbouncer.ini", _INI.format(master=cluster.hosts[0].address, port=PORT, admin=ADMIN), 0o640)
        write(folder / "userlist.txt", "".join(f'"{user}" "{word}"\n' for user, word in users.items()), 0o640)
        for name in ("pgbouncer.ini", "userlist.txt"):
            shutil.chown(folder / name, "postgres", "postgres")
        wants = self.host.root / "etc/systemd/system/multi-user.target.wants/pgbouncer.service"
        link(wants, "/lib/systemd/system/pgbouncer.service")

    def section(self) -> str:
        """Its lines for [servers] of handyrep.conf."""
        return f"[[{self.name}]]\nhostname = {self.host.address}\nssh_port = {self.host.ssh_port}\nrole = pgbouncer\nport = {PORT}\n"

    def connect(self, dbname: str = "postgres", user: str = "handyrep") -> psycopg.Connection[tuple[object, ...]]:
        """A client's session through it; of the admin console with dbname pgbouncer and user ADMIN."""
        return through(self.host.address, dbname, user)

    def leads_to(self, dbname: str = "postgres") -> str:
        """The address of the server that a client gets to."""
        with self.connect(dbname) as client:
            row = client.execute("select host(inet_server_addr())").fetchone()
        return str(row[0]) if row else ""


def through(address: str, dbname: str = "postgres", user: str = "handyrep") -> psycopg.Connection[tuple[object, ...]]:
    """A session through the pgbouncer at this address."""
    password = {**PASSWORDS, ADMIN: ADMIN_PASSWORD}[user]
    return psycopg.connect(
        "", host=address, port=PORT, user=user, password=password, dbname=dbname, autocommit=True, connect_timeout=3,
        prepare_threshold=None,
    )  # fmt: skip


class LabHaproxy:
    """HAProxy on a host of its own, as Debian starts it; it leads nowhere yet."""

    unit = "haproxy"

    def __init__(self, host: Host) -> None:
        self.host = host

    @property
    def name(self) -> str:
        return self.host.name

    def configure(self, _: LabCluster) -> None:
        """Before the host boots: Debian's own file, and a place to listen at, without which HAProxy does not start."""
        there = self.host.root / "etc/haproxy/haproxy.cfg"
        write(there, f"{there.read_text()}\nlisten mine\n    bind 127.0.0.1:{PORT}\n")
        wants = self.host.root / "etc/systemd/system/multi-user.target.wants/haproxy.service"
        link(wants, "/lib/systemd/system/haproxy.service")

    def section(self) -> str:
        """Its lines for [servers] of handyrep.conf."""
        return f"[[{self.name}]]\nhostname = {self.host.address}\nssh_port = {self.host.ssh_port}\nrole = proxy\nport = {PORT}\n"

    def leads_to(self, port: int = PORT) -> str:
        """The address of the server that a client gets to."""
        with psycopg.connect(
            "", host=self.host.address, port=port, user="handyrep", password=PASSWORDS["handyrep"], dbname="postgres",
            connect_timeout=3,
        ) as client:  # fmt: skip
            row = client.execute("select host(inet_server_addr())").fetchone()
        return str(row[0]) if row else ""
