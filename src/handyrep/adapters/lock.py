"""One HandyRep per state directory: a lock that the kernel frees when its holder dies, however it dies."""

import contextlib
import fcntl
import os
from pathlib import Path

from handyrep.errors import BusyError, StateError
from handyrep.ports import Clock


class StateLock:
    """Held from `take()` until `release()` or the end of the process. Who holds it stands in the file, for messages only."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / "lock"
        self._clock = clock
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises BusyError when another process holds it, StateError when there can be no lock."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"{self._path} cannot be opened ({error.strerror})", remedy="Set state_dir.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "of unknown number"
            os.close(descriptor)
            raise BusyError(
                f"another HandyRep (process {holder}) works with {self._path.parent}",
                remedy="Use 'handyrep status', which talks to it, or stop it first.",
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _sign(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # a full disk takes the text, not the lock
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, self._signature(), 0)

    def _signature(self) -> bytes:
        return f"{os.getpid()}, since {self._clock.now():%Y-%m-%d %H:%M:%S} UTC\n".encode()
