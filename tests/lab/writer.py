"""A client that writes numbered rows to whichever server takes writes, and remembers what was acknowledged and what is in doubt.

A row is acknowledged when the server said so without reserve; in doubt when nothing was heard, or that the transaction was
committed on this server alone; refused, and so nowhere, after any other error. No number is ever tried twice.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, Self

import psycopg

from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS

_STATEMENT_S = 2.0
_INSERT = "insert into written (n) values (%s) returning host(inet_server_addr())"
_PAUSE_S = 0.001
_SEEK_S = 0.005
_Session = psycopg.Connection[tuple[Any, ...]]


class _ReadOnlyError(Exception):
    """A server takes no writes now."""


class Writer:
    """Runs in a thread of its own inside `async with`; times are those of time.monotonic().

    `statement_s`: a statement that lasts longer is given up. `by`: the address of the server that each acknowledged row was written on. `errors`: what clients saw go wrong.
    """

    def __init__(self, cluster: LabCluster, statement_s: float = _STATEMENT_S) -> None:
        self._cluster = cluster
        self._statement_s = statement_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seekers = ThreadPoolExecutor(max_workers=len(cluster.hosts))
        self._seeking: dict[Future[_Session], str] = {}
        self._held: dict[str, _Session] = {}
        self.acknowledged: dict[int, float] = {}
        self.by: dict[int, str] = {}
        self.errors: list[str] = []
        self.in_doubt: set[int] = set()
        self._number = 0
        self._reserve = False

    async def __aenter__(self) -> Self:
        self._thread.start()
        await asyncio.to_thread(self.wait_for, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)
        await asyncio.to_thread(self._seekers.shutdown)
        for found in self._seeking:
            _close_found(found)
        for session in self._held.values():
            session.close()

    def wait_for(self, more: int, patience_s: float = 60.0) -> None:
        """Until so many further rows were acknowledged."""
        wanted = len(self.acknowledged) + more
        end = time.monotonic() + patience_s
        while len(self.acknowledged) < wanted:
            if time.monotonic() > end:
                seen = "; ".join(self.errors[-3:]) or "no error"
                raise TimeoutError(f"the client could not write {more} rows within {patience_s:g} s ({seen})")
            time.sleep(0.01)

    def longest_gap_s(self) -> float:
        """The longest time between two acknowledgements so far."""
        times = sorted(self.acknowledged.values())
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def gap_around(self, moment: float) -> tuple[float, float]:
        """The last acknowledgement before a moment and the first after it. Raises ValueError when there is none."""
        times = list(self.acknowledged.values())
        return max(at for at in times if at <= moment), min(at for at in times if at > moment)

    def two_wrote(self) -> bool:
        """Whether a server acknowledged a row after another one had taken over from it."""
        servers = [self.by[number] for number, _ in sorted(self.acknowledged.items(), key=lambda row: row[1])]
        turns = [server for before, server in pairwise(["", *servers]) if server != before]
        return len(turns) > len(set(turns))

    def lost(self, master: str) -> set[int]:
        """Acknowledged rows that this server does not have."""
        acknowledged = set(self.acknowledged)
        with self._cluster.connect(master) as connection:
            return acknowledged - {row[0] for row in connection.execute("select n from written").fetchall()}

    def _run(self) -> None:
        while not self._stop.is_set():
            session = self._seek()
            if session is not None:
                try:
                    self._write(session)
                except psycopg.Error as error:
                    self.errors.append(str(error).strip())
                session.close()

    def _seek(self) -> _Session | None:
        """A session with whoever takes writes: all are asked at once, since one that is off would keep us waiting."""
        for host in self._cluster.hosts:
            if host.address not in self._seeking.values():
                self._seeking[self._seekers.submit(self._writable, host.address)] = host.address
        asked = set(self._seeking)
        done, _ = wait(asked, timeout=0.1, return_when=FIRST_COMPLETED)
        for found in done:
            del self._seeking[found]
        sessions = [found.result() for found in done if found.exception() is None]
        for spare in sessions[1:]:
            spare.close()
        if not sessions:
            self._stop.wait(_SEEK_S)
        return sessions[0] if sessions else None

    def _writable(self, address: str) -> _Session:
        """The session with this server, which takes writes. Held until it does: a login each time would burden the servers.

        Raises psycopg.Error: it cannot be reached; _ReadOnlyError: it takes none.
        """
        session = self._held.pop(address, None) or _open(address)
        try:
            with self._watched(session):
                row = session.execute("select pg_is_in_recovery()").fetchone()
        except psycopg.Error:
            session.close()
            raise
        if row != (False,):
            self._held[address] = session
            raise _ReadOnlyError(address)
        return session

    def _write(self, session: _Session) -> None:
        session.add_notice_handler(self._noticed)
        while not self._stop.is_set():
            self._number += 1
            self._write_one(session, self._number)
            time.sleep(_PAUSE_S)

    def _write_one(self, session: _Session, number: int) -> None:
        self._reserve = False
        self.in_doubt.add(number)
        try:
            with self._watched(session):
                row = session.execute(_INSERT, (number,)).fetchone()
        except psycopg.Error as error:
            if error.sqlstate is not None and not error.sqlstate.startswith("57P"):
                self.in_doubt.discard(number)
            raise
        if not self._reserve:
            self.acknowledged[number] = time.monotonic()
            self.by[number] = str(row[0]) if row else ""
            self.in_doubt.discard(number)

    @contextmanager
    def _watched(self, session: _Session) -> Iterator[None]:
        """Give up the statement in it, with its session, when that lasts too long."""
        watchdog = threading.Timer(self._statement_s, _hang_up, (session.fileno(),))
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        self._reserve = self._reserve or "committed locally" in (notice.message_detail or "")


def _open(address: str) -> _Session:
    return psycopg.connect(
        "", host=address, user="handyrep", password=PASSWORDS["handyrep"], dbname="postgres", connect_timeout=2,
        autocommit=True, tcp_user_timeout=2000,
    )  # fmt: skip


def _hang_up(descriptor: int) -> None:
    """End a connection whose server says nothing any more; libpq then sees it closed."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _close_found(found: Future[_Session]) -> None:
    if found.exception() is None:
        found.result().close()
