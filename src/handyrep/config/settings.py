"""Every section of handyrep.conf as frozen, typed settings. Owns names, types, defaults and help of the directives.

Must never read a file. Times are in seconds once parsed.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.config.profiles import NORMAL, PROFILES, TIMINGS, Timings
from handyrep.directives import (
    Secret,
    boolean,
    choice,
    directive,
    integer,
    list_of,
    local_path,
    number,
    path,
    seconds_between,
    secret,
    text,
    word,
)
from handyrep.model.server import Server, ServerDefaults

_OFF = False
_ON = True
_interval = seconds_between(0.05, 3600)
_timeout = seconds_between(0.05, 3600)
_long_timeout = seconds_between(0.05, 30 * 86400)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandyrepSettings:
    """HandyRep itself: its cluster's name, its files, its database roles, its plugins."""

    cluster_name: str = directive(
        word, "handyrep", "name of the cluster; a person types it to confirm what cannot be undone"
    )
    profile: str = directive(
        choice(*PROFILES),
        "normal",
        "how quickly a lost master is noticed: sets those timings of [failover] that are not set there",
    )
    state_dir: str = directive(
        local_path,
        "/var/lib/handyrep",
        "folder for state, journal, history and control socket; only HandyRep's account may read it",
    )
    server_file: str = directive(text, "servers.save", "file in state_dir with what HandyRep knows of the servers")
    override_server_file: bool = directive(
        boolean, _OFF, "let the servers of this file win over server_file at the next start"
    )
    plugins_dir: str = directive(local_path, "", "folder with plugins of your own")
    templates_dir: str = directive(local_path, "", "folder with templates of your own; blank: HandyRep's")
    master_check_method: str = directive(word, "one_hr_master", "plugin that tells whether this HandyRep may act")
    master_check_parameters: tuple[str, ...] = directive(
        list_of(text), (), "what master_check_method is called with, separated by commas"
    )
    authentication_method: str = directive(word, "", "plugin that checks who uses the REST interface")
    push_alert_method: str = directive(word, "", "plugin that tells people; blank: nobody is told")
    log_verbose: bool = directive(boolean, _OFF, "log every poll")
    log_file: str = directive(local_path, "", "file for the log; blank: standard error")
    handyrep_db: str = directive(text, "postgres", "database that HandyRep logs in to and keeps its table in")
    handyrep_schema: str = directive(text, "", "schema of the handyrep table; blank: the first of the search path")
    handyrep_table: str = directive(text, "handyrep", "table in which HandyRep keeps a copy of its state")
    handyrep_user: str = directive(text, "handyrep", "database role that HandyRep logs in as")
    postgres_superuser: str = directive(
        text, "postgres", "database role for what needs a superuser, such as pg_rewind and ALTER SYSTEM"
    )
    replication_user: str = directive(text, "replication", "database role that replicas receive WAL as")
    test_ssh_command: str = directive(text, "true", "command that must succeed on a server as the SSH account")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSettings:
    """Each password is the word itself, env:NAME or file:PATH. Blank: libpq's passfile, or none."""

    handyrep_db_pass: Secret | None = directive(secret, None, "password of handyrep_user")
    superuser_pass: Secret | None = directive(secret, None, "password of postgres_superuser")
    replication_pass: Secret | None = directive(secret, None, "password of replication_user")
    pgbouncer_admin_user: str = directive(
        text, "", "who logs in to the admin console of pgbouncer; blank: handyrep_user"
    )
    pgbouncer_admin_pass: Secret | None = directive(
        secret, None, "password for the admin console of pgbouncer; blank: that of handyrep_user"
    )
    admin_password: Secret | None = directive(secret, None, "REST interface: password of who may change things")
    read_password: Secret | None = directive(secret, None, "REST interface: password of who may only look")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailoverSettings:
    """Polling, and what happens when the master is lost. (profile) marks what the profile sets."""

    auto_failover: bool = directive(boolean, _OFF, "fail over without being asked")
    poll_method: str = directive(word, "poll_isready", "plugin that polls")
    poll_interval: float = directive(
        _interval, NORMAL.poll_interval, "from the beginning of one poll to that of the next (profile)"
    )
    verify_frequency: int = directive(integer(1, 10**6), 30, "a full verify after this many polls")
    fail_retries: int = directive(
        integer(0, 1000),
        NORMAL.fail_retries,
        "how often a poll without an answer is repeated before a server counts as away, or the master is suspected (profile)",
    )
    fail_retry_interval: float = directive(
        seconds_between(0, 3600), NORMAL.fail_retry_interval, "time between these repetitions (profile)"
    )
    call_timeout: float = directive(
        _timeout, NORMAL.call_timeout, "longest time that one look at one server may take (profile)"
    )
    recovery_retries: int = directive(
        integer(1, 10000), 60, "how often HandyRep looks, once a second, whether something it ordered has happened"
    )
    start_timeout: float = directive(
        _long_timeout, 60.0, "longest time that starting, stopping or re-pointing may take"
    )
    pause_timeout: float = directive(
        _long_timeout, 5.0, "longest time that a switchover lets clients' work come to its end before it is given up"
    )
    fence_timeout: float = directive(_long_timeout, 60.0, "longest time that one fence may take")
    promote_timeout: float = directive(
        _long_timeout, 60.0, "longest time that ordering a promotion may take; looking whether it happened has no end"
    )
    clone_timeout: float = directive(_long_timeout, 86400.0, "longest time that a clone or a rewind may take")
    selection_method: str = directive(word, "select_replica_priority", "plugin that orders the replicas for a failover")
    inspect_method: str = directive(
        word, "inspect_postgres", "plugin that asks a PostgreSQL what it is and where it stands"
    )
    replication_status_method: str = directive(word, "replication_mb_lag_93", "plugin that measures lag")
    fence_methods: tuple[str, ...] = directive(
        list_of(word), ("fence_stop",), "plugins that prove a lost master fenced, in the order to try them"
    )
    follow_method: str = directive(word, "follow_conninfo", "plugin that points a replica at another master")
    clients_only_via_proxies: bool = directive(
        boolean,
        _OFF,
        "no client can reach a PostgreSQL of the cluster but through its pgbouncers: what fence_proxy rests on",
    )
    rescue_method: str = directive(
        word,
        "rescue_wal",
        "plugin that gives the new master the WAL which the old one never sent; failplugin: it is not tried",
    )
    slots_method: str = directive(
        word, "slots_sql", "plugin that makes replication slots on a new master, and names those that would be lost"
    )
    sync_method: str = directive(
        word, "sync_names", "plugin that sets synchronous_standby_names, where synchronous_required is not 0"
    )
    synchronous_required: int = directive(
        integer(0, 100), 0, "how many replicas must confirm each commit; 0: synchronous_standby_names is left alone"
    )
    synchronous_replicas: tuple[str, ...] = directive(
        list_of(word), (), "servers that may confirm commits while they are replicas; blank: all of them"
    )
    journal_method: str = directive(
        word, "", "plugin that keeps a copy of an open run where another HandyRep finds it; blank: nobody does"
    )
    rejoin_method: str = directive(word, "rejoin_rewind", "plugin that brings a former master back as a replica")
    rejoin_up_to: str = directive(
        choice("nothing", "follow", "rewind", "reclone"),
        "rewind",
        "how far HandyRep goes by itself to bring a former master back: leave it fenced, let it follow where nothing has parted, rewind it, copy it anew",
    )
    remaster: bool = directive(boolean, _ON, "point the other replicas at the new master after a failover")
    restart_master: bool = directive(boolean, _OFF, "try once to start a stopped master in place before failing over")
    connection_failover_method: str = directive(
        word, "", "plugin that points the connection proxies at the new master; blank: there are none"
    )
    poll_connection_proxy: bool = directive(boolean, _ON, "poll the connection proxies as well")
    failover_cooldown: float = directive(
        seconds_between(0, 30 * 86400), 600.0, "time after a failover in which no second automatic one is made"
    )
    max_lost_wal: float = directive(
        number(0, 10**9), 16.0, "MB of WAL that an asynchronous failover may lose; more is refused"
    )

    estimate_lost_wal: bool = directive(
        boolean,
        _OFF,
        "judge max_lost_wal by an estimate where the old master's disk cannot be read (its host is off): the loss is not bounded then",
    )

    @property
    def timings(self) -> Timings:
        """What polling promises with these settings, whether they come from a profile or are set alone."""
        return Timings(**{name: getattr(self, name) for name in TIMINGS})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """The WAL archive, where HandyRep looks after it."""

    archiving: bool = directive(boolean, _OFF, "whether HandyRep looks after the WAL archive")
    archive_server: str = directive(word, "", "the server, by its name in [servers], that holds the archive")
    archive_directory: str = directive(path, "", "folder of the archive on archive_server")
    archive_script_method: str = directive(word, "", "plugin that installs and starts archiving")
    archive_delete_method: str = directive(word, "", "plugin that cleans the archive")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtraCommand:
    """A plugin to run after a failover. Its result is reported; its failure never undoes the failover."""

    name: str
    command: str = directive(word, "", "plugin to run")
    parameters: tuple[str, ...] = directive(list_of(text), (), "its parameters")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. `source` is its file; `plugins` holds each plugin's section as text, for the plugin to check.

    `plugins` is left out of repr(): only a plugin knows which of its options are secret.
    """

    source: str = ""
    handyrep: HandyrepSettings = HandyrepSettings()
    passwords: PasswordSettings = PasswordSettings()
    failover: FailoverSettings = FailoverSettings()
    extra_failover_commands: tuple[ExtraCommand, ...] = ()
    archive: ArchiveSettings = ArchiveSettings()
    servers: tuple[Server, ...] = ()
    plugins: Mapping[str, Mapping[str, str | tuple[str, ...]]] = dataclasses.field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )


SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "handyrep": HandyrepSettings,
        "passwords": PasswordSettings,
        "failover": FailoverSettings,
        "archive": ArchiveSettings,
        "server_defaults": ServerDefaults,
    }
)
"""Sections of directives, and the class of each."""

SUBSECTIONS: Mapping[str, type | None] = MappingProxyType(
    {"extra_failover_commands": ExtraCommand, "servers": Server, "plugins": None}
)
"""Sections of [[subsections]], and the class of one; a plugin's options are the plugin's own affair."""
