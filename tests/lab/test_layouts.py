"""A master dies, comes back as a replica, and a replica is made anew: on every layout, with every kind of account."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.databases import LAYOUTS
from tests.lab.image import LOGIN_TIER, POSTGRES_TIER, ROOT_TIER
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
_NEVER_PROMISED = "select count(*) from written where n < 0"
_SENDER = "select sender_host from pg_stat_wal_receiver where status = 'streaming'"
_FILES = "select current_setting('data_directory') || ' ' || current_setting('config_file')"


@pytest.mark.parametrize("login", [ROOT_TIER, POSTGRES_TIER, LOGIN_TIER])
@pytest.mark.parametrize("version", LAYOUTS)
async def test_failover_then_rejoin_then_clone(lab: Lab, watch: Watch, version: int, login: str) -> None:
    cluster = await asyncio.to_thread(lab.cluster, version, login=login)
    old = cluster.names[0]
    by_itself = login == ROOT_TIER
    async with watch(cluster, failover="" if by_itself else "rejoin_up_to = nothing") as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(crash_with_wal_of_its_own, cluster, old)
            new = await handyrep.failed_over(old)
            for name in cluster.names[1:]:
                await asyncio.to_thread(faults.heal, cluster, name)
            third = next(name for name in cluster.names if name not in (old, new))
            await asyncio.to_thread(writer.wait_for, 20)
            assert not cluster.in_recovery(new)
            await asyncio.to_thread(follows, cluster, third, new)
            await (came_back if by_itself else rejoin)(handyrep, cluster, old)
            await reclone(handyrep, cluster, third)
            await asyncio.to_thread(writer.wait_for, 20)
        for replica in (old, third):
            await asyncio.to_thread(follows, cluster, replica, new)
        assert [writer.lost(name) for name in cluster.names] == [set()] * 3
        assert [cluster.value(name, _NEVER_PROMISED) for name in cluster.names] == [0, 0, 0]
        await handyrep.healthy()


async def came_back(handyrep: Watched, cluster: LabCluster, old: str) -> None:
    """HandyRep rewinds it and lets it follow without being asked."""
    await handyrep.until(lambda: old not in handyrep.on.engine.cluster.deposed, f"{old} back as a replica")
    await kept_and_following(handyrep, cluster, old)


async def rejoin(handyrep: Watched, cluster: LabCluster, old: str) -> None:
    rd = await handyrep.call("remaster", replica=old)
    assert (rd["result"], rd.get("rewound")) == ("SUCCESS", True), (rd, handyrep.story())
    await kept_and_following(handyrep, cluster, old)


async def kept_and_following(handyrep: Watched, cluster: LabCluster, old: str) -> None:
    await asyncio.to_thread(follows, cluster, old, handyrep.master)
    assert started_as_configured(cluster, old)
    (kept,) = beside_pgdata(cluster, old)
    assert ".handyrep-kept-" in kept


async def reclone(handyrep: Watched, cluster: LabCluster, name: str) -> None:
    cluster.host(name).inside("touch", f"{cluster.layout.pgdata}/old-world")
    rd = await handyrep.call("shutdown", server=name)
    assert rd["result"] == "SUCCESS", (rd, handyrep.story())
    rd = await handyrep.call("clone", replica=name, reclone=True)
    assert rd["result"] == "SUCCESS", (rd, handyrep.story())
    await asyncio.to_thread(follows, cluster, name, handyrep.master)
    assert started_as_configured(cluster, name)
    assert "old-world" not in cluster.host(name).inside("ls", cluster.layout.pgdata)
    assert beside_pgdata(cluster, name) == []


def crash_with_wal_of_its_own(cluster: LabCluster, master: str) -> None:
    """It ends with rows that no replica received, so it must be rewound; no client was promised that they would last."""
    for name in cluster.names[1:]:
        faults.partition(cluster, name, master)
    with cluster.connect(master, options="-c synchronous_commit=local") as connection:
        connection.execute("insert into written (n) select generate_series(-100, -1)")
    faults.crash(cluster, master)


def follows(cluster: LabCluster, replica: str, master: str) -> None:
    """Wait until a server is a replica that receives from this master, and has replayed all that the master has written by now."""
    position = cluster.value(master, "select pg_current_wal_flush_lsn()")
    replayed = f"select pg_is_in_recovery() and pg_last_wal_replay_lsn() >= '{position}'"
    end = time.monotonic() + 30
    while (cluster.value(replica, _SENDER), cluster.value(replica, replayed)) != (cluster.host(master).address, True):
        assert time.monotonic() < end, f"{replica} does not follow {master} to {position}"
        time.sleep(0.05)


def started_as_configured(cluster: LabCluster, name: str) -> bool:
    """With the layout's files, and by the service manager where HandyRep may give it orders, else beside it."""
    layout, host = cluster.layout, cluster.host(name)
    group = host.inside("cat", f"/proc/{faults.postmaster(cluster, host)}/cgroup")
    files = f"{layout.pgdata} {layout.conf_dir}/postgresql.conf"
    return cluster.value(name, _FILES) == files and (layout.unit in group) is (cluster.login == ROOT_TIER)


def beside_pgdata(cluster: LabCluster, name: str) -> list[str]:
    pgdata = Path(cluster.layout.pgdata)
    return [one for one in cluster.host(name).inside("ls", str(pgdata.parent)).split() if one != pgdata.name]
