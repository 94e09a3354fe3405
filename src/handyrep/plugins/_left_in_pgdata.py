"""What HandyRep's plugins have left in a data directory and beside it: one look that all of them share, and names for what it shows.

Looks only. What a setting says may hold a password: it must never come into a result or a message.
"""

import dataclasses
from typing import TYPE_CHECKING

from handyrep.errors import DatabaseError, NoAnswerError, PluginError
from handyrep.plugins._replication import STARVED
from handyrep.plugins.handyrepplugin import last_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from handyrep.model.result import Result
    from handyrep.model.server import Server
    from handyrep.plugins.handyrepplugin import handyrepplugin

FENCED, CLONING, START_LOG = "handyrep.fenced", "handyrep.cloning", "handyrep-start.log"
SIGNAL, RESCUE = "standby.signal", "pg_wal/handyrep.rescue"
FORBIDDEN = "handyrep-brings-this-server-back-do-not-start-it"
"""What hba_file is set to while rejoin_rewind lets a server recover alone: with it nothing else can start it."""

_LOOK = r"""
set -u
data=${1%/} kept=$2 conf=$3; shift 3
[ -d "$(dirname -- "$data")" ] || { echo "$(dirname -- "$data") cannot be entered" >&2; exit 10; }
for place in "$data".handyrep-new "$data".handyrep-old* "$kept"*; do
    if [ -e "$place" ]; then echo "beside=$place"; fi
done
[ -e "$data" ] || exit 0
cd -- "$data" && [ -r . ] || { echo "$data cannot be looked into" >&2; exit 11; }
main=$(sed -n 1p postmaster.pid 2>/dev/null)
if [ -n "$main" ] && [ "/proc/$main/cwd" -ef . ]; then echo runs=yes; else main=none; fi
for name do
    if [ -e "$name" ]; then echo "has=$name"; fi
    if [ "/proc/$main/fd/2" -ef "$name" ] || [ "/proc/$main/fd/1" -ef "$name" ]; then echo "open=$name"; fi
done
for place in handyrep.starved.????????; do if [ -f "$place" ]; then echo "has=$place"; fi; done
if [ -n "$(find -H . -maxdepth 0 -perm -o=w)" ]; then echo half=yes; fi
settings() { if [ -e "$2" ]; then sed -n "s/^[[:space:]]*\([a-z_]*\)[[:space:]]*=/$1=\1=/p" "$2"; fi; }
settings auto postgresql.auto.conf
if [ -n "$conf" ]; then settings conf "$conf"; fi
exit 0
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """What one look showed. `names` are below pgdata, `beside` full paths, `open` what a running postmaster writes to.

    `auto` and `conf`: settings of postgresql.auto.conf and of replica_conf as they stand there, unquoted.
    """

    runs: bool
    half_rewound: bool
    names: frozenset[str]
    open: frozenset[str]
    beside: tuple[str, ...]
    auto: dict[str, str] = dataclasses.field(repr=False)
    conf: dict[str, str] = dataclasses.field(repr=False)

    @property
    def is_standby(self) -> bool:
        """Whether it is, or would start as, a replica."""
        return SIGNAL in self.names


async def look(plugin: "handyrepplugin", server: "Server", kept: str = "") -> Left:
    """Look. `kept`: how the names of what was kept aside begin. Raises NoAnswerError, PluginError: it cannot be told."""
    data = server.pgdata.rstrip("/")
    names = (FENCED, CLONING, STARVED, START_LOG, SIGNAL, RESCUE)
    argv = ("sh", "-c", _LOOK, "look", data, kept or f"{data}.handyrep-kept-", server.replica_conf, *names)
    ran = await plugin.run_as_postgres(server.name, *argv)
    if ran.exit_status != 0 or ran.cut:
        raise PluginError(f"{server.pgdata} cannot be looked at: {'too much' if ran.cut else last_words(ran)}")
    said = [line.partition("=")[::2] for line in ran.stdout.splitlines()]
    return Left(
        runs=("runs", "yes") in said,
        half_rewound=("half", "yes") in said,
        names=frozenset(rest for key, rest in said if key == "has"),
        open=frozenset(rest for key, rest in said if key == "open"),
        beside=tuple(rest for key, rest in said if key == "beside"),
        auto=_settings(rest for key, rest in said if key == "auto"),
        conf=_settings(rest for key, rest in said if key == "conf"),
    )


def _settings(lines: "Iterable[str]") -> dict[str, str]:
    """The last line of a setting wins, as for PostgreSQL."""
    return {name: _unquoted(value.strip()) for name, _, value in (line.partition("=") for line in lines)}


def _unquoted(value: str) -> str:
    if len(value) < 2 or not value.startswith("'"):
        return value
    return value[1 : value.rfind("'")].replace("''", "'").replace("\\\\", "\\")


async def delete(plugin: "handyrepplugin", server: "Server", *names: str) -> str:
    """Delete files in pgdata; why that could not be done, or ''. Raises NoAnswerError."""
    if not names:
        return ""
    ran = await plugin.run_as_postgres(server.name, "rm", "-f", "--", *(f"{server.pgdata}/{name}" for name in names))
    return "" if ran.exit_status == 0 else last_words(ran)


async def footprint(
    plugin: "handyrepplugin",
    servername: str,
    traces: "Callable[[Server, Left], list[dict[str, str]]]",
    kept: str = "",
) -> "Result":
    """The answer of footprint() for a plugin that leaves things in data directories alone."""
    server = plugin.server(servername)
    if not server.is_postgres:
        return plugin.success(traces=[])
    try:
        left = await look(plugin, server, kept)
    except (NoAnswerError, PluginError) as error:
        return plugin.fail(error.what)
    return plugin.success(traces=traces(server, left))


async def taken_back(
    plugin: "handyrepplugin", servername: str, take: "Callable[[Server, Left], Awaitable[str]]"
) -> "Result":
    """The answer of take_back(): `take` looks no more, acts, and says why something is still there, or ''."""
    server = plugin.server(servername)
    if not server.is_postgres:
        return plugin.success("there is nothing of it here")
    try:
        left = await look(plugin, server)
    except (NoAnswerError, PluginError) as error:
        return plugin.fail(f"nothing was taken back: {error.what}")
    try:
        problem = await take(server, left)
    except DatabaseError as error:
        return plugin.fail(error.what)
    except NoAnswerError as error:
        return plugin.uncertain(f"it may have been taken back: {error.what}")
    return plugin.fail(problem) if problem else plugin.success("nothing is left that can be taken back")
