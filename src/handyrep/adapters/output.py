"""Output of commands, bounded: so much is kept, the rest is read and dropped, and both are remembered."""

KEPT_BYTES = 1 << 20
"""So much of each output stream is kept."""


class Kept:
    """The beginning of a stream of bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        """Keep it, as far as there is room."""
        room = KEPT_BYTES - len(self._bytes)
        self._bytes += data[:room]
        self.cut = self.cut or len(data) > room

    def text(self) -> str:
        """What was kept; bytes that are not UTF-8 are replaced."""
        return self._bytes.decode("utf-8", errors="replace")
