"""What is configured about one server. Owns the directives that a server, or [server_defaults], may have."""

import dataclasses
import enum

from handyrep.directives import boolean, choice, directive, host, integer, local_path, number, path, text, word


class Role(enum.StrEnum):
    """The roles HandyRep itself knows; a server may carry any other word, and is then only polled over SSH."""

    MASTER = "master"
    REPLICA = "replica"
    PGBOUNCER = "pgbouncer"
    PROXY = "proxy"
    ARCHIVE = "archive"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerDefaults:
    """Directives that [server_defaults] may set for all servers and each server for itself."""

    port: int = directive(integer(1, 65535), 5432, "port of PostgreSQL, or of pgbouncer on a pgbouncer")
    pgdata: str = directive(path, "", "data directory on the server")
    pgconf: str = directive(
        path, "", "postgresql.conf, or its folder, where it is not in pgdata (Debian: /etc/postgresql/15/main)"
    )
    replica_conf: str = directive(
        path, "", "file in which replication settings stand; blank: postgresql.auto.conf in pgdata"
    )
    recovery_template: str = directive(
        text, "", "means nothing any more, and is ignored: PostgreSQL 12 and later have no recovery.conf"
    )
    bin_dir: str = directive(
        path, "", "folder of PostgreSQL's programs on the server; blank: found on its PATH or Debian's places"
    )
    postgres_os_user: str = directive(word, "postgres", "system account that owns pgdata and runs PostgreSQL")
    control: str = directive(
        choice("ssh", "local"), "ssh", "how commands reach the server: over SSH, or run on HandyRep's own host"
    )
    ssh_user: str = directive(
        word,
        "handyrep",
        "account to log in as; commands go through sudo from there unless it is the right account already",
    )
    ssh_key: str = directive(local_path, "", "private key file on the HandyRep server; blank: SSH's usual ones")
    ssh_port: int = directive(integer(1, 65535), 22, "port of sshd")
    ssh_host: str = directive(host, "", "name or address for SSH, where it differs from hostname")
    ssh_jump: str = directive(text, "", "jump host, as [user@]host[:port]")
    known_hosts: str = directive(
        local_path, "~/.ssh/known_hosts", "file with the servers' SSH host keys; a server without one is not talked to"
    )
    client_host: str = directive(
        host, "", "name or address by which other servers and proxies reach this one, where it differs from hostname"
    )
    sslmode: str = directive(
        choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), "prefer", "libpq's sslmode"
    )
    sslrootcert: str = directive(local_path, "", "libpq's sslrootcert")
    sslcert: str = directive(local_path, "", "libpq's sslcert")
    sslkey: str = directive(local_path, "", "libpq's sslkey")
    passfile: str = directive(local_path, "", "libpq's passfile, used when no password is configured")
    restart_method: str = directive(word, "restart_pg_ctl", "plugin that starts, stops and reloads PostgreSQL")
    promotion_method: str = directive(word, "promote_pg_ctl", "plugin that promotes")
    clone_method: str = directive(word, "clone_basebackup", "plugin that makes a new replica")
    lag_limit: float = directive(
        number(), 1000.0, "lag above which a replica is 'lagged', in the unit of the status plugin (MB)"
    )
    failover_priority: int = directive(integer(0, 10**6), 999, "lower is preferred when a new master is chosen")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server(ServerDefaults):
    """One server as configured. Its name is its [[section]] and the application_name of its replication."""

    name: str
    hostname: str = directive(host, "", "name or address for PostgreSQL (and SSH, unless ssh_host)")
    role: str = directive(word, "replica", "master, replica, pgbouncer, proxy, archive, or a word of your own")
    enabled: bool = directive(boolean, True, "whether HandyRep looks at it and acts on it")

    @property
    def ssh_address(self) -> str:
        """Where sshd is."""
        return self.ssh_host or self.hostname

    @property
    def client_address(self) -> str:
        """Where other servers and proxies reach it."""
        return self.client_host or self.hostname

    @property
    def is_postgres(self) -> bool:
        """Whether PostgreSQL of this cluster runs on it."""
        return self.role in (Role.MASTER, Role.REPLICA)
