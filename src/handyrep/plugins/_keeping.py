"""Keeps aside what only one server has, before anything is done to its data directory, with a report of what it is.

Owns the directories whose names hold `.handyrep-kept-`. Must never take one of them away by itself, and never touch a data directory.
"""

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

from handyrep.directives import path, seconds
from handyrep.model.lsn import Lsn
from handyrep.model.server import Server
from handyrep.plugin_api.options import option
from handyrep.plugins._data_directory import LOOK, Look, read_look
from handyrep.plugins._parting import Leg, Parting, history, parting
from handyrep.plugins._programs import find_program
from handyrep.plugins._relations import with_names
from handyrep.plugins._wal_report import REDUCE, SHOWN_COMMITS, Report, padded, read
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words
from handyrep.ports import Login, Ran, RunAs

WAY = """
select timeline, pg_read_file('pg_wal/' || timeline || '.history', 0, 1000000, true) as history
from (select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as timeline) as now
"""
"""Of a master: its timeline, and how it came there."""
_READ = r"""
set -u
export LC_ALL=C TZ=UTC
waldump=$1 data=$2 fork=$3 shown=$4 reduce=$5; shift 5
while [ "$#" -ge 3 ]; do
    "$waldump" -p "$data/pg_wal" -t "$1" -s "$2" ${3:+-e "$3"} 2>&1
    shift 3
done | awk -v "fork=$fork" -v "shown=$shown" "$reduce"
"""
ROOM = r"""
room() {
    where=$1; shift
    needed=$(du -ckL -- "$@" | tail -n 1 | cut -f 1)
    set -- $(stat -f -c '%a %S' -- "$where")
    free=$(($1 * ($2 / 512) / 2))
    [ "$free" -gt $((needed + needed / 10 + 1024)) ] && return
    echo "there is no room to keep its own WAL: $where has $((free / 1024)) MB free, $((needed / 1024 + 1)) MB are needed" >&2
    exit 20
}
"""
"""A shell function: ends the program, with a sentence, unless the folder $1 has room for copies of the files that follow."""
_KEEP = (
    ROOM
    + r"""
set -eu
umask 077
data=$1 base=$2 kept=$3; shift 3
parent=$(dirname -- "$kept")
[ -d "$parent" ] && [ -w "$parent" ] || { echo "$parent is no folder that can be written" >&2; exit 21; }
place=$(cd -- "$parent" && pwd -P)/
for inner in "$data" "$data/pg_wal"; do
    case $place in "$(cd -- "$inner" && pwd -P)"/*) echo "$parent lies in the data directory" >&2; exit 23;; esac
done
[ ! -e "$kept" ] || { echo "$kept is there already" >&2; exit 22; }
cd -- "$data/pg_wal"
rm -rf -- "$base"*.part
[ "$#" -eq 0 ] || room "$parent" "$@"
mkdir -- "$kept.part" "$kept.part/pg_wal"
for file in "$@"; do
    cp -p --reflink=auto -- "$file" "$kept.part/pg_wal/"
    cmp -- "$file" "$kept.part/pg_wal/$file"
done
for file in *.history *.partial; do if [ -f "$file" ]; then cp -p -- "$file" "$kept.part/pg_wal/"; fi; done
cd -- "$data"
for file in global/pg_control PG_VERSION backup_label postgresql.auto.conf; do
    if [ -f "$file" ]; then cp -p -- "$file" "$kept.part/"; fi
done
find "$kept.part" -exec sync -- {} + 2>/dev/null || sync
mv -- "$kept.part" "$kept"
sync -- "$parent" 2>/dev/null || sync
"""
)
_FORGET = r"""
set -u
base=$1 minutes=$2
for kept in "$base"*[0-9]Z; do
    [ -f "$kept/report.json" ] && [ -n "$(find "$kept" -maxdepth 0 -mmin "+$minutes")" ] || continue
    rm -rf --one-file-system -- "$kept"
done
"""
_TABLES_TOLD = 20
"""Of so many tables the result tells; the report tells of all."""


class keeps(handyrepplugin):
    """Parent of the plugins that must keep aside what they are about to replace."""

    quarantine_dir = option(
        path, "", "folder on the servers for WAL that only a former master has; blank: beside pgdata"
    )
    quarantine_keep = option(
        seconds, 0.0, "how long that is kept; older is deleted when a server comes back; 0: for ever"
    )

    def kept_base(self, server: Server) -> str:
        """How the names of the folders begin in which what only this server has is kept."""
        folder = self.quarantine_dir.rstrip("/")
        return (f"{folder}/{server.name}" if folder else server.pgdata.rstrip("/")) + ".handyrep-kept-"

    def kept_traces(self, server: Server, beside: Iterable[str]) -> list[dict[str, str]]:
        """What is kept aside for this server, among these places."""
        why = "it may be the only copy; once somebody has looked at its report.txt: rm -r of it, as its owner"
        purpose = f"WAL that {server.name} alone had when it was taken back or overwritten"
        kept = (place for place in beside if place.startswith(self.kept_base(server)))
        return [self.trace("kept WAL", place, purpose, stays=why) for place in kept]


class UnkeptError(Exception):
    """Why it could not be kept. Nothing was changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """What only this server has. `folder`: where it is kept; '' when it was not to be kept, or there is nothing."""

    headline: str
    folder: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.headline}; kept in {self.folder}" if self.folder else self.headline

    @property
    def extra(self) -> dict[str, Any]:
        """For the RD."""
        return {"diverged": {"headline": self.headline, "kept": self.folder, **self.facts}}


@dataclasses.dataclass(frozen=True, slots=True)
class Diverged:
    """A data directory with something of its own. Half rewound: without `parting`. Kept and read before: without `report`.

    `newest`: the timeline of the new master.
    """

    look: Look
    parting: Parting | None = None
    newest: int = 0
    report: Report | None = None


class Keeping:
    """Of one data directory. Every method may raise NoAnswerError, DatabaseError or UnkeptError."""

    def __init__(self, plugin: keeps, server: Server, data: str = "") -> None:
        self._plugin = plugin
        self.server = server
        self._data = data or server.pgdata
        self._base = plugin.kept_base(server)

    async def look(self) -> Look:
        """What is there."""
        control = await find_program(self._plugin, self.server, "pg_controldata")
        ran = await self._run(LOOK, self._data, self._base, control or "false")
        if ran.exit_status != 0:
            raise UnkeptError(f"{self._data} cannot be looked at: {last_words(ran)}")
        return read_look(ran.stdout)

    async def diverged(self, other: tuple[Leg, ...], newmaster: str, last_lsn: str = "") -> Diverged | None:
        """What it has that the new master, which came the way `other`, has not; None when there is nothing.

        `last_lsn`: where its WAL is known to end.
        """
        look = await self.look()
        if look.missing or look.half:
            return Diverged(look) if look.half else None
        if not look.is_known:
            raise UnkeptError(f"pg_controldata tells nothing of {self._data}")
        try:
            way = parting(look.way, other)
        except ValueError as error:
            raise UnkeptError(f"its history cannot be compared with that of {newmaster}: {error}") from None
        if way is None or (way.may_be_empty and last_lsn and Lsn.parse(last_lsn) <= way.fork):
            return None
        newest = other[-1].timeline
        if look.kept and look.report:
            return Diverged(look, way, newest)
        report = await self._read(look, way, newmaster, last_lsn)
        return None if way.may_be_empty and report.is_empty else Diverged(look, way, newest, report)

    async def way_of(self, newmaster: str) -> tuple[Leg, ...]:
        """The timelines that led to a master."""
        rows = await self._plugin.query(newmaster, WAY, login=Login.SUPERUSER)
        timeline = int(rows[0]["timeline"], 16)
        if timeline > 1 and not rows[0]["history"]:
            raise UnkeptError(f"the history of timeline {timeline} is not on {newmaster}")
        return history(rows[0]["history"] or "", timeline)

    async def _read(self, look: Look, parting: Parting, newmaster: str, last_lsn: str) -> Report:
        waldump = await find_program(self._plugin, self.server, "pg_waldump")
        start, gap = look.start(parting)
        legs = [part for leg in parting.legs(start) for part in (str(leg[0]), str(leg[1]), str(leg[2] or ""))]
        fixed = (waldump or "false", self._data, padded(parting.fork), str(SHOWN_COMMITS), REDUCE)
        ran = await self._run(_READ, *fixed, *legs)
        found = read(ran.stdout, look.control)
        gap = gap or found.gap or look.shortfall(found, last_lsn)
        return await with_names(self._plugin, dataclasses.replace(found, gap=gap), newmaster)

    def own(self, found: Diverged) -> Own:
        """What only it has, in a sentence and in facts."""
        if found.report is None or found.parting is None:
            headline = f"what was only on {self.server.name} was not read"
            return _told({"headline": headline, **found.look.report}, found.look.kept)
        return _told(self._facts(found.parting, found.report), found.look.kept)

    async def keep(self, found: Diverged) -> Own:
        """Copy what only it has, with a report, unless that was done before."""
        if found.report is None or found.parting is None:
            if not found.look.kept:
                raise UnkeptError(f"{self._data} is half rewound, and its own WAL is not kept where it should be")
            return self.own(found)
        folder = found.look.kept or await self._copied(found.look, found.parting, found.report)
        facts = self._facts(found.parting, found.report)
        await self._put(f"{folder}/report.txt", found.report.as_text(self.server.name))
        await self._put(f"{folder}/report.json", json.dumps(facts) + "\n")
        return _told(facts, folder)

    def _facts(self, parting: Parting, report: Report) -> dict[str, Any]:
        name = self.server.name
        told = {"server": name, "headline": report.headline(name), "timeline": parting.timeline}
        length = Lsn.parse(report.end) - parting.fork if report.end else None
        return {**told, "fork": str(parting.fork), "bytes": length, **report.as_dict()}

    async def _copied(self, look: Look, parting: Parting, report: Report) -> str:
        now = self._plugin.call.world.clock.now()
        cluster = re.sub(r"[^A-Za-z0-9_.-]", "_", self._plugin.settings.handyrep.cluster_name)
        folder = f"{self._base}{cluster}-{self._plugin.cluster.epoch}-{now:%Y%m%dT%H%M%S.%fZ}"
        ran = await self._run(_KEEP, self._data, self._base, folder, *look.files(parting, report))
        if ran.exit_status != 0:
            raise UnkeptError(f"{last_words(ran)}: {self._data} is as it was")
        return folder

    async def forget(self) -> None:
        """Delete what is older than quarantine_keep, if the operator set that."""
        if self._plugin.quarantine_keep:
            await self._run(_FORGET, self._base, str(int(self._plugin.quarantine_keep // 60)))

    async def _put(self, path: str, content: str) -> None:
        ran = await self._plugin.put_file(self.server.name, path, content, run_as=RunAs.POSTGRES)
        if ran.exit_status != 0:
            raise UnkeptError(f"{path} could not be written: {last_words(ran)}")

    async def _run(self, script: str, *arguments: str) -> Ran:
        return await self._plugin.run_as_postgres(self.server.name, "sh", "-c", script, "keeping", *arguments)


def _told(facts: dict[str, Any], folder: str) -> Own:
    """Of a report that may be long what people need at once."""
    tables = sorted((table for table in facts.get("tables", ()) if table["of_users"]), key=_rows, reverse=True)
    rows = {table["name"] or table["relation"]: _rows(table) for table in tables[:_TABLES_TOLD]}
    names = ("transactions", "fork", "end", "bytes", "gap", "latest")
    return Own(facts["headline"], folder, {name: facts.get(name) for name in names} | {"rows": rows})


def _rows(table: dict[str, Any]) -> int:
    return sum(table.get(verb, 0) for verb in ("inserted", "updated", "deleted"))
