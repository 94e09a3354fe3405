"""One connection to PostgreSQL or pgbouncer: its parameters, and what an error says about the server.

Any answer of PostgreSQL, an error as well, is a sign of life (DatabaseError). A timeout, refusal, reset or DNS failure proves
nothing (NoAnswerError). Parameters go to libpq by keyword, never as a text that somebody's name could extend.
"""

import dataclasses
import re
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.rows import dict_row

from handyrep.directives import Secret
from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, RefusedError
from handyrep.model.server import Server
from handyrep.ports import Login, Row

RV = TypeVar("RV")
APPLICATION_NAME = "handyrep"
_USER_TIMEOUT_MS = 10_000
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_CONNECT_S = 60
"""Only so that libpq ends at all when nobody waits any more: the deadline of the call is what counts."""
_MAX_TEXT = 500

_SERVERS_OWN = re.compile(r"(?:^|failed: )[^\s:]+:  (?P<message>(?s:.+))", re.MULTILINE)
"""How an error that PostgreSQL itself sent looks in libpq's text: 'SEVERITY:  message', with two spaces.

libpq keeps the SQLSTATE of a refused connection to itself, and the severity comes in the server's language. But libpq always puts
a colon and two spaces after it, and never puts two spaces into texts of its own, so this form tells the two apart in any language.
"""
_REFUSALS = (
    (
        "53300",
        re.compile(
            r"too many (clients|connections)|remaining connection slots|no more connections allowed", re.IGNORECASE
        ),
    ),
    ("57P03", re.compile(r"the database system is ")),
    ("28P01", re.compile(r"password authentication failed|SASL authentication failed|wrong password")),
    ("3D000", re.compile(r"database .* does not exist|no such database", re.DOTALL)),
    (
        "28000",
        re.compile(
            r"pg_hba\.conf|not permitted to log in|role .* does not exist|authentication failed|no such user", re.DOTALL
        ),
    ),
    ("42501", re.compile(r"permission denied for database")),
    ("55000", re.compile(r"not currently accepting connections")),
)
"""The SQLSTATE of a refused connection, by its English text. In another language it is ''; that the server lives is known anyway."""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A database role and its password (None: libpq finds one in passfile, or none is needed)."""

    user: str
    password: Secret | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """What makes it another connection: one of these for each that is held."""

    server: str
    login: Login
    database: str
    host: str
    port: int
    sslmode: str
    sslrootcert: str
    sslcert: str
    sslkey: str
    passfile: str

    @classmethod
    def of(cls, server: Server, login: Login, database: str) -> "Address":
        """Of one server's database."""
        return cls(
            server.name, login, database, server.hostname, server.port,
            server.sslmode, server.sslrootcert, server.sslcert, server.sslkey, server.passfile,
        )  # fmt: skip


class Connection(psycopg.AsyncConnection[Row]):
    """A connection that is simply given up when nobody waits for it any more.

    psycopg would ask the server to cancel and wait for that; a server that hangs would then hold HandyRep beyond its deadline.
    """

    fatal = False
    """The server has announced the end of this session, maybe long ago."""

    async def wait(self, gen: PQGen[RV], interval: float = 1.0, timeout: float | None = None) -> RV:  # noqa: ASYNC109 - psycopg's signature
        """As psycopg's, without its cancelling."""
        return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)

    @property
    def idle(self) -> bool:
        """Whether the next statement can be sent on it: nothing runs, no transaction is open, nothing is known to be broken."""
        return not self.fatal and self.pgconn.transaction_status == TransactionStatus.IDLE

    @property
    def broken(self) -> bool:
        """Whether the server or the network has ended it. Of one that merely does not answer that is not known."""
        return self.pgconn.status != ConnStatus.OK

    def look(self) -> bool:
        """Read what the server sent unasked. False when the connection is over: nothing was sent on it since it was last idle."""
        try:
            self.pgconn.consume_input()
            self.pgconn.is_busy()
        except psycopg.Error:
            return False
        return self.idle and self.pgconn.status == ConnStatus.OK

    def give_up(self) -> None:
        """Close the socket at once."""
        self.pgconn.finish()


async def connect(address: Address, account: Account) -> Connection:
    """Raises DatabaseError (the server refused), NoAnswerError. Bounded by the caller's deadline."""
    parameters = {**_where(address), **_who(address, account), **_how(address)}
    try:
        connection = await Connection.connect(
            "", autocommit=True, prepare_threshold=None, row_factory=dict_row, **parameters
        )
    except psycopg.Error as error:
        raise _refused(str(error), address.server) from None
    connection.add_notice_handler(lambda notice: _note_the_end(connection, notice))
    return connection


def _where(address: Address) -> dict[str, Any]:
    return {
        "host": address.host,
        "hostaddr": "",
        "port": address.port,
        "dbname": address.database,
        "target_session_attrs": "any",
        "connect_timeout": _CONNECT_S,
        "tcp_user_timeout": _USER_TIMEOUT_MS,
        **_KEEPALIVE,
    }


def _who(address: Address, account: Account) -> dict[str, Any]:
    """A pgbouncer refuses start-up parameters that it does not know, so its console gets none."""
    named = {} if address.login is Login.BOUNCER_ADMIN else {"client_encoding": "UTF8"}
    password = {} if account.password is None else {"password": account.password.reveal()}
    return {"user": account.user, "application_name": APPLICATION_NAME, "options": "", **named, **password}


def _how(address: Address) -> dict[str, Any]:
    """Blank ones are left out: libpq then looks at its usual places."""
    files = {
        "sslrootcert": address.sslrootcert,
        "sslcert": address.sslcert,
        "sslkey": address.sslkey,
        "passfile": address.passfile,
    }
    return {"sslmode": address.sslmode, "gssencmode": "disable", **{name: file for name, file in files.items() if file}}


def _note_the_end(connection: Connection, notice: psycopg.errors.Diagnostic) -> None:
    """PostgreSQL sends the reason before it ends an idle session; libpq hands that out as a notice."""
    if _is_fatal(notice):
        connection.fatal = True


def _is_fatal(said: psycopg.errors.Diagnostic) -> bool:
    """Neither pgbouncer nor PostgreSQL before 9.6 sends an untranslated severity."""
    return (said.severity_nonlocalized or said.severity) in ("FATAL", "PANIC")


def _refused(text: str, server: str) -> HandyRepError:
    said = _SERVERS_OWN.search(text)
    if said is None:
        return NoAnswerError(f"PostgreSQL cannot be reached ({_line(text)})", server=server)
    message = said["message"]
    sqlstate = next((state for state, pattern in _REFUSALS if pattern.search(message)), "")
    return DatabaseError(_line(message), sqlstate=sqlstate, server=server)


async def rows_of(connection: Connection, statement: str, values: tuple[Any, ...], server: str) -> tuple[Row, ...]:
    """Run one statement. Without values it goes by the simple protocol, the only one that pgbouncer's console speaks.

    Raises DatabaseError (the server said no), NoAnswerError (the effect is unknown), RefusedError (it was never sent).
    """
    try:
        cursor = await connection.execute(statement.encode(), values or None)
        return tuple(await cursor.fetchall()) if cursor.description else ()
    except psycopg.Error as error:
        raise _failed(error, connection, server) from None
    except UnicodeEncodeError:
        raise RefusedError("the statement cannot be written as UTF-8", server=server) from None
    except UnicodeDecodeError:
        raise DatabaseError("its answer is not UTF-8 text", server=server) from None
    finally:
        if connection.pgconn.transaction_status == TransactionStatus.UNKNOWN:
            connection.give_up()


def _failed(error: psycopg.Error, connection: Connection, server: str) -> HandyRepError:
    """An error that also ends the session says nothing of what the statement did before it."""
    if error.sqlstate is None:
        if connection.idle:
            return RefusedError(f"the statement cannot be sent ({_line(str(error))})", server=server)
        return NoAnswerError(f"the connection broke while the statement ran ({_line(str(error))})", server=server)
    text = ". ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    if _is_fatal(error.diag):
        connection.fatal = True
        return NoAnswerError(f"it ended the session while the statement ran ({_line(text)})", server=server)
    return DatabaseError(_line(text), sqlstate=error.sqlstate, server=server)


def _line(text: str) -> str:
    return " ".join(text.split())[:_MAX_TEXT]
