"""Where PostgreSQL's programs and configuration are on a server. Knows Debian's layout and the one where all is in PGDATA."""

import re

from handyrep.model.server import Server
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words
from handyrep.ports import Ran

FINDING = """
program_path() {
    if [ -n "$2" ]; then [ -x "$2/$1" ] && echo "$2/$1"; return; fi
    version=
    [ -r "$3/PG_VERSION" ] && read -r version < "$3/PG_VERSION"
    for folder in "/usr/lib/postgresql/$version/bin" "/usr/pgsql-$version/bin"; do
        [ -n "$version" ] && [ -x "$folder/$1" ] && echo "$folder/$1" && return
    done
    found=$(command -v "$1") || found=
    case $(readlink -f "$found") in
        "" | */pg_wrapper) ;;
        *) echo "$found"; return ;;
    esac
    for folder in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -rV); do
        [ -x "$folder/$1" ] && echo "$folder/$1" && return
    done
    return 1
}
"""
"""A shell function: the full path of the program $1, in the folder $2 if that is given, else of the version that PGDATA $3 belongs to.

Never Debian's pg_wrapper: a Perl program that starts the real one, and takes far longer.
"""
_FIND = FINDING + 'program_path "$1" "$2" "$3"'


async def find_program(plugin: handyrepplugin, server: Server, program: str, configured: str = "") -> str:
    """Full path of a PostgreSQL program on a server; '' when it is not there. Raises NoAnswerError."""
    if configured:
        found = await plugin.run_as_postgres(server.name, "test", "-x", configured)
        return configured if found.exit_status == 0 else ""
    argv = ("sh", "-c", _FIND, "find_program", program, server.bin_dir, server.pgdata)
    ran = await plugin.run_as_postgres(server.name, *argv)
    return ran.stdout.strip() if ran.exit_status == 0 else ""


async def major_version(plugin: handyrepplugin, server: Server, wanted: int) -> int | None:
    """Of the PostgreSQL that would be started on data of version `wanted`; None when that is not known. Raises NoAnswerError."""
    program = await _of_version(plugin, server, wanted) or await find_program(plugin, server, "postgres")
    ran = await plugin.run_as_postgres(server.name, program or "false", "--version")
    said = re.fullmatch(r"postgres \(PostgreSQL\) (\d+)\D.*", ran.stdout.strip(), re.DOTALL)
    return int(said[1]) if said else None


async def _of_version(plugin: handyrepplugin, server: Server, wanted: int) -> str:
    """Where several are installed side by side, data finds its own one; '' where bin_dir says it, or it is not there."""
    for folder in () if server.bin_dir else (f"/usr/lib/postgresql/{wanted}/bin", f"/usr/pgsql-{wanted}/bin"):
        found = await plugin.run_as_postgres(server.name, "test", "-x", f"{folder}/postgres")
        if found.exit_status == 0:
            return f"{folder}/postgres"
    return ""


def config_options(server: Server) -> tuple[str, ...]:
    """What the server program needs to find a configuration outside PGDATA."""
    if not server.pgconf:
        return ()
    file = server.pgconf if server.pgconf.endswith(".conf") else f"{server.pgconf.rstrip('/')}/postgresql.conf"
    return ("-c", f"config_file={file}")


def config_file(server: Server) -> str:
    """Full path of postgresql.conf where it is outside PGDATA; '' otherwise."""
    options = config_options(server)
    return options[1].removeprefix("config_file=") if options else ""


def reason(ran: Ran) -> str:
    """Why a program of PostgreSQL failed, for a sentence: its first error. What it says after that is of cleaning up."""
    errors = [line for line in ran.stderr.splitlines() if ": error: " in line or ": fatal: " in line]
    return errors[0][:300] if errors else last_words(ran)
