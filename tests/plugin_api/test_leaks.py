"""A thousand calls: what a plugin leaves open goes with its call, and the real looks at real servers leave nothing of their own."""

import asyncio
import gc
import resource
import socket
import threading
from pathlib import Path

import pytest

from handyrep.app import running
from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import Kind
from tests.adapters.postgresql import PASSWORD, running_postgresql
from tests.factories import make_cluster
from tests.plugin_api.worlds import a_caller

TIMES = 1000
LEAKY = """
import socket
from handyrep.plugins.handyrepplugin import handyrepplugin


class leaky(handyrepplugin):
    def run(self, servername):
        self.heap = bytearray(1 << 20)
        self.sockets = [socket.socket() for _ in range(3)]
        self.file = open("/dev/null", "rb")
        return self.success()
"""
CONF = """
[handyrep]
state_dir = {state}
handyrep_user = postgres
[failover]
poll_method = poll_connect
call_timeout = 0.05
fail_retries = 0
[passwords]
handyrep_db_pass = {password}
superuser_pass = {password}
[server_defaults]
sslmode = disable
known_hosts = /dev/null
[servers]
[[m1]]
hostname = 127.0.0.1
pgdata = {data}
role = master
port = {port}
[[r1]]
hostname = 127.0.0.1
pgdata = /r1
role = replica
port = {silent}
[[r2]]
hostname = 127.0.0.1
pgdata = /r2
role = replica
port = 1
"""


def open_files() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_e14_what_a_plugin_leaves_open_goes_with_its_call(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    caller = a_caller(tmp_path)
    for _ in range(50):
        await caller.call(Kind.POLL, "leaky", "run", {"servername": "m1"}, cluster=make_cluster(), deadline_s=5.0)
    files, threads, megabytes = open_files(), threading.active_count(), memory_mb()
    for _ in range(TIMES):
        done = await caller.call(
            Kind.POLL, "leaky", "run", {"servername": "m1"}, cluster=make_cluster(), deadline_s=5.0
        )
        assert done.outcome is Outcome.SUCCESS, done.details
    assert open_files() - files <= 5
    assert threading.active_count() - threads <= 2
    assert memory_mb() - megabytes < 50


async def test_e14_a_thousand_looks_leave_nothing_open_though_a_server_hangs_and_another_refuses(
    tmp_path: Path,
) -> None:
    with running_postgresql() as server, socket.create_server(("127.0.0.1", 0)) as hung:
        conf = tmp_path / "handyrep.conf"
        conf.write_text(
            CONF.format(
                state=tmp_path / "state",
                password=PASSWORD,
                data=server.folder / "data",
                port=server.port,
                silent=hung.getsockname()[1],
            )
        )
        async with running(conf) as on:
            await on.check.run(verify=True)
            for _ in range(50):
                await on.check.rounds.look(verified=False)
            files, threads, megabytes = open_files(), threading.active_count(), memory_mb()
            for _ in range(TIMES):
                assert "m1" in (await on.check.rounds.look(verified=False)).seen
            await asyncio.sleep(0.2)
            assert open_files() - files <= 10
            assert threading.active_count() - threads <= 4
            assert memory_mb() - megabytes < 30
