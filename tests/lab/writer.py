"""A client that writes numbered rows to whichever server takes writes, and remembers what was acknowledged and what is in doubt.

A row is acknowledged when the server said so without reserve; in doubt when nothing was heard, or that the transaction was
committed on this server alone; refused, and so nowhere, after any other error. No number is ever tried twice.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg

from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.heard import Heard

_STATEMENT_S = 2.0
_INSERT = "insert into written (n) values (%s) returning host(inet_server_addr())"
_PAUSE_S = 0.001
_SEEK_S = 0.005
_WATCH_S = 0.02
_Session = psycopg.Connection[tuple[Any, ...]]


class _ReadOnlyError(Exception):
    """A server takes no writes now."""


class Client(Heard):
    """Runs in a thread of its own inside `async with`. It knows the addresses of all servers, and finds the one that takes writes.

    `statement_s`: a statement that lasts longer is given up.
    """

    def __init__(self, addresses: Sequence[str], statement_s: float = _STATEMENT_S) -> None:
        super().__init__()
        self._addresses = addresses
        self._statement_s = statement_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seekers = ThreadPoolExecutor(max_workers=len(addresses))
        self._seeking: dict[Future[_Session], str] = {}
        self._held: dict[str, _Session] = {}
        self._watchdog = _Watchdog(self._stop)
        self._number = 0
        self._reserve = False

    async def __aenter__(self) -> Self:
        self._watchdog.start()
        self._thread.start()
        await asyncio.to_thread(self.wait_for, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)
        await asyncio.to_thread(self._seekers.shutdown)
        await asyncio.to_thread(self._watchdog.join, 20)
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
        for address in self._addresses:
            if address not in self._seeking.values():
                self._seeking[self._seekers.submit(self._writable, address)] = address
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
        descriptor = session.fileno()
        self._watchdog.watch(descriptor, time.monotonic() + self._statement_s)
        try:
            yield
        finally:
            # By then the session may be closed, and know it no more.
            self._watchdog.forget(descriptor)

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        self._reserve = self._reserve or "committed locally" in (notice.message_detail or "")


class Writer(Client):
    """A client of a cluster that can tell what became of its rows."""

    def __init__(self, cluster: LabCluster, statement_s: float = _STATEMENT_S) -> None:
        super().__init__([host.address for host in cluster.hosts], statement_s)
        self._cluster = cluster

    def lost(self, master: str) -> set[int]:
        """Acknowledged rows that this server does not have."""
        return set(self.acknowledged) - written_on(self._cluster, master)


def written_on(cluster: LabCluster, name: str) -> set[int]:
    """The numbers that a server has."""
    with cluster.connect(name) as connection:
        return {row[0] for row in connection.execute("select n from written").fetchall()}


def _open(address: str) -> _Session:
    return psycopg.connect(
        "", host=address, user="handyrep", password=PASSWORDS["handyrep"], dbname="postgres", connect_timeout=2,
        autocommit=True, tcp_user_timeout=2000,
    )  # fmt: skip


class _Watchdog(threading.Thread):
    """Hangs up whatever is watched for too long. One thread for all: one for each statement would take time from the servers."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._stop_it = stop
        self._lock = threading.Lock()
        self._ends: dict[int, float] = {}

    def watch(self, descriptor: int, end: float) -> None:
        """Until `end`, a time of time.monotonic()."""
        with self._lock:
            self._ends[descriptor] = end

    def forget(self, descriptor: int) -> None:
        """It has ended. Once this returns its descriptor may be closed, and be another's."""
        with self._lock:
            self._ends.pop(descriptor, None)

    def run(self) -> None:
        """Until the client stops."""
        while not self._stop_it.wait(_WATCH_S):
            with self._lock:
                for descriptor in [one for one, end in self._ends.items() if time.monotonic() > end]:
                    _hang_up(descriptor)


def _hang_up(descriptor: int) -> None:
    """End a connection whose server says nothing any more; libpq then sees it closed."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _close_found(found: Future[_Session]) -> None:
    if found.exception() is None:
        found.result().close()
