"""Events for people, in SQLite and on the log. A history that cannot be written loses a line; it never stops a failover."""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.ports import Clock, EventSink

_LOG = logging.getLogger("handyrep")
_KEPT_EVENTS = 100_000
_TABLE = """create table if not exists event (
    id integer primary key autoincrement, at text not null, kind text not null, text text not null, facts text not null)"""


class History:
    """ports.EventSink, and reading back."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        try:
            self._database = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
            self._database.execute(_TABLE)
        except sqlite3.Error as error:
            self._lost(error)

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """As ports.EventSink.record."""
        _LOG.info(text, extra={"kind": kind, "facts": dict(facts)})
        if self._database is None:
            return
        try:
            row = (self._clock.now().isoformat(), kind, text, json.dumps(dict(facts), default=str))
            self._database.execute("insert into event (at, kind, text, facts) values (?, ?, ?, ?)", row)
            self._database.execute("delete from event where id <= (select max(id) from event) - ?", (_KEPT_EVENTS,))
        except sqlite3.Error as error:
            self._lost(error)

    def newest(self, count: int, kind: str | None = None) -> list[dict[str, Any]]:
        """The newest events, oldest of them first."""
        if self._database is None:
            return []
        where, values = ("where kind = ?", (kind, count)) if kind else ("", (count,))
        rows = self._database.execute(f"select at, kind, text, facts from event {where} order by id desc limit ?", values)  # noqa: S608 - `where` is one of two constants
        return [{"at": at, "kind": k, "text": text, "facts": json.loads(facts)} for at, k, text, facts in rows][::-1]

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _lost(self, error: sqlite3.Error) -> None:
        _LOG.warning("an event could not be kept in the history: %s", error)


class Both:
    """Two sinks as one."""

    def __init__(self, first: EventSink, second: EventSink) -> None:
        self._sinks = (first, second)

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """As ports.EventSink.record."""
        for sink in self._sinks:
            sink.record(kind, text, facts)
