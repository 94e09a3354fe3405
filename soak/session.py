"""One client's session at one address, with a deadline on everything. Owns what counts as acknowledged, refused, in doubt.

A row is acknowledged when its server said so without reserve: the transaction has ended well, and nothing was said of a commit that no
replica confirmed. It is refused, and so nowhere, after an ERROR in which the session goes on. Anything else leaves it in doubt.
"""

import dataclasses
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq

from soak.history import Ack, Answer, Doubt, Refused

_INSERT = "insert into written (n) select {row} {busy} returning host(inet_server_addr()), pg_walfile_name(pg_current_wal_insert_lsn())"
_BUSY = "where (select count(*) from generate_series(1, 4000000)) > 0"
_BUSY_S = 15.0
_TIMELINE_DIGITS = 8
_MAY_BE_COMMITTED = ("57P", "08")
"""SQLSTATEs after which a row may stand: the server stopped while it committed; pgbouncer lost the server."""


class SilentError(Exception):
    """Nobody answered before the deadline, or the line was cut."""


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """Where a session begins: an address and port, and who comes."""

    address: str
    port: int
    user: str
    password: str

    @property
    def conninfo(self) -> bytes:
        """For libpq. Names and passwords of the lab need no quotes."""
        return f"host={self.address} port={self.port} user={self.user} password={self.password} dbname=postgres sslmode=disable".encode()


class Session:
    """`is_over`: an answer did not come in time, or the line is cut."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection
        self._reserve = False
        self.is_over = False
        connection.notice_handler = self._noticed

    def insert(self, row: int, deadline_s: float, *, busy: bool = False) -> Answer:
        """Write one row; a busy one computes for a second or two first, which no signal but SIGKILL ends at once."""
        self._reserve = False
        sent = time.monotonic()
        end = sent + (_BUSY_S if busy else deadline_s)
        try:
            self._connection.send_query(_INSERT.format(row=row, busy=_BUSY if busy else "").encode())
            results = list(self._results(end))
        except (psycopg.Error, SilentError):
            self.is_over = True
            return Doubt(row, sent)
        self.is_over = self._connection.status != pq.ConnStatus.OK
        return self._judged(row, sent, results)

    def _judged(self, row: int, sent: float, results: list[pq.abc.PGresult]) -> Answer:
        errors = [result for result in results if result.status != pq.ExecStatus.TUPLES_OK]
        if errors:
            refused = not self.is_over and all(map(_is_refusal, errors))
            return Refused(row) if refused else Doubt(row, sent)
        if self._reserve or len(results) != 1:
            return Doubt(row, sent)
        server, segment = (bytes(results[0].get_value(0, column) or b"").decode() for column in (0, 1))
        return Ack(row, server, int(segment[:_TIMELINE_DIGITS], 16), sent, time.monotonic())

    def _results(self, end: float) -> Iterator[pq.abc.PGresult]:
        """All of them, until the server is ready for the next query: an error at the commit itself comes last."""
        while self._connection.flush():
            _wait(self._connection.socket, end, writing=True)
        while True:
            while self._connection.is_busy():
                _wait(self._connection.socket, end, writing=False)
                self._connection.consume_input()
            result = self._connection.get_result()
            if result is None:
                return
            yield result

    def _noticed(self, notice: pq.abc.PGresult) -> None:
        detail = notice.error_field(pq.DiagnosticField.MESSAGE_DETAIL) or b""
        self._reserve = self._reserve or b"committed locally" in detail


def _is_refusal(result: pq.abc.PGresult) -> bool:
    severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b""
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    return severity == b"ERROR" and bool(state) and not state.startswith(_MAY_BE_COMMITTED)


def _wait(descriptor: int, end: float, *, writing: bool) -> None:
    left_s = end - time.monotonic()
    reading_from, writing_to = ([], [descriptor]) if writing else ([descriptor], [])
    if left_s <= 0 or not any(select.select(reading_from, writing_to, [], left_s)):
        raise SilentError


@contextmanager
def opened(door: Door, deadline_s: float) -> Iterator[Session]:
    """A session that is closed afterwards. Raises SilentError."""
    end = time.monotonic() + deadline_s
    connection = pq.PGconn.connect_start(door.conninfo)
    try:
        while (state := connection.connect_poll()) not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            _wait(connection.socket, end, writing=state == pq.PollingStatus.WRITING)
        if state == pq.PollingStatus.FAILED:
            raise SilentError
        yield Session(connection)
    except psycopg.Error as error:
        raise SilentError from error
    finally:
        connection.finish()
