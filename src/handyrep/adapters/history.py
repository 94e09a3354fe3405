"""Events for people, in SQLite and on the log. A history that cannot be written loses a line; it never decides or stops anything."""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.ports import Clock, EventSink

KEPT_EVENTS = 100_000
_LOG = logging.getLogger("handyrep")
_BUSY_S = 0.2
_TABLE = """create table if not exists event (
    id integer primary key autoincrement, at text not null, kind text not null, text text not null, facts text not null)"""
_TROUBLE = (sqlite3.Error, OSError, TypeError, ValueError, RecursionError, OverflowError)


class History:
    """ports.EventSink, and reading back. `lost` counts the events that could not be kept."""

    def __init__(self, path: Path, clock: Clock, kept_events: int = KEPT_EVENTS) -> None:
        self._clock = clock
        self._kept_events = kept_events
        self._database: sqlite3.Connection | None = None
        self.lost = 0
        try:
            self._database = _opened(path)
        except _TROUBLE as error:
            _LOG.warning("there is no history, since %s cannot be used: %s", path, error)

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """As ports.EventSink.record."""
        _LOG.info("%s", text, extra={"kind": kind, "facts": dict(facts)})
        if self._database is None:
            self.lost += 1
            return
        try:
            row = (self._clock.now().isoformat(), kind, text, json.dumps(dict(facts), default=str))
            self._database.execute("insert into event (at, kind, text, facts) values (?, ?, ?, ?)", row)
            self._database.execute(
                "delete from event where id <= (select max(id) from event) - ?", (self._kept_events,)
            )
        except _TROUBLE as error:
            self.lost += 1
            _LOG.warning("an event could not be kept in the history: %s", error)

    def newest(self, count: int, kind: str | None = None) -> list[dict[str, Any]]:
        """The newest events, oldest of them first; none when the history cannot be read."""
        if self._database is None:
            return []
        statement = "select at, kind, text, facts from event where ? is null or kind = ? order by id desc limit ?"
        try:
            rows = self._database.execute(statement, (kind, kind, count)).fetchall()
            return [
                {"at": at, "kind": k, "text": text, "facts": json.loads(facts)} for at, k, text, facts in reversed(rows)
            ]
        except _TROUBLE as error:
            _LOG.warning("the history cannot be read: %s", error)
            return []

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None


class Both:
    """Two sinks as one."""

    def __init__(self, first: EventSink, second: EventSink) -> None:
        self._sinks = (first, second)

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """As ports.EventSink.record."""
        for sink in self._sinks:
            sink.record(kind, text, facts)


def _opened(path: Path) -> sqlite3.Connection:
    """The database; a damaged one is put aside and a new one begun. Raises sqlite3.Error, OSError."""
    try:
        return _prepared(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        _LOG.warning("the history is damaged (%s); it was moved to %s", error, aside)
        return _prepared(path)


def _prepared(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database
