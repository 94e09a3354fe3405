"""What a replica needs to know of its master: the connection string for primary_conninfo, quoted by libpq's own rules.

Owns how it comes into a configuration file. Must never let a name or password say more than itself, or show one.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from handyrep.errors import RefusedError

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

STARVED = "handyrep.starved"
"""The file in pgdata that keeps the primary_conninfo of a replica which fence_starve told to receive from nobody."""


def conninfo(plugin: "handyrepplugin", replica: str, master: str) -> str:
    """primary_conninfo with which `replica` receives from `master`. May hold a password: never log it. Raises RefusedError."""
    server = plugin.server(master)
    password = plugin.settings.passwords.replication_pass
    parts = {
        "host": server.client_address,
        "port": str(server.port),
        "user": plugin.settings.handyrep.replication_user,
        # Streaming ignores it; without it PostgreSQL 17 and later sync no logical slots.
        "dbname": plugin.settings.handyrep.handyrep_db,
        "application_name": replica,
        **({"password": password.reveal()} if password is not None else {}),
    }
    broken = [name for name, part in parts.items() if any(character in part for character in "\n\r\0")]
    if broken:
        raise RefusedError(f"{broken[0]} of primary_conninfo cannot hold a line break", server=replica)
    return make_conninfo("", **parts)


@lru_cache(maxsize=256)
def upstream(conninfo: str) -> str:
    """host:port of where a replica with this primary_conninfo receives from; '' when there is none."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.Error:
        return ""
    return f"{parts['host']}:{parts.get('port', 5432)}" if parts.get("host") else ""


@lru_cache(maxsize=256)
def calls_itself(conninfo: str, cluster_name: str) -> str:
    """The name under which a replica with this primary_conninfo confirms to its master; '' when it has none to connect to."""
    if not conninfo:
        return ""
    try:
        given = conninfo_to_dict(conninfo).get("application_name")
    except psycopg.Error:
        return "what cannot be read"
    return str(given or cluster_name or "walreceiver")


def conf_line(setting: str, value: str) -> str:
    """One line of a PostgreSQL configuration file, for a value without a line break."""
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{setting} = '{quoted}'\n"


def following(plugin: "handyrepplugin", replica: str, master: str) -> str:
    """The lines that make `replica` receive from `master`. Raises RefusedError."""
    return conf_line("primary_conninfo", conninfo(plugin, replica, master)) + conf_line(
        "recovery_target_timeline", "latest"
    )


def passfile_line(user: str, password: str) -> str:
    """One line of a libpq password file, for any server and database."""
    escaped = (word.replace("\\", "\\\\").replace(":", "\\:") for word in (user, password))
    return ":".join(("*", "*", "*", *escaped)) + "\n"


WITH_PASSFILE = """
set -u
umask 077
passfile=$(mktemp) || exit 9
exec 8<>"$passfile" && rm -f "$passfile" || exit 9
cat >&8
PGPASSFILE=/proc/self/fd/8 PGCONNECT_TIMEOUT=10 exec "$@"
"""
"""A shell program that runs "$@" with the password file it reads from its input. The password is in no argument, and in a file that
has no name any more: however this ends, nothing stays behind."""

_WRITE = """
temporary=$(mktemp "$file.XXXXXXXX")
trap 'rm -f "$temporary"' EXIT
if [ -e "$file" ]; then
    names='primary_conninfo|recovery_target_timeline|primary_slot_name'
    grep -v -i -E "^[[:space:]]*($names)([[:space:]]|=)" "$file" > "$temporary" || [ $? = 1 ]
fi
cat >> "$temporary"
sync "$temporary" 2>/dev/null || true
mv -f "$temporary" "$file"
"""

WRITE_FOLLOWING = (
    """
set -eu
umask 077
file=$1
"""
    + _WRITE
)
"""A shell program: puts the settings that it reads from its input into the file $1, in place of those of another master."""

SET_FOLLOWING = (
    """
set -eu
umask 077
data=$1 file=$2
[ -f "$data/PG_VERSION" ] || { echo "$data has no PG_VERSION: it is no data directory" >&2; exit 10; }
[ -n "$file" ] || file=$data/postgresql.auto.conf
"""
    + _WRITE
    + """
: > "$data/standby.signal"
[ ! -e "$data/handyrep.fenced" ] || rm -f "$data/handyrep.cloning" "$data/handyrep.fenced"
rm -f "$data/handyrep.starved"
sync "$data" 2>/dev/null || sync
"""
)
"""A shell program: makes the stopped server in $1 a replica, with the settings it reads from its input ($2 or postgresql.auto.conf)."""
