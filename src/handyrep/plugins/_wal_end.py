"""Where the WAL on a stopped server's disk ends, from what pg_controldata and pg_waldump say. Pure; unknown is ''."""

import re

from handyrep.model.lsn import Lsn

_RECORD = re.compile(r"len \(rec/tot\):\s*\d+/\s*(\d+),.*?\blsn: ([0-9A-F]+/[0-9A-F]+),")
_ALIGNMENT_BYTES = 8
_PAGE_HEADER_BYTES, _FIRST_PAGE_HEADER_BYTES = 24, 40
"""What every page of WAL begins with, and the first page of a segment. It lies in the midst of a record that crosses into the page."""


def wal_end(control: dict[str, str], newest_timeline: str, last_record: str) -> str:
    """The end of the last whole record, as an LSN; '' when it cannot be told.

    A control file that still names an older timeline than the newest WAL file (a promotion without a checkpoint since) leads
    nowhere: then nothing is claimed.
    """
    timeline = control.get("Latest checkpoint's TimeLineID", "")
    if not timeline.isdigit() or not re.fullmatch(r"[0-9A-F]{8}", newest_timeline):
        return ""
    return str(record_end(last_record, control) or "") if int(newest_timeline, 16) == int(timeline) else ""


def record_end(line: str, control: dict[str, str]) -> Lsn | None:
    """Where a record that pg_waldump printed ends, on a server of which pg_controldata says this; None when it cannot be told."""
    match = _RECORD.search(line)
    sizes = [control.get(key, "") for key in ("WAL block size", "Bytes per WAL segment")]
    page_bytes, segment_bytes = (int(size) if size.isdigit() else 0 for size in sizes)
    if match is None or page_bytes <= _FIRST_PAGE_HEADER_BYTES or segment_bytes < page_bytes:
        return None
    return _end_of(Lsn.parse(match[2]).position_bytes, int(match[1]), page_bytes, segment_bytes)


def _end_of(at: int, length_bytes: int, page_bytes: int, segment_bytes: int) -> Lsn:
    """Where a record ends that begins there: page by page, over the headers."""
    room_bytes = page_bytes - at % page_bytes
    while length_bytes > room_bytes:
        at += room_bytes
        length_bytes -= room_bytes
        header_bytes = _PAGE_HEADER_BYTES if at % segment_bytes else _FIRST_PAGE_HEADER_BYTES
        at += header_bytes
        room_bytes = page_bytes - header_bytes
    return Lsn(-(-(at + length_bytes) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES)


def control_values(text: str) -> dict[str, str]:
    """pg_controldata's lines as a dictionary."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}
