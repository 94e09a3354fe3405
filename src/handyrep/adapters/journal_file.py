"""The journal: an append-only file of JSON lines, each with a checksum; what HandyRep is about to do is on disk before it does it.

Only a torn last line is forgiven, since nobody acted on what was never durable. Any other damage is an error.
"""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.canonical import DamagedError, checksum, plain, strict_object
from handyrep.adapters.store import sync_folder
from handyrep.errors import StateError

_BLOCK_BYTES = 4096
_KEYS = frozenset({"checksum", "record"})


class RecordFile:
    """ports.RecordLog in a file. Only the holder of the state directory's lock may append.

    A line is parsed once: as long as the file begins with what was read before, only what follows is new. A record that was read may not
    be changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = b""
        self._records: list[Mapping[str, Any]] = []

    def append(self, record: Mapping[str, Any]) -> None:
        """As ports.RecordLog.append."""
        self._add(record, os.fsync)

    def note(self, record: Mapping[str, Any]) -> None:
        """As ports.RecordLog.note."""
        self._add(record, _left_to_the_next)

    def _add(self, record: Mapping[str, Any], settle: Callable[[int], None]) -> None:
        try:
            kept = plain(record)
            line = json.dumps({"checksum": checksum(kept), "record": kept}).encode() + b"\n"
            self._put_at_the_end(line, settle)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StateError(
                f"the journal {self._path} cannot be written ({reason})",
                remedy="HandyRep does nothing that it cannot write down first. Make room or repair it.",
            ) from None

    def read(self) -> list[Mapping[str, Any]]:
        """As ports.RecordLog.read."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"the journal {self._path} cannot be read ({error.strerror})") from None
        known = list(self._records) if data.startswith(self._read) else []
        *lines, torn = data[len(self._read) if known else 0 :].split(b"\n")
        records = known + [self._record(line, number) for number, line in enumerate(lines, len(known) + 1)]
        if _is_whole(torn[:-1]):
            # A write that was torn leaves a beginning of a line, never a whole record with something else behind it.
            raise self._damaged(len(records) + 1, "its end was overwritten")
        self._read, self._records = data[: len(data) - len(torn)], records
        return list(records)

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

    def _put_at_the_end(self, line: bytes, settle: Callable[[int], None]) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            end = _whole_lines_bytes(descriptor)
            if end == 0:
                sync_folder(self._path.parent)
            _write_at(descriptor, line, end, settle)
        finally:
            os.close(descriptor)


def _left_to_the_next(_: int) -> None:
    """Whoever appends next makes all of the file durable."""


def _write_at(descriptor: int, line: bytes, end: int, settle: Callable[[int], None]) -> None:
    """Put the line there in place of what a crash tore, and settle it; or leave nothing of it."""
    try:
        os.ftruncate(descriptor, end)
        _write_whole(descriptor, line, end)
        settle(descriptor)
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
