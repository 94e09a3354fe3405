"""The Databases port on psycopg: held connections, every call bounded on our side, a broken idle connection told at once.

Must never send anything behind a statement that did not answer in time, and never tell a password.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handyrep.adapters.libpq import Account, Address, Connection, connect, rows_of
from handyrep.directives import Secret
from handyrep.errors import HandyRepError, NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Login, Row

__all__ = ["Account", "RealDatabases"]


class RealDatabases:
    """One held connection per server, login and database. A call that finds it in use gets one of its own and waits for nobody.

    `on_lost` is called with a server's name when a connection to it breaks, idle or not: look at that server now.
    Settings that a statement makes for its session may or may not be there for the next one.
    """

    def __init__(self, accounts: Mapping[Login, Account], database: str) -> None:
        self._accounts = accounts
        self._database = database
        self._held: dict[Address, _Held] = {}
        self.on_lost: Callable[[str], None] | None = None

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
        """As ports.Databases.query. Raises RefusedError as well: the statement and its values do not fit, it was not sent."""
        address = Address.of(server, login, database or self._database)
        limit = asyncio.timeout(deadline_s)
        try:
            async with limit:
                connection = (None if fresh else self._take(address)) or await connect(address, self._accounts[login])
                return await self._asked(address, connection, statement, tuple(values), hold=not fresh)
        except OSError as error:
            expired = isinstance(error, TimeoutError) and limit.expired()
            what = (
                f"PostgreSQL did not answer within {deadline_s:g} s"
                if expired
                else f"PostgreSQL cannot be reached ({error})"
            )
            raise NoAnswerError(what, server=server.name) from None
        except HandyRepError as error:
            raise self._without_secrets(error) from None

    async def close(self) -> None:
        """Close all held connections."""
        for held in self._held.values():
            held.release().give_up()
        self._held.clear()

    async def _asked(
        self, address: Address, connection: Connection, statement: str, values: tuple[Any, ...], *, hold: bool
    ) -> tuple[Row, ...]:
        try:
            return await rows_of(connection, statement, values, address.server)
        finally:
            # After a deadline the statement may still run: then it is not idle, and nothing else may be sent behind it.
            if hold and connection.idle and address not in self._held:
                self._held[address] = _Held(connection, lambda: self._lost(address))
            else:
                broken = connection.broken
                connection.give_up()
                if hold and broken:
                    self._tell(address)

    def _take(self, address: Address) -> Connection | None:
        """The held connection, if it is there and good. A server that moved does not keep the connection to its old place."""
        for stale in [a for a in self._held if _is_stale(a, address)]:
            self._held.pop(stale).release().give_up()
        held = self._held.pop(address, None)
        if held is None:
            return None
        connection = held.release()
        if connection.look():
            return connection
        connection.give_up()
        return None

    def _lost(self, address: Address) -> None:
        self._held.pop(address).release().give_up()
        self._tell(address)

    def _tell(self, address: Address) -> None:
        if self.on_lost is not None:
            self.on_lost(address.server)

    def _without_secrets(self, error: HandyRepError) -> HandyRepError:
        """A server may quote a statement that holds a password."""
        for account in self._accounts.values():
            error.what = _without(error.what, account.password)
        error.args = (error.what,)
        return error


def _is_stale(held: Address, wanted: Address) -> bool:
    same = (held.server, held.login, held.database) == (wanted.server, wanted.login, wanted.database)
    return same and held != wanted


def _without(text: str, secret: Secret | None) -> str:
    return text if secret is None or not secret.reveal() else text.replace(secret.reveal(), "***")


class _Held:
    """An idle connection, watched: `lost` is called once when the server or the network ends it."""

    def __init__(self, connection: Connection, lost: Callable[[], None]) -> None:
        self._connection = connection
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._socket = connection.fileno()
        self._loop.add_reader(self._socket, self._look)

    def release(self) -> Connection:
        """Stop watching it."""
        self._loop.remove_reader(self._socket)
        return self._connection

    def _look(self) -> None:
        if not self._connection.look():
            self._lost()
