"""Worlds for trying plugins in: hosts and databases that refuse, deny, hang or talk rubbish. Nothing leaves the process."""

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType
from typing import Any

from handyrep.config.settings import Settings
from handyrep.errors import DatabaseError, HostKeyError, NoAnswerError
from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Role, Server
from handyrep.model.status import Health, Status
from handyrep.plugin_api.call import World
from handyrep.ports import Command, Login, Ran, Row

OnCommand = Callable[[Server | None, Command, float], Awaitable[Ran]]
OnQuery = Callable[[Server, str, tuple[Any, ...], float], Awaitable[tuple[Row, ...]]]
LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class FakeClock:
    """Real time, in which nobody ever sleeps for long."""

    def monotonic(self) -> float:
        """As ports.Clock."""
        return time.monotonic()

    def now(self) -> dt.datetime:
        """As ports.Clock."""
        return dt.datetime.now(dt.UTC)

    async def sleep(self, duration_s: float) -> None:
        """As ports.Clock."""
        await asyncio.sleep(min(duration_s, 0.001))


@dataclasses.dataclass
class FakeWorld:
    """Hosts and databases whose answers are two functions. It counts what it was asked, and keeps it in `asked`."""

    on_command: OnCommand
    on_query: OnQuery
    asked: list[tuple[str, object]] = dataclasses.field(default_factory=list)

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        """As ports.Hosts."""
        self.asked.append((server.name, command))
        return await self.on_command(server, command, deadline_s)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        """As ports.Hosts."""
        self.asked.append(("", command))
        return await self.on_command(None, command, deadline_s)

    async def query(  # noqa: PLR0913 - as the port has it
        self,
        server: Server,
        statement: str,
        values: Sequence[Any] = (),
        *,
        deadline_s: float,
        login: Login = Login.HANDYREP,  # noqa: ARG002 - as the port has it
        database: str | None = None,  # noqa: ARG002
        fresh: bool = False,  # noqa: ARG002
    ) -> tuple[Row, ...]:
        """As ports.Databases."""
        self.asked.append((server.name, statement))
        return await self.on_query(server, statement, tuple(values), deadline_s)

    def world(self, settings: Settings) -> World:
        """What a Caller is made with."""
        return World(settings, self, self, FakeClock())


def refusing() -> FakeWorld:
    """Nobody answers: connections are refused."""

    async def command(server: Server | None, _: Command, __: float) -> Ran:
        raise NoAnswerError("connection refused", server=server.name if server else None)

    async def query(server: Server, _: str, __: tuple[Any, ...], ___: float) -> tuple[Row, ...]:
        raise NoAnswerError("connection refused", server=server.name)

    return FakeWorld(command, query)


def unknown_keys() -> FakeWorld:
    """Every host shows a key that is not known, so nothing is ever sent."""

    async def command(server: Server | None, _: Command, __: float) -> Ran:
        raise HostKeyError("the host key is not known", server=server.name if server else None)

    async def query(server: Server, _: str, __: tuple[Any, ...], ___: float) -> tuple[Row, ...]:
        raise NoAnswerError("connection refused", server=server.name)

    return FakeWorld(command, query)


def denying() -> FakeWorld:
    """Everybody answers, and says no."""

    async def command(_: Server | None, __: Command, ___: float) -> Ran:
        return Ran(126, "", "permission denied")

    async def query(server: Server, _: str, __: tuple[Any, ...], ___: float) -> tuple[Row, ...]:
        raise DatabaseError("permission denied", sqlstate="42501", server=server.name)

    return FakeWorld(command, query)


def hanging() -> FakeWorld:
    """Nothing ends before its deadline."""

    async def command(server: Server | None, _: Command, deadline_s: float) -> Ran:
        await asyncio.sleep(deadline_s)
        raise NoAnswerError("no answer in time", server=server.name if server else None)

    async def query(server: Server, _: str, __: tuple[Any, ...], deadline_s: float) -> tuple[Row, ...]:
        await asyncio.sleep(deadline_s)
        raise NoAnswerError("no answer in time", server=server.name)

    return FakeWorld(command, query)


def babbling(*rows: Row) -> FakeWorld:
    """Every command succeeds and prints nonsense; every query returns `rows`."""

    async def command(_: Server | None, __: Command, ___: float) -> Ran:
        return Ran(0, "\x00=\ufffd;'\"%s\n\nstate=\n(2 rows)\n=\n", "\x1b[31mwarning: \u2028")

    async def query(_: Server, __: str, ___: tuple[Any, ...], ____: float) -> tuple[Row, ...]:
        return rows

    return FakeWorld(command, query)


def example_cluster(**changes: Any) -> Cluster:
    """A master m1, replicas r1 and r2, a pgbouncer b1 and an archive host a1, all healthy. `changes` go to every server."""
    roles = {"m1": Role.MASTER, "r1": Role.REPLICA, "r2": Role.REPLICA, "b1": Role.PGBOUNCER, "a1": Role.ARCHIVE}
    servers = [
        Server(**{"name": name, "role": role, "hostname": f"{name}.example", "pgdata": "/var/lib/pg", **changes})
        for name, role in roles.items()
    ]
    healthy = Status(Health.HEALTHY, "for a test", LONG_AGO)
    return Cluster(members=MappingProxyType({server.name: Member(server, healthy) for server in servers}))
