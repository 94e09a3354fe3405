"""The Databases port on psycopg: held connections, every call bounded on our side, libpq's errors told apart.

What decides whether a server is alive: any answer of PostgreSQL, an error as well, is a sign of life (DatabaseError); a timeout,
refusal, reset or DNS failure proves nothing (NoAnswerError). Parameters go to libpq by keyword, never as a connection string.
"""

import asyncio
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from handyrep.directives import Secret
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Login, Row

_SEVERITY = re.compile(r"(?:failed: |^)\S+:  ")
"""PostgreSQL's own errors read 'SEVERITY:  text', whatever the language of the severity; libpq's own texts never do.

libpq does not hand out the SQLSTATE of a connection that was refused, so this form is all there is.
"""
_CONNECT_TIMEOUT_S = 60
"""Only so that libpq ends at all: the deadline of the call is what counts."""
_Key = tuple[str, Login, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A database role and its password (None: libpq finds one in passfile, or none is needed)."""

    user: str
    password: Secret | None = None


class RealDatabases:
    """One held connection per server, login and database; broken ones are replaced when next needed."""

    def __init__(self, accounts: Mapping[Login, Account], database: str) -> None:
        self._accounts = accounts
        self._database = database
        self._held: dict[_Key, tuple[Server, psycopg.AsyncConnection[Row]]] = {}
        self._busy: dict[_Key, asyncio.Lock] = {}

    async def query(  # noqa: PLR0913 - as the port has it
        self,
        server: Server,
        statement: str,
        values: Sequence[Any] = (),
        *,
        deadline_s: float,
        login: Login = Login.HANDYREP,
        database: str | None = None,
        fresh: bool = False,
    ) -> tuple[Row, ...]:
        """As ports.Databases.query."""
        key = (server.name, login, database or self._database)
        try:
            async with asyncio.timeout(deadline_s):
                if fresh:
                    return await self._once(server, key, statement, values)
                async with self._busy.setdefault(key, asyncio.Lock()):
                    return await self._on_held(server, key, statement, values)
        except TimeoutError:
            raise NoAnswerError(f"PostgreSQL did not answer within {deadline_s:g} s", server=server.name) from None
        except psycopg.Error as error:
            raise _translated(error, server) from None
        except OSError as error:
            raise NoAnswerError(f"PostgreSQL cannot be reached ({error})", server=server.name) from None

    async def close(self) -> None:
        """Close all held connections."""
        for _, connection in self._held.values():
            await connection.close()
        self._held.clear()

    async def _once(self, server: Server, key: _Key, statement: str, values: Sequence[Any]) -> tuple[Row, ...]:
        connection = await self._connect(server, key)
        try:
            return await _rows(connection, statement, values)
        finally:
            connection.pgconn.finish()

    async def _on_held(self, server: Server, key: _Key, statement: str, values: Sequence[Any]) -> tuple[Row, ...]:
        connection = await self._usable(server, key)
        done = False
        try:
            rows = await _rows(connection, statement, values)
            done = True
        except psycopg.Error as error:
            done = error.sqlstate is not None and not connection.closed
            raise
        finally:
            if not done:
                # After a deadline the statement may still run: nothing else may be sent behind it.
                self._held.pop(key, None)
                connection.pgconn.finish()
        return rows

    async def _usable(self, server: Server, key: _Key) -> psycopg.AsyncConnection[Row]:
        definition, connection = self._held.get(key, (None, None))
        if connection is not None and (definition != server or connection.closed or _was_closed_by_peer(connection)):
            self._held.pop(key, None)
            connection.pgconn.finish()
            connection = None
        if connection is None:
            connection = await self._connect(server, key)
            self._held[key] = (server, connection)
        return connection

    async def _connect(self, server: Server, key: _Key) -> psycopg.AsyncConnection[Row]:
        _, login, database = key
        account = self._accounts[login]
        parameters: dict[str, Any] = {
            "host": server.hostname,
            "port": server.port,
            "user": account.user,
            "dbname": database,
            "password": account.password.reveal() if account.password else None,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "client_encoding": "utf8",
            "sslmode": server.sslmode,
            "sslrootcert": server.sslrootcert or None,
            "sslcert": server.sslcert or None,
            "sslkey": server.sslkey or None,
            "passfile": server.passfile or None,
            "application_name": None if login is Login.BOUNCER_ADMIN else "handyrep",
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        connection = await psycopg.AsyncConnection.connect(
            "", autocommit=True, prepare_threshold=None, row_factory=dict_row, **given
        )
        return connection


async def _rows(connection: psycopg.AsyncConnection[Row], statement: str, values: Sequence[Any]) -> tuple[Row, ...]:
    cursor = await connection.execute(statement.encode(), values or None)
    return tuple(await cursor.fetchall()) if cursor.description else ()


def _was_closed_by_peer(connection: psycopg.AsyncConnection[Row]) -> bool:
    """Whether the server ended an idle connection. Nothing was sent on it, so a new one may be used instead."""
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return connection.pgconn.status == psycopg.pq.ConnStatus.BAD


def _translated(error: psycopg.Error, server: Server) -> DatabaseError | NoAnswerError:
    text = " ".join(str(error).split())[:500]
    if error.sqlstate is not None:
        return DatabaseError(text, sqlstate=error.sqlstate, server=server.name)
    if _SEVERITY.search(str(error)):
        return DatabaseError(text, server=server.name)
    return NoAnswerError(f"PostgreSQL cannot be reached ({text})", server=server.name)
