"""The end of a pgbouncer.ini by which names lead nowhere, so that a pgbouncer which starts anew leads nobody to an old master. Pure.

The file as it was stands above it, unchanged: taking the end away puts it back.
"""

import re
from collections.abc import Iterable

from handyrep.plugins._bouncer_config import MARK_PLACE, Target, parse_databases

_FOOT = "; Put here by HandyRep to hold clients back: by these lines the names above lead nowhere."
_INCLUDE = re.compile(r"%include[ \t]+(.*)")


def blocked(text: str, names: Iterable[str]) -> str:
    """The file with these names leading nowhere: of two lines for one name pgbouncer takes the last."""
    host, port = MARK_PLACE
    lines = "".join(f"{name} = host={host} port={port} dbname={name}\n" for name in sorted(names))
    return f"{unblocked(text)}\n{_FOOT}\n[databases]\n{lines}"


def unblocked(text: str) -> str:
    """The file as it was."""
    return text.partition(f"\n{_FOOT}\n")[0]


def held_back(text: str) -> frozenset[str]:
    """The names that lead nowhere by that end."""
    lines = text.partition(f"\n{_FOOT}\n")[2]
    return frozenset(name for name, target in parse_databases(lines).items() if leads_nowhere(target))


def leads_nowhere(target: Target) -> bool:
    """As the names of a blocked file do."""
    return target.place == MARK_PLACE


def included(line: str) -> str:
    """The file that this line includes; '' when it includes none."""
    found = _INCLUDE.fullmatch(line.strip())
    return found[1].strip() if found else ""
