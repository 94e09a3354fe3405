"""What the composition root wires: a connection that breaks is a reason to look at once."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from handyrep.app import running
from handyrep.model.status import Health
from handyrep.operations.declare import Running
from tests.adapters.postgresql import PASSWORD, PostgreSQL, running_postgresql
from tests.plugins.pair import eventually

HEALTHY, WARNING = Health.HEALTHY, Health.WARNING

CONF = """
[handyrep]
cluster_name = c
state_dir = {state}
handyrep_user = postgres
[failover]
auto_failover = False
poll_interval = 3600
[passwords]
superuser_pass = {password}
handyrep_db_pass = {password}
[servers]
[[m1]]
hostname = 127.0.0.1
port = {port}
role = master
sslmode = disable
pgdata = {data}
known_hosts = /dev/null
"""


@contextlib.asynccontextmanager
async def watched(server: PostgreSQL, folder: Path) -> AsyncIterator[Running]:
    """While the loop runs, and has looked for the first time."""
    conf = folder / "handyrep.conf"
    conf.write_text(
        CONF.format(state=folder / "state", password=PASSWORD, port=server.port, data=server.folder / "data")
    )
    async with running(conf) as on:
        task = asyncio.create_task(on.monitor.run())
        try:
            await seen(on, up=True)
            yield on
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def seen(on: Running, *, up: bool) -> None:
    """Wait until the last check saw it so."""
    await eventually(lambda: (on.engine.cluster.members["m1"].status.health in (HEALTHY, WARNING)) is up)


async def test_a_server_that_dies_is_looked_at_at_once_and_not_when_the_hour_is_over(tmp_path: Path) -> None:
    with running_postgresql() as server:
        async with watched(server, tmp_path) as on:
            server.stop(signal.SIGKILL)
            await seen(on, up=False)
            assert on.monitor.cycles <= 5
