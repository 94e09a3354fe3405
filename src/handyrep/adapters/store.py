"""servers.save: one JSON object, replaced in one step. What is on disk is always one whole version, the old or the new one.

A damaged file is an error or the version before it, never "none": HandyRep would trust a configuration from before a failover.
"""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.canonical import DamagedError, checksum, plain, strict_object
from handyrep.errors import StateError

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
_KEYS = frozenset({"version", "generation", "checksum", "content"})
_LOG = logging.getLogger("handyrep")


def sync_folder(folder: Path) -> None:
    """Make names in it durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StateFile:
    """ports.StateStore in a file. The version before stands beside it as NAME.1 and is used when the first is damaged.

    Only the holder of the state directory's lock may use it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.1")
        self._new = path.with_name(f".{path.name}.new")
        self._link = path.with_name(f".{path.name}.old")

    def load(self) -> Mapping[str, Any] | None:
        """As ports.StateStore.load."""
        found = self._newest()
        return None if found is None else found["content"]

    def save(self, content: Mapping[str, Any]) -> None:
        """As ports.StateStore.save."""
        try:
            present = _readable(self._path)
            before = present or _readable(self._previous)
            self._write_new(_written(content, int(before["generation"]) + 1 if before else 1))
            if present is not None:
                self._keep_previous()
            self._new.replace(self._path)
            sync_folder(self._path.parent)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            self._forget_new()
            reason = getattr(error, "strerror", None) or str(error)
            raise StateError(
                f"{self._path} cannot be written ({reason}), so the version before is still there",
                remedy=f"Make room or repair {self._path.parent}.",
            ) from None

    def _newest(self) -> dict[str, Any] | None:
        problems = []
        for path in (self._path, self._previous):
            try:
                found = _read(path)
            except FileNotFoundError:
                continue
            except (OSError, DamagedError) as error:
                problems.append(f"{path}: {getattr(error, 'strerror', None) or error}")
                continue
            if path is self._previous:
                _LOG.warning(
                    "%s: using %s, the version before", "; ".join(problems) or f"{self._path} is missing", path
                )
            return found
        if not problems:
            return None
        raise StateError(
            f"what HandyRep knew of the servers cannot be read ({'; '.join(problems)})",
            remedy="Put a good copy back, or move both files away to start from handyrep.conf: check first who the master is.",
        )

    def _write_new(self, data: bytes) -> None:
        descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _keep_previous(self) -> None:
        """The present version becomes the one before. A damaged one must not: then the older good one stays."""
        self._link.unlink(missing_ok=True)
        os.link(self._path, self._link)
        self._link.replace(self._previous)

    def _forget_new(self) -> None:
        with contextlib.suppress(OSError):
            self._new.unlink(missing_ok=True)


def _written(content: Mapping[str, Any], generation: int) -> bytes:
    kept = plain(content)
    whole = {"version": VERSION, "generation": generation, "checksum": checksum(kept), "content": kept}
    data = (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()
    if len(data) > MAX_BYTES:
        raise ValueError("it is larger than any state HandyRep reads back")
    return data


def _readable(path: Path) -> dict[str, Any] | None:
    """None when it is missing or damaged: the next save is what heals that."""
    with contextlib.suppress(OSError, DamagedError):
        return _read(path)
    return None


def _read(path: Path) -> dict[str, Any]:
    """Raises OSError, DamagedError."""
    if path.stat().st_size > MAX_BYTES:
        raise DamagedError("it is larger than any state HandyRep writes")
    whole = strict_object(path.read_bytes())
    if whole.keys() != _KEYS:
        raise DamagedError("it does not have the keys of a state file")
    if whole["version"] != VERSION:
        raise DamagedError(f"its version is {whole['version']!r}, this HandyRep reads {VERSION}")
    if not isinstance(whole["content"], dict) or not isinstance(whole["generation"], int):
        raise DamagedError("its content has the wrong type")
    if whole["checksum"] != checksum(whole["content"]):
        raise DamagedError("its checksum does not match its content")
    return whole
