"""What HandyRep needs from the outside world, as Protocols. Adapters implement them; simulations fake them.

Every call has a deadline in seconds and raises handyrep.errors, never a library's own errors.
"""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from handyrep.model.kept import Kept
from handyrep.model.server import Server
from handyrep.model.verdict import Verdict


class Clock(Protocol):
    """Time. Only `monotonic` may decide anything; `now` is for people."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def now(self) -> dt.datetime:
        """Aware UTC."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Wait."""
        ...


class RunAs(enum.Enum):
    """The account a command runs as on a server."""

    LOGIN = "the account of the SSH login"
    POSTGRES = "the account that owns the data directory"
    ROOT = "root"


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments: never a shell line. `stdin` is fed to it.

    No secret may stand in `argv` or `environment`: both are seen in the host's process list. Secrets go through `stdin`.
    """

    argv: tuple[str, ...]
    run_as: RunAs = RunAs.LOGIN
    stdin: bytes = b""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. Output is text with undecodable bytes replaced, cut at the adapter's bound."""

    exit_status: int
    stdout: str
    stderr: str
    cut: bool = False


class Hosts(Protocol):
    """Runs commands on servers."""

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        """Run it on that server's host and wait for its end.

        Raises NoAnswerError (also HostKeyError): the host was not reached, or did not end it in time, in which case
        the effect of the command is not known.
        """
        ...

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        """Run it on HandyRep's own host, as HandyRep's own account."""
        ...


class Login(enum.Enum):
    """As whom to log in to PostgreSQL; the adapter knows the names and passwords."""

    HANDYREP = "the handyrep user"
    SUPERUSER = "the postgres superuser"
    REPLICATION = "the replication user"
    BOUNCER_ADMIN = "the administrator of pgbouncer"


Row = Mapping[str, Any]


class Databases(Protocol):
    """Runs SQL on servers."""

    async def query(  # noqa: PLR0913 - each is a separate fact about one statement
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
        """Run one statement (autocommit) and return its rows, column names as keys.

        `statement` uses %s for values, which are bound; a per cent sign of its own is written %%. It must not be built by formatting foreign text into it.
        `fresh` opens a new connection for it instead of using the one that is held.
        Raises DatabaseError (the server is alive and said no), NoAnswerError (no answer; effect unknown), RefusedError (it
        cannot be sent: nothing was).
        """
        ...


class StateStore(Protocol):
    """Keeps one JSON object. What is on disk is always one whole version, the old or the new one."""

    def load(self) -> Mapping[str, Any] | None:
        """The object last saved; None when none ever was. Raises StateError: there is one, and it cannot be read."""
        ...

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace it. Durable when this returns. Raises StateError; the old version is then still there."""
        ...


class RecordLog(Protocol):
    """An append-only list of JSON objects."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one. Durable when this returns, with all before it. Raises StateError; nothing was added then."""
        ...

    def note(self, record: Mapping[str, Any]) -> None:
        """As append, but durable only with the next append: until then a host that loses its power may forget it."""
        ...

    def read(self) -> list[Mapping[str, Any]]:
        """All of them, oldest first. Raises StateError when any but a torn last one cannot be read."""
        ...


class EventSink(Protocol):
    """Where events go for people to read. It never raises and never decides anything."""

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """Keep one event."""
        ...


class VerdictLog(Protocol):
    """Where verdicts are kept with what they were judged from. It never raises and never decides anything."""

    def keep(self, verdict: Verdict, inputs: Mapping[str, Any] | None) -> int | None:
        """Keep one; its number, or None when it could not be kept."""
        ...

    def came_again(self, number: int, times: int) -> None:
        """The one of that number came so many times more, the last time now."""
        ...

    def newest(self, count: int) -> list[Kept]:
        """The newest ones, oldest of them first."""
        ...

    def find(self, number: int) -> Kept | None:
        """The one of that number, if it is still kept."""
        ...
