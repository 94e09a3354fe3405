"""One HandyRep per state directory: a lock that the kernel frees when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from handyrep.errors import BusyError


class StateLock:
    """Held from `take()` until `release()` or the end of the process. Who holds it stands in the file, for messages only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises BusyError when another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise BusyError(
                f"another HandyRep (process {holder}) works with {self._path.parent}",
                remedy="Use 'handyrep status', which talks to it, or stop it first.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
