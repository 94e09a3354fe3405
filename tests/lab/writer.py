"""A client that writes numbered rows to whichever server takes writes, and remembers what was acknowledged and what is in doubt."""

import asyncio
import threading
import time
from contextlib import suppress

import psycopg

from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS


class Writer:
    """Runs in a thread of its own inside `async with`."""

    def __init__(self, cluster: LabCluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: dict[int, float] = {}
        self.in_doubt: set[int] = set()
        self._number = 0

    async def __aenter__(self) -> "Writer":
        self._thread.start()
        await asyncio.to_thread(self.wait_for, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)

    def wait_for(self, more: int, patience_s: float = 60.0) -> None:
        """Until so many further rows were acknowledged."""
        wanted = len(self.acknowledged) + more
        end = time.monotonic() + patience_s
        while len(self.acknowledged) < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"the client could not write {more} rows within {patience_s:g} s")
            time.sleep(0.01)

    def longest_gap_s(self) -> float:
        """The longest time between two acknowledgements so far."""
        times = sorted(self.acknowledged.values())
        return max((b - a for a, b in zip(times, times[1:], strict=False)), default=0.0)

    def lost(self, master: str) -> set[int]:
        """Acknowledged rows that this server does not have."""
        with self._cluster.connect(master) as connection:
            there = {row[0] for row in connection.execute("select n from written").fetchall()}
        return set(self.acknowledged) - there

    def _run(self) -> None:
        hosts = ",".join(host.address for host in self._cluster.hosts)
        while not self._stop.is_set():
            with suppress(psycopg.Error):
                self._write(hosts)
            self._stop.wait(0.01)

    def _write(self, hosts: str) -> None:
        connection = psycopg.connect(
            "", host=hosts, user="handyrep", password=PASSWORDS["handyrep"], dbname="postgres", connect_timeout=2,
            target_session_attrs="read-write", autocommit=True, tcp_user_timeout=2000,
        )  # fmt: skip
        try:
            while not self._stop.is_set():
                self._number += 1
                number = self._number
                self.in_doubt.add(number)
                connection.execute("insert into written (n) values (%s)", (number,))
                self.acknowledged[number] = time.monotonic()
                self.in_doubt.discard(number)
                time.sleep(0.001)
        finally:
            connection.pgconn.finish()
