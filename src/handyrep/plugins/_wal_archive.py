"""Names in a WAL archive: which are WAL, and which lie before all that anybody needs. Pure."""

import re
from collections.abc import Iterable

CLONE_LABEL = "HandyRep clone"
"""How base backups are labelled that are made to become replicas: nobody keeps them."""

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_FILE = re.compile(r"([0-9A-F]{24})(?:\.(?:gz|bz2|lz4|xz|zst))?")
_LABEL = re.compile(r"([0-9A-F]{24})\.[0-9A-F]{8}\.backup(?:\.\w+)?")


def is_segment(name: object) -> bool:
    """Whether this is the name of a WAL segment, as PostgreSQL writes it."""
    return isinstance(name, str) and _SEGMENT.fullmatch(name) is not None


def position(segment: str) -> str:
    """What orders segments, whatever their timeline: they compare as text."""
    return segment[8:24]


def first_of_backup(label: str) -> str:
    """The first segment that a base backup needs, from the name of the file that PostgreSQL left in the archive; '' for others."""
    match = _LABEL.fullmatch(label)
    return match[1] if match else ""


def before(files: Iterable[str], needed: str) -> list[str]:
    """Those of these files that are WAL, compressed or not, and lie before the segment `needed`. History, labels, parts never."""
    return sorted(file for file in files if (match := _FILE.fullmatch(file)) and position(match[1]) < position(needed))
