"""What lies in a data directory: its state, its timelines, which WAL is there.

Pure but for LOOK, the shell program that looks, and changes nothing.
"""

import dataclasses
import json
from typing import Any

from handyrep.model.lsn import Lsn
from handyrep.plugins._parting import Leg, Parting, history
from handyrep.plugins._wal_end import control_values
from handyrep.plugins._wal_report import Report

# A server that was started since has another pg_control; what is the same has been kept already. Of one that is half rewound the
# newest is its own: it was kept a moment before.
LOOK = r"""
set -u
data=$1 base=$2 control=$3
[ -d "$data" ] || { echo "missing=$data"; exit 0; }
[ -f "$data/PG_VERSION" ] || { echo "$data has no PG_VERSION: it is no data directory" >&2; exit 10; }
if [ -n "$(find -H "$data" -maxdepth 0 -perm -o=w)" ]; then
    echo half=yes
    kept=$(ls -dtr -- "$base"*[0-9]Z 2>/dev/null | tail -n 1)
else
    kept=
    for one in "$base"*[0-9]Z; do
        for copy in pg_control pg_control.recovered; do
            cmp -s -- "$data/global/pg_control" "$one/$copy" && kept=$one
        done
    done
fi
[ -z "$kept" ] || { echo "kept=$kept"; sed 's/^/report=/' "$kept/report.json" 2>/dev/null; }
"$control" "$data" 2>/dev/null | sed 's/^/control=/'
cd -- "$data/pg_wal" || exit 11
ls | grep -E '^[0-9A-F]{24}$' | sed 's/^/wal=/'
for file in *.history; do [ -f "$file" ] && sed "s/^/history=${file%.history} /" "$file"; done
exit 0
"""
"""Of the data directory $1. $2: how the names of directories begin in which its WAL may have been kept. $3: pg_controldata."""
_MOST_SEGMENTS_BACK = 4
"""So far before the fork reading begins, to meet a list of the transactions that ran then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What lies in a data directory. `kept`: where its own WAL has been kept already; `half`: pg_rewind did not come to its end in it."""

    missing: bool
    half: bool
    kept: str
    report: dict[str, Any]
    control: dict[str, str]
    wal: tuple[str, ...]
    histories: dict[int, str]

    @property
    def is_known(self) -> bool:
        """Whether pg_controldata could tell what is asked of it here."""
        latest = (f"Latest checkpoint{key}" for key in ("'s TimeLineID", "'s REDO location", " location"))
        return all(key in self.control for key in (*latest, "Bytes per WAL segment", "WAL block size"))

    @property
    def timeline(self) -> int:
        """The one it was on last: a promotion is in the WAL before it is in pg_control."""
        written = int(self.control.get("Latest checkpoint's TimeLineID", "0"))
        newest = max((int(name[:8], 16) for name in self.wal), default=0)
        return newest if newest > written and newest in self.histories else written

    @property
    def way(self) -> tuple[Leg, ...]:
        return history(self.histories.get(self.timeline, ""), self.timeline)

    @property
    def segment_bytes(self) -> int:
        return int(self.control["Bytes per WAL segment"])

    def segment(self, lsn: Lsn) -> str:
        """The part of a WAL file's name that tells the position."""
        number, per = lsn.position_bytes // self.segment_bytes, (1 << 32) // self.segment_bytes
        return f"{number // per:08X}{number % per:08X}"

    def checkpoint(self, key: str) -> Lsn:
        return Lsn.parse(self.control[f"Latest checkpoint{key}"])

    def start(self, parting: Parting) -> tuple[Lsn, str]:
        """Where to begin to read, and what is missing of the WAL from the fork on."""
        here = {name[8:] for name in self.wal if int(name[:8], 16) == parting.timeline}
        number = parting.fork.position_bytes // self.segment_bytes
        first = Lsn(number * self.segment_bytes)
        if self.segment(first) not in here:
            later = sorted(name for name in here if name > self.segment(first))
            begin = Lsn(self._number(later[0]) * self.segment_bytes) if later else parting.fork
            return begin, f"the WAL from {parting.fork} to {begin if later else 'its end'} is not there any more"
        redo = self.checkpoint("'s REDO location")
        if self.control["Latest checkpoint's TimeLineID"] == str(parting.timeline) and redo <= parting.fork:
            return (redo, "") if self.segment(redo) in here else (first, "")
        for back in range(1, _MOST_SEGMENTS_BACK + 1):
            before = Lsn(max(number - back, 0) * self.segment_bytes)
            if self.segment(before) not in here:
                break
            first = before
        return first, ""

    def _number(self, segment: str) -> int:
        return int(segment[:8], 16) * ((1 << 32) // self.segment_bytes) + int(segment[8:], 16)

    def shortfall(self, report: Report, last_lsn: str) -> str:
        """Why the report cannot be of all the WAL; '' when it is. A server that was shut down ends with its last checkpoint."""
        checkpoint, last = self.checkpoint(" location"), Lsn.parse(report.last)
        if self.control.get("Database cluster state") == "shut down" and last != checkpoint:
            return f"it was shut down at {checkpoint}, and the WAL can be read to {report.end}"
        if last < checkpoint or (last_lsn and Lsn.parse(report.end) < Lsn.parse(last_lsn)):
            return f"it wrote to {last_lsn or checkpoint} at least, and the WAL can be read to {report.end}"
        return ""

    def files(self, parting: Parting, report: Report) -> tuple[str, ...]:
        """The WAL files from the fork on; where all was read those behind its end hold nothing."""
        first = self.segment(parting.fork)
        last = "F" * 16 if report.gap else self.segment(Lsn.parse(report.end))
        return tuple(name for name in self.wal if first <= name[8:] <= last)


def read_look(output: str) -> Look:
    """From LOOK's output."""
    said = [(key, rest) for key, _, rest in (line.partition("=") for line in output.splitlines())]
    once = dict(said)
    histories: dict[int, str] = {}
    for name, _, text in (rest.partition(" ") for key, rest in said if key == "history"):
        histories[int(name, 16)] = f"{histories.get(int(name, 16), '')}{text}\n"
    return Look(
        missing="missing" in once,
        half="half" in once,
        kept=once.get("kept", ""),
        report=_json(once.get("report", "")),
        control=control_values("\n".join(rest for key, rest in said if key == "control")),
        wal=tuple(rest for key, rest in said if key == "wal"),
        histories=histories,
    )


def _json(text: str) -> dict[str, Any]:
    """A report that was broken off is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
