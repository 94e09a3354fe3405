"""The figures of the last run that was kept (docs/benchmarks.json), the table that docs/benchmarks.md shows of them, and what got worse since."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
KEPT, PAGE = DOCS / "benchmarks.json", DOCS / "benchmarks.md"
_BEGIN, _END = "<!-- failover -->", "<!-- end of failover -->"
_WORSE, _AT_LEAST_S = 1.25, 0.05
"""A median that grew by a quarter, and by more than what two runs on one machine differ by."""
_COUNTS = ("lost", "client_errors", "two_writable")
_NEVER = ("lost", "two_writable")
_ERRORS_MORE = 1.0
"""A round: how often a client tries again before it gets on is chance."""
_HEAD = (
    "| fault | mode | n | median | p95 | max | floor | lost | client errors | two writable |",
    "|---|---|---|---|---|---|---|---|---|---|",
)

Row = Mapping[str, Any]


def key_of(row: Row) -> str:
    """What makes it the same row in another run."""
    return f"{row['fault']}, {row['mode']}, PostgreSQL {row['version']}"


def kept() -> dict[str, Row]:
    """The rows of the run that was kept, by key."""
    if not KEPT.exists():
        return {}
    return {key_of(row): row for row in json.loads(KEPT.read_text(encoding="utf-8"))["rows"]}


def worse(rows: Sequence[Row]) -> list[str]:
    """A sentence for each figure that got worse."""
    return [told for row in rows for told in _worse(row, kept().get(key_of(row)))]


def _worse(now: Row, before: Row | None) -> list[str]:
    if before is None:
        return []
    told = [f"{name} was {before[name]} and is {now[name]}" for name in _NEVER if now[name] > before[name]]
    errors, errors_before = (row["client_errors"] / row["n"] for row in (now, before))
    if errors > errors_before + _ERRORS_MORE:
        told.append(f"client errors were {errors_before:g} a round and are {errors:g}")
    grown_s = now["median_s"] - before["median_s"]
    if grown_s > _AT_LEAST_S and now["median_s"] > before["median_s"] * _WORSE:
        told.append(f"the median was {before['median_s']:g} s and is {now['median_s']:g} s")
    return [f"worse: {key_of(now)}: {one}" for one in told]


def write(rows: Sequence[Row], machine: str) -> None:
    """Keep these rows in place of those of the same name, and make the page's table anew."""
    whole = {**kept(), **{key_of(row): row for row in rows}}
    KEPT.write_text(json.dumps({"machine": machine, "rows": list(whole.values())}, indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    table = "\n".join((*_HEAD, *map(line, whole.values())))
    PAGE.write_text(f"{before}{_BEGIN}\nMachine: {machine}.\n\n{table}\n{_END}{rest.split(_END)[1]}", encoding="utf-8")


def write_table(what: str, rows: Sequence[Row]) -> None:
    """Make one of the page's other tables anew: `what` stands in the comments around it."""
    begin, end = f"<!-- {what} -->", f"<!-- end of {what} -->"
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    names = list(rows[0])
    head = f"| {' | '.join(name.replace('_', ' ') for name in names)} |\n|{'---|' * len(names)}"
    table = "\n".join((head, *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows)))
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def line(row: Row) -> str:
    """One row of the table."""
    times = " | ".join(f"{row[name]:.2f} s" for name in ("median_s", "p95_s", "max_s", "floor_s"))
    return (
        f"| {row['fault']} | {row['mode']} | {row['n']} | {times} | {' | '.join(str(row[name]) for name in _COUNTS)} |"
    )
