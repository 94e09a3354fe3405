"""The journal: an append-only file of JSON lines, each with a checksum, on disk before HandyRep acts.

Only a torn last line is forgiven, since nobody acted on what was never durable. Any other damage is an error.
"""

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.canonical import DamagedError, checksum, plain, strict_object
from handyrep.adapters.store import sync_folder
from handyrep.errors import StateError

_BLOCK_BYTES = 4096
_KEYS = frozenset({"checksum", "record"})


class RecordFile:
    """ports.RecordLog in a file. Only the holder of the state directory's lock may append."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """As ports.RecordLog.append."""
        try:
            kept = plain(record)
            line = json.dumps({"checksum": checksum(kept), "record": kept}).encode() + b"\n"
            self._append_durably(line)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StateError(
                f"the journal {self._path} cannot be written ({reason})",
                remedy="HandyRep does nothing that it cannot write down first. Make room or repair it.",
            ) from None

    def read(self) -> list[Mapping[str, Any]]:
        """As ports.RecordLog.read."""
        try:
            *lines, torn = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"the journal {self._path} cannot be read ({error.strerror})") from None
        records = [self._record(line, number) for number, line in enumerate(lines, 1)]
        if _is_whole(torn[:-1]):
            # A write that was torn leaves a beginning of a line, never a whole record with something else behind it.
            raise self._damaged(len(lines) + 1, "its end was overwritten")
        return records

    def _record(self, line: bytes, number: int) -> Mapping[str, Any]:
        try:
            return _parsed(line)
        except DamagedError as error:
            raise self._damaged(number, str(error)) from None

    def _damaged(self, number: int, why: str) -> StateError:
        return StateError(
            f"line {number} of the journal {self._path} is damaged ({why})",
            remedy="Look at the servers, then move the journal away: HandyRep cannot tell what it had begun.",
        )

    def _append_durably(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            end = _whole_lines_bytes(descriptor)
            if end == 0:
                sync_folder(self._path.parent)
            _write_at(descriptor, line, end)
        finally:
            os.close(descriptor)


def _write_at(descriptor: int, line: bytes, end: int) -> None:
    """Put the line there, durably, in place of what a crash tore; or leave nothing of it."""
    try:
        os.ftruncate(descriptor, end)
        _write_whole(descriptor, line, end)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _write_whole(descriptor: int, line: bytes, end: int) -> None:
    """A short write means that there is no room for the rest. Raises OSError."""
    if os.pwrite(descriptor, line, end) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _whole_lines_bytes(descriptor: int) -> int:
    """Where the last whole line ends."""
    position = os.fstat(descriptor).st_size
    while position > 0:
        start = max(position - _BLOCK_BYTES, 0)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _parsed(line: bytes) -> Mapping[str, Any]:
    whole = strict_object(line)
    if whole.keys() != _KEYS or not isinstance(whole["record"], dict):
        raise DamagedError("it is no record")
    if whole["checksum"] != checksum(whole["record"]):
        raise DamagedError("its checksum does not match")
    record: Mapping[str, Any] = whole["record"]
    return record


def _is_whole(line: bytes) -> bool:
    try:
        _parsed(line)
    except DamagedError:
        return False
    return True
