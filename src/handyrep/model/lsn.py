"""Positions in the WAL. Owns parsing and comparing them; an impossible text is an error, never zero."""

import dataclasses
import re

_FORM = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Lsn:
    """A WAL position in bytes since the cluster began. Compare only within one timeline's history."""

    position_bytes: int

    @classmethod
    def parse(cls, text: object) -> "Lsn":
        """From PostgreSQL's own form, 16/B374D848. Raises ValueError."""
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"not an LSN: {text!r}")
        return cls((int(match[1], 16) << 32) + int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.position_bytes >> 32:X}/{self.position_bytes & 0xFFFFFFFF:X}"

    def __sub__(self, other: "Lsn") -> int:
        """How many bytes self is ahead of other (negative when behind)."""
        return self.position_bytes - other.position_bytes
