"""Every section of handyrep.conf as frozen, typed settings. Owns names, defaults and help of the directives."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.directives import Secret, boolean, choice, directive, integer, list_of, local_path, number, path, seconds, secret, text, word
from handyrep.model.server import Server


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandyrepSettings:
    """[handyrep]"""

    cluster_name: str = directive(word, "handyrep", "name of the cluster; a person types it to confirm what cannot be undone")
    override_server_file: bool = directive(boolean, False, "let the servers of this file win over servers.save at the next start")
    server_file: str = directive(text, "servers.save", "file in state_dir that holds what HandyRep knows of the servers")
    state_dir: str = directive(local_path, "/var/lib/handyrep", "folder for state, journal, history and the control socket; only HandyRep's account may read it")
    profile: str = directive(choice("careful", "normal", "fast"), "normal", "how quickly a lost master is noticed: sets the timings of [failover] that are not set there")
    plugins_dir: str = directive(local_path, "", "folder with plugins of your own")
    templates_dir: str = directive(local_path, "", "folder with templates of your own; blank: HandyRep's")
    master_check_method: str = directive(word, "one_hr_master", "plugin that tells whether this HandyRep may act")
    master_check_parameters: tuple[str, ...] = directive(list_of(text), (), "parameters of master_check_method")
    authentication_method: str = directive(word, "", "plugin that checks who uses the REST interface")
    push_alert_method: str = directive(word, "", "plugin that tells people")
    log_verbose: bool = directive(boolean, False, "log every poll")
    log_file: str = directive(local_path, "", "file for the log; blank: standard error")
    handyrep_db: str = directive(text, "postgres", "database that HandyRep logs in to and keeps its table in")
    handyrep_schema: str = directive(text, "", "schema of the handyrep table; blank: the first of the search path")
    handyrep_table: str = directive(text, "handyrep", "table in which HandyRep keeps a copy of its state")
    handyrep_user: str = directive(text, "handyrep", "database role that HandyRep logs in as")
    postgres_superuser: str = directive(text, "postgres", "database role for what needs a superuser: pg_rewind and ALTER SYSTEM")
    replication_user: str = directive(text, "replication", "database role that replicas receive WAL as")
    test_ssh_command: str = directive(text, "true", "command that must succeed on a server's host as the SSH account")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSettings:
    """[passwords]: each a value, env:NAME or file:PATH. Blank: libpq's passfile or no password."""

    handyrep_db_pass: Secret | None = directive(secret, None, "password of handyrep_user")
    superuser_pass: Secret | None = directive(secret, None, "password of postgres_superuser")
    replication_pass: Secret | None = directive(secret, None, "password of replication_user")
    pgbouncer_admin_user: str = directive(text, "", "who logs in to pgbouncer's admin console; blank: handyrep_user")
    pgbouncer_admin_pass: Secret | None = directive(secret, None, "password for pgbouncer's admin console; blank: that of handyrep_user")
    admin_password: Secret | None = directive(secret, None, "password of the REST interface's administrator")
    read_password: Secret | None = directive(secret, None, "password of the REST interface's reader")


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """What a profile sets, in seconds (retries: a count)."""

    poll_interval: float
    fail_retries: int
    fail_retry_interval: float
    call_timeout: float

    @property
    def detection_window_s(self) -> float:
        """An interruption shorter than this never causes a failover: the retries of one poll, waits included."""
        return self.fail_retries * self.fail_retry_interval

    @property
    def noticed_within_s(self) -> float:
        """A master lost at the worst moment is suspected by then."""
        return self.poll_interval + self.detection_window_s + (self.fail_retries + 1) * self.call_timeout


PROFILES: Mapping[str, Timings] = MappingProxyType(
    {
        "careful": Timings(poll_interval=5.0, fail_retries=5, fail_retry_interval=5.0, call_timeout=2.0),
        "normal": Timings(poll_interval=2.0, fail_retries=3, fail_retry_interval=0.5, call_timeout=1.0),
        "fast": Timings(poll_interval=0.25, fail_retries=2, fail_retry_interval=0.05, call_timeout=0.3),
    }
)
_NORMAL = PROFILES["normal"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverSettings:
    """[failover]"""

    auto_failover: bool = directive(boolean, False, "fail over without being asked")
    poll_method: str = directive(word, "poll_isready", "plugin that polls")
    poll_interval: float = directive(seconds, _NORMAL.poll_interval, "time between polls (profile)")
    verify_frequency: int = directive(integer(1), 30, "a full verify after this many polls")
    fail_retries: int = directive(integer(0, 1000), _NORMAL.fail_retries, "how often a poll without an answer is repeated before the master is suspected (profile)")
    fail_retry_interval: float = directive(seconds, _NORMAL.fail_retry_interval, "time between these repetitions (profile)")
    call_timeout: float = directive(seconds, _NORMAL.call_timeout, "longest time that one look at one server may take (profile)")
    recovery_retries: int = directive(integer(1, 10000), 60, "how often HandyRep looks, once a second, whether something it ordered has happened")
    start_timeout: float = directive(seconds, 60.0, "longest time that starting, stopping or re-pointing may take")
    fence_timeout: float = directive(seconds, 60.0, "longest time that one fence may take")
    promote_timeout: float = directive(seconds, 60.0, "longest time that ordering a promotion may take; looking whether it happened has no end")
    clone_timeout: float = directive(seconds, 86400.0, "longest time that a clone or a rewind may take")
    selection_method: str = directive(word, "select_replica_priority", "plugin that orders the replicas for a failover")
    inspect_method: str = directive(word, "inspect_postgres", "plugin that asks a PostgreSQL what it is and where it stands")
    replication_status_method: str = directive(word, "replication_mb_lag_93", "plugin that measures lag")
    fence_methods: tuple[str, ...] = directive(list_of(word), ("fence_stop",), "plugins that prove a lost master fenced, in the order to try them")
    follow_method: str = directive(word, "follow_conninfo", "plugin that points a replica at another master")
    rejoin_method: str = directive(word, "rejoin_rewind", "plugin that brings a former master back as a replica")
    remaster: bool = directive(boolean, True, "point the other replicas at the new master after a failover")
    restart_master: bool = directive(boolean, False, "try once to start a stopped master in place before failing over")
    connection_failover_method: str = directive(word, "", "plugin that points the connection proxies at the new master; blank: there are none")
    poll_connection_proxy: bool = directive(boolean, False, "poll the connection proxies as well")
    failover_cooldown: float = directive(seconds, 600.0, "time after a failover in which no second automatic one is made")
    max_lost_wal: float = directive(number(), 16.0, "MB of WAL that an asynchronous failover may lose; more is refused")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """[archive]"""

    archiving: bool = directive(boolean, False, "whether HandyRep looks after the WAL archive")
    archive_server: str = directive(word, "", "the server, by its name in [servers], that holds the archive")
    archive_directory: str = directive(path, "", "folder of the archive on archive_server")
    archive_script_method: str = directive(word, "", "plugin that installs and starts archiving")
    archive_delete_method: str = directive(word, "", "plugin that cleans the archive")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtraCommand:
    """[extra_failover_commands] [[name]]"""

    name: str
    command: str = directive(word, "", "plugin to run after a failover")
    parameters: tuple[str, ...] = directive(list_of(text), (), "its parameters")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. `plugins` holds each plugin's section as text; the plugin checks it."""

    source: str = ""
    handyrep: HandyrepSettings = HandyrepSettings()
    passwords: PasswordSettings = PasswordSettings()
    failover: FailoverSettings = FailoverSettings()
    extra_failover_commands: tuple[ExtraCommand, ...] = ()
    archive: ArchiveSettings = ArchiveSettings()
    servers: tuple[Server, ...] = ()
    plugins: Mapping[str, Mapping[str, str | list[str]]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
