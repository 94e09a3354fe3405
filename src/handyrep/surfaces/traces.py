"""The answers of footprint and release for people: a table of what is there, and what becomes of each."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from handyrep.model.result import RD
from handyrep.surfaces.printable import printable

_FATES = {"taken": "taken back", "going": "would be taken back", "still_there": "STILL THERE"}


def show(console: Console, rd: RD) -> None:
    """Each trace on a line, then what is not known, then the sentence."""
    table = Table("server", "what", "where", "what for", "release", box=None, pad_edge=False)
    for one in rd.get("traces", ()):
        _add(table, one, f"leaves it: {one['stays']}" if one["stays"] else "takes it back")
    for key, fate in _FATES.items():
        for one in rd.get(key, ()):
            _add(table, one, fate)
    for one in rd.get("staying", ()):
        _add(table, one, f"stays: {one['stays']}")
    if table.row_count:
        console.print(table)
    for one in rd.get("unknown", ()):
        _say(console, f"not known: {': '.join(one[key] for key in ('server', 'plugin', 'why') if one[key])}")
    if rd.get("details"):
        _say(console, f"{rd['result']}: {rd['details']}")


def _add(table: Table, one: dict[str, Any], fate: str) -> None:
    cells = (one["server"], one["name"], one["where"], one["purpose"], fate)
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _say(console: Console, sentence: str) -> None:
    console.print(Text(printable(sentence)))
