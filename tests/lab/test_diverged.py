"""What an old master committed while nobody saw it: it comes back as a replica, and the rows are named and kept."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab import faults, switch
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
ROWS = 20
FENCES = "fence_methods = fence_stop, fence_command\nestimate_lost_wal = True"


async def test_rows_that_only_an_old_master_had_are_named_and_kept(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15, replicas=1, synchronous=False, autostart=True)
    old, new = cluster.names
    sections = {"failover": FENCES, "plugins": switch.section(cluster)}
    async with watch(cluster, monitor=False, **sections) as handyrep:
        async with at_work(handyrep):
            await handyrep.healthy()
        await asyncio.to_thread(faults.link_down, cluster, old)
        await asyncio.to_thread(write_unseen, cluster, old)
        async with at_work(handyrep):
            assert await handyrep.failed_over(old) == new
            assert cluster.host(old).init_pid() == 0, "the switch was thrown"
            await asyncio.to_thread(faults.power_on, cluster, old)
            await handyrep.until(lambda: old not in handyrep.on.engine.cluster.deposed, f"{old} back as a replica")
            await handyrep.healthy()
        assert cluster.in_recovery(old)
        assert cluster.value(old, "select count(*) from written where n < 0") == 0
        headline = f"{ROWS} transactions in 1 table (postgres.public.written: {ROWS} rows) were only on {old}"
        (told,) = [event["text"] for event in handyrep.on.history.newest(200, "diverged")]
        kept = told.rpartition(" ")[2]
        assert told == f"{old}: {headline}; kept in {kept}"
        assert any(headline in event["text"] for event in handyrep.on.history.newest(200, "returning"))
        assert told in (await handyrep.call("explain"))["diverged"][0]
    await asyncio.to_thread(really_kept, cluster, old, kept)


@contextlib.asynccontextmanager
async def at_work(handyrep: Watched) -> AsyncIterator[None]:
    """Its loop goes on in this block only, so that it sees nothing of what is done before the next one."""
    task = asyncio.create_task(handyrep.on.monitor.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def write_unseen(cluster: LabCluster, name: str) -> None:
    """As a client on the master's own side of the cut."""
    inserts = (part for n in range(1, ROWS + 1) for part in ("-c", f"insert into written (n) values ({-n})"))
    psql = ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *inserts)
    cluster.host(name).inside("runuser", "-u", "postgres", "--", *psql)


def really_kept(cluster: LabCluster, name: str, kept: str) -> None:
    """Its files say the same once more, and nothing else that lies beside pgdata was taken away."""
    host, waldump = cluster.host(name), f"{cluster.layout.bin_dir}/pg_waldump"
    report = json.loads(host.inside("cat", f"{kept}/report.json"))
    (table,) = (one for one in report["tables"] if one["of_users"])
    files = sorted(file for file in host.inside("ls", f"{kept}/pg_wal").split() if len(file) == 24)
    ends = [f"{kept}/pg_wal/{file}" for file in (files[0], files[-1])]
    lines = host.inside("sh", "-c", '"$0" -s "$1" "$2" "$3" 2>/dev/null; true', waldump, report["fork"], *ends)
    found = [line for line in lines.splitlines() if "desc: INSERT" in line and f"rel {table['relation']} " in line]
    assert len(found) == ROWS
    assert host.inside("stat", "-c", "%a %U", kept).split() == ["700", "postgres"]
    beside = host.inside("ls", str(Path(cluster.layout.pgdata).parent)).split()
    assert sorted(beside) == sorted((Path(cluster.layout.pgdata).name, Path(kept).name))
