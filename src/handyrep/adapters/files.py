"""Files that must survive a crash: one JSON object replaced in one step, and an append-only list of JSON records.

What is on disk is always one whole version. A damaged file is an error, never "none".
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.errors import StateError

_FORMAT = 1
_MAX_BYTES = 64 * 1024 * 1024


def _checksum(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file: temporary file beside it, fsync, rename, fsync of the folder. Mode 0600. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


class StateFile:
    """ports.StateStore in a file; the version before is kept beside it as NAME.1 and read when the first is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.1")

    def load(self) -> Mapping[str, Any] | None:
        """As ports.StateStore.load."""
        if not self._path.exists() and not self._previous.exists():
            return None
        problems = []
        for path in (self._path, self._previous):
            try:
                return _checked(path)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                problems.append(f"{path}: {error}")
        raise StateError(
            f"what HandyRep knew of the servers cannot be read ({'; '.join(problems)})",
            remedy="Put a good copy back, or move both files away to start from handyrep.conf: check first who the master is.",
        )

    def save(self, content: Mapping[str, Any]) -> None:
        """As ports.StateStore.save."""
        whole = {"format": _FORMAT, "checksum": _checksum(content), "content": content}
        try:
            if self._path.exists():
                write_atomically(self._previous, self._path.read_bytes())
            write_atomically(self._path, json.dumps(whole, indent=1, sort_keys=True).encode())
        except OSError as error:
            raise StateError(f"{self._path} cannot be written ({error.strerror})", remedy="Make room or repair it.") from None


def _checked(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError("it is larger than any state HandyRep writes")
    whole = json.loads(path.read_bytes().decode("utf-8"))
    if whole["format"] != _FORMAT:
        raise ValueError(f"its format is {whole['format']!r}, this HandyRep reads {_FORMAT}")
    content = whole["content"]
    if not isinstance(content, dict) or whole["checksum"] != _checksum(content):
        raise ValueError("its checksum does not match: it is damaged")
    return content


class RecordFile:
    """ports.RecordLog in a file of JSON lines, each with a checksum. Only a torn last line is forgiven: it was never durable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """As ports.RecordLog.append."""
        line = json.dumps({"checksum": _checksum(record), "record": record}).encode() + b"\n"
        try:
            self._append_durably(line)
        except OSError as error:
            raise StateError(
                f"the journal {self._path} cannot be written ({error.strerror})",
                remedy="HandyRep does nothing that it cannot write down first. Make room or repair it.",
            ) from None

    def read(self) -> list[Mapping[str, Any]]:
        """As ports.RecordLog.read."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"the journal {self._path} cannot be read ({error.strerror})") from None
        return [_record(line, self._path, number) for number, line in enumerate(lines[:-1], 1)]

    def _append_durably(self, line: bytes) -> None:
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            end = _whole_lines_bytes(descriptor)
            os.ftruncate(descriptor, end)
            try:
                written = os.pwrite(descriptor, line, end)
                if written != len(line):
                    raise OSError(28, os.strerror(28))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(self._path.parent)


def _whole_lines_bytes(descriptor: int) -> int:
    """Where the last whole line ends: what stands behind it was torn by a crash."""
    size = os.fstat(descriptor).st_size
    position = size
    while position > 0:
        start = max(position - 4096, 0)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _record(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        whole = json.loads(line)
        record = whole["record"]
        if isinstance(record, dict) and whole["checksum"] == _checksum(record):
            return record
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise StateError(
        f"line {number} of the journal {path} is damaged",
        remedy="Look at the servers, then move the journal away: HandyRep cannot tell what it had begun.",
    )
