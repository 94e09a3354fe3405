"""What a replica needs to know of its master: the connection string for primary_conninfo, quoted by libpq's own rules."""

from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin


def conninfo(plugin: "handyrepplugin", replica: str, master: str) -> str:
    """primary_conninfo with which `replica` receives from `master`. May hold a password: never log it."""
    server = plugin.server(master)
    password = plugin.settings.passwords.replication_pass
    return make_conninfo(
        "",
        host=server.client_address,
        port=server.port,
        user=plugin.settings.handyrep.replication_user,
        application_name=replica,
        **({"password": password.reveal()} if password is not None else {}),
    )


def conf_line(setting: str, value: str) -> str:
    """One line of a PostgreSQL configuration file. Raises ValueError for what no such file can hold."""
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{setting} cannot hold a line break")
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{setting} = '{quoted}'\n"


def following(plugin: "handyrepplugin", replica: str, master: str) -> str:
    """The lines that make `replica` receive from `master`."""
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
trap 'rm -f "$passfile"' EXIT
cat > "$passfile"
PGPASSFILE=$passfile PGCONNECT_TIMEOUT=10 "$@"
"""
"""A shell program that runs "$@" with the password file it reads from its input: no password in any argument."""

SET_FOLLOWING = """
set -eu
umask 077
data=$1 file=$2
[ -f "$data/PG_VERSION" ] || { echo "$data has no PG_VERSION: it is no data directory" >&2; exit 10; }
[ -n "$file" ] || file=$data/postgresql.auto.conf
temporary=$(mktemp "$file.XXXXXXXX")
[ -e "$file" ] && grep -v -E '^[[:space:]]*(primary_conninfo|recovery_target_timeline|primary_slot_name)[[:space:]]*=' "$file" > "$temporary" || true
cat >> "$temporary"
sync "$temporary" 2>/dev/null || true
mv -f "$temporary" "$file"
: > "$data/standby.signal"
rm -f "$data/handyrep.fenced" "$data/handyrep.rewinding"
sync "$data" 2>/dev/null || sync
"""
"""A shell program: makes the stopped server in $1 a replica, with the settings it reads from its input ($2 or postgresql.auto.conf)."""
