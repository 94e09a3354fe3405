"""An SQLite file of ours: private, opened or begun anew. A damaged one is put aside, since it holds what is nice to know only."""

import logging
import sqlite3
from pathlib import Path

TROUBLE = (sqlite3.Error, OSError, TypeError, ValueError, RecursionError, OverflowError)
"""What reading and writing may raise."""
_BUSY_S = 0.2
_LOG = logging.getLogger("handyrep")


def opened(path: Path, table: str) -> sqlite3.Connection | None:
    """The database with this table; None, with a warning, when it cannot be used."""
    try:
        return _opened(path, table)
    except TROUBLE as error:
        _LOG.warning("there is no history, since %s cannot be used: %s", path, error)
        return None


def _opened(path: Path, table: str) -> sqlite3.Connection:
    try:
        return _prepared(path, table)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        _LOG.warning("the history is damaged (%s); it was moved to %s", error, aside)
        return _prepared(path, table)


def _prepared(path: Path, table: str) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute(table)
    except sqlite3.Error:
        database.close()
        raise
    return database
