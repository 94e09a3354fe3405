"""A client that writes numbered rows, one commit each, and remembers which of them were acknowledged."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import psycopg

_DEADLINE_S = 2.0


class Writer:
    """Writes to whichever server takes writes. `acknowledged` holds the numbers whose commit was confirmed to us."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self.acknowledged: set[int] = set()
        self.in_doubt: set[int] = set()
        self.longest_gap_s = 0.0
        self._last_at = time.monotonic()
        self._number = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for port in self._ports.values():
                with suppress(psycopg.Error, TimeoutError, OSError):
                    await self._write_on(port)
            await asyncio.sleep(0.01)

    def forget_gaps(self) -> None:
        """Measure the longest gap from here on."""
        self.longest_gap_s, self._last_at = 0.0, time.monotonic()

    async def lost(self, port: int) -> set[int]:
        """Numbers acknowledged until now that the server at `port` does not have. Writing may go on meanwhile."""
        acknowledged = set(self.acknowledged)
        connection = await self._connect(port)
        async with connection:
            cursor = await connection.execute("select n from demo")
            return acknowledged - {row[0] for row in await cursor.fetchall()}

    async def _connect(self, port: int) -> psycopg.AsyncConnection[tuple[int, ...]]:
        async with asyncio.timeout(_DEADLINE_S):
            return await psycopg.AsyncConnection.connect(
                "",
                host="127.0.0.1",
                port=port,
                user="handyrep",
                dbname="postgres",
                autocommit=True,
                target_session_attrs="read-write",
            )

    async def _write_on(self, port: int) -> None:
        connection = await self._connect(port)
        try:
            while True:
                await self._write_one(connection)
        finally:
            connection.pgconn.finish()

    async def _write_one(self, connection: psycopg.AsyncConnection[tuple[int, ...]]) -> None:
        self._number += 1
        number = self._number
        self.in_doubt.add(number)
        async with asyncio.timeout(_DEADLINE_S):
            await connection.execute("insert into demo values (%s)", (number,))
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - self._last_at)
        self._last_at = now
        self.in_doubt.discard(number)
        self.acknowledged.add(number)
        await asyncio.sleep(0.001)
