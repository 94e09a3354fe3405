"""Where the WAL on a stopped server's disk ends, from what pg_controldata and pg_waldump say. Pure; unknown is ''."""

import re

from handyrep.model.lsn import Lsn

_RECORD = re.compile(r"len \(rec/tot\):\s*\d+/\s*(\d+),.*?\blsn: ([0-9A-F]+/[0-9A-F]+),")
_ALIGNMENT_BYTES = 8


def wal_end(control: dict[str, str], newest_timeline: str, last_record: str) -> str:
    """The end of the last whole record, as an LSN; '' when it cannot be told.

    A control file that still names an older timeline than the newest WAL file (a promotion without a checkpoint since) leads
    nowhere: then nothing is claimed. The end is told without the header of a page that the record may cross into, which lies
    below the true end by less than the record itself: a replica that has received that far has the whole record.
    """
    end = record_end(last_record)
    timeline = control.get("Latest checkpoint's TimeLineID", "")
    if end is None or not timeline.isdigit() or not re.fullmatch(r"[0-9A-F]{8}", newest_timeline):
        return ""
    if int(newest_timeline, 16) != int(timeline):
        return ""
    return str(end)


def record_end(line: str) -> Lsn | None:
    """Where a record of pg_waldump ends, but for the headers of pages that it crosses into."""
    match = _RECORD.search(line)
    if match is None:
        return None
    end = Lsn.parse(match[2]).position_bytes + int(match[1])
    return Lsn(-(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES)


def control_values(text: str) -> dict[str, str]:
    """pg_controldata's lines as a dictionary."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}
