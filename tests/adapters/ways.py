"""The ways a command reaches a server, and what every way must keep."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handyrep.adapters.hosts import RealHosts
from handyrep.model.server import Server
from handyrep.ports import Command, Ran, RunAs
from tests.adapters.sshd import ACCOUNT, Sshd

OTHER = "nobody"
NEEDS_SUDO = pytest.mark.root
PLAIN = ("ssh", "local")
WAYS = (*PLAIN, *(pytest.param(way, marks=NEEDS_SUDO) for way in ("ssh sudo", "local sudo")))
DEADLINE_S = 20.0


def server_of(way: str, sshd: Sshd, **changes: Any) -> Server:
    """A server that is reached this way."""
    account = OTHER if way.endswith("sudo") else ACCOUNT
    return sshd.server(control=way.partition(" ")[0], postgres_os_user=account, **changes)


def as_postgres(*argv: str, stdin: bytes = b"") -> Command:
    """A command for the account that owns the data."""
    return Command(argv, RunAs.POSTGRES, stdin)


@contextlib.asynccontextmanager
async def real_hosts() -> AsyncIterator[RealHosts]:
    """The adapter, closed at the end."""
    hosts = RealHosts()
    try:
        yield hosts
    finally:
        await hosts.close()


async def ran(server: Server, command: Command, deadline_s: float = DEADLINE_S) -> Ran:
    """One command on a connection of its own."""
    async with real_hosts() as hosts:
        return await hosts.run(server, command, deadline_s=deadline_s)
