"""Events for people, in SQLite and on the log. A history that cannot be written loses a line; it never decides or stops anything."""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.sqlite_file import TROUBLE, opened
from handyrep.ports import Clock, EventSink

KEPT_EVENTS = 100_000
_LOG = logging.getLogger("handyrep")
_TABLE = """create table if not exists event (
    id integer primary key autoincrement, at text not null, kind text not null, text text not null, facts text not null)"""


class History:
    """ports.EventSink, and reading back. `lost` counts the events that could not be kept."""

    def __init__(self, path: Path, clock: Clock, kept_events: int = KEPT_EVENTS) -> None:
        self._clock = clock
        self._kept_events = kept_events
        self._database = opened(path, _TABLE)
        self.lost = 0

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
        except TROUBLE as error:
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
        except TROUBLE as error:
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
