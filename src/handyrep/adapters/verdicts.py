"""Verdicts with what they were judged from, in the history's SQLite file. One that cannot be written is lost; it never stops anything."""

import contextlib
import datetime as dt
import json
import logging
import sqlite3
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.sqlite_file import TROUBLE, opened
from handyrep.model.kept import Kept
from handyrep.model.verdict import Move, Verdict
from handyrep.ports import Clock

KEPT_VERDICTS = 10_000
_LOG = logging.getLogger("handyrep")
_TABLE = """create table if not exists verdict (
    number integer primary key autoincrement, at text not null, last_at text not null, times integer not null default 1,
    rule text not null, move text not null, sentence text not null, because text not null, inputs blob)"""
_COLUMNS = "number, at, last_at, times, rule, move, sentence, because, inputs"


class VerdictFile:
    """ports.VerdictLog. `lost` counts the verdicts that could not be kept."""

    def __init__(self, path: Path, clock: Clock, kept_verdicts: int = KEPT_VERDICTS) -> None:
        self._clock = clock
        self._kept_verdicts = kept_verdicts
        self._database = opened(path, _TABLE)
        self.lost = 0

    def keep(self, verdict: Verdict, inputs: Mapping[str, Any] | None) -> int | None:
        """As ports.VerdictLog.keep."""
        try:
            now, because = self._clock.now().isoformat(), json.dumps(verdict.because)
            row = (now, now, verdict.rule, verdict.move.value, verdict.sentence, because, _packed(inputs))
            number = self._run(
                "insert into verdict (at, last_at, rule, move, sentence, because, inputs) values (?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            self._run(
                "delete from verdict where number <= (select max(number) from verdict) - ?", (self._kept_verdicts,)
            )
            return number
        except TROUBLE as error:
            self.lost += 1
            _LOG.warning("a verdict could not be kept in the history: %s", error)
            return None

    def came_again(self, number: int, times: int) -> None:
        """As ports.VerdictLog.came_again."""
        now = self._clock.now().isoformat()
        with contextlib.suppress(*TROUBLE):
            self._run("update verdict set times = times + ?, last_at = ? where number = ?", (times, now, number))

    def newest(self, count: int) -> list[Kept]:
        """As ports.VerdictLog.newest."""
        return self._read("order by number desc limit ?", count)[::-1]

    def find(self, number: int) -> Kept | None:
        """As ports.VerdictLog.find."""
        return next(iter(self._read("where number = ?", number)), None)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _read(self, which: str, value: int) -> list[Kept]:
        statement = f"select {_COLUMNS} from verdict {which}"  # noqa: S608 - both parts are ours
        try:
            rows = self._run(statement, (value,)).fetchall()
        except TROUBLE as error:
            _LOG.warning("the verdicts in the history cannot be read: %s", error)
            return []
        return [kept for kept in map(_kept, rows) if kept is not None]

    def _run(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        if self._database is None:
            raise sqlite3.ProgrammingError("there is no history")
        return self._database.execute(statement, values)


def _packed(inputs: Mapping[str, Any] | None) -> bytes | None:
    return None if inputs is None else zlib.compress(json.dumps(inputs, allow_nan=False).encode())


def _unpacked(inputs: bytes | None) -> Mapping[str, Any] | None:
    """None as well for one that was damaged: the verdict can still be told."""
    try:
        unpacked: object = None if inputs is None else json.loads(zlib.decompress(inputs))
    except (zlib.error, ValueError, TypeError):
        return None
    return unpacked if isinstance(unpacked, dict) else None


def _kept(row: tuple[Any, ...]) -> Kept | None:
    """None for a row that is not ours; the others can still be told."""
    number, at, last_at, times, rule, move, sentence, because, inputs = row
    try:
        return Kept(
            number=number,
            at=dt.datetime.fromisoformat(at),
            last_at=dt.datetime.fromisoformat(last_at),
            times=times,
            verdict=Verdict(rule, Move(move), sentence, tuple(json.loads(because))),
            inputs=_unpacked(inputs),
        )
    except (TypeError, ValueError):
        return None
