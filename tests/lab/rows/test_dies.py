"""The master dies in every way: one cluster, one failover after the other, and each time the old master comes back as a replica."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from tests.lab import faults, switch
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch
from tests.lab.databases import OWN_SETTINGS
from tests.lab.host import Host
from tests.lab.rows import falls
from tests.lab.shell import LabError, run
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
_SPIN = """do $$ declare over timestamptz := clock_timestamp() + interval '60 s';
begin
    while clock_timestamp() < over loop null; end loop;
    insert into written (n) values (-2);
end $$"""
_WAITS = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"


def execute(cluster: LabCluster, name: str, statement: str) -> None:
    """By a client that waits for as long as it takes."""
    with cluster.connect(name, application_name="client") as client:
        client.execute(statement.encode())


def there(host: Host, process: int) -> bool:
    return host.inside("sh", "-c", f"test -d /proc/{process} && echo yes || true").strip() == "yes"


async def test_a2_a_backend_that_outlives_its_postmaster_is_ended_before_anybody_is_promoted(
    cluster: LabCluster, watch: Watch
) -> None:
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            busy = asyncio.create_task(asyncio.to_thread(execute, cluster, old, _SPIN))
            asked = "select pid from pg_stat_activity where application_name = 'client' and state = 'active'"
            await handyrep.until(lambda: cluster.value(old, asked) is not None, "a busy backend")
            orphan = int(cluster.value(old, asked))
            await asyncio.to_thread(faults.crash, cluster, old)
            assert there(cluster.host(old), orphan)
            new = await handyrep.failed_over(old)
            assert not there(cluster.host(old), orphan)
            with pytest.raises(psycopg.OperationalError):
                await busy
            await asyncio.to_thread(writer.wait_for, 20)
        await falls.green(handyrep, old)
        assert writer.lost(new) == set()
        assert cluster.value(new, "select count(*) from written where n = -2") == 0


async def test_a5_a_stop_by_hand_is_let_alone_in_maintenance_and_else_failed_over(
    cluster: LabCluster, watch: Watch
) -> None:
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await handyrep.call("start_maintenance", minutes=10, reason="a new kernel")
            await asyncio.to_thread(falls.stop, cluster, old)
            await handyrep.until(lambda: handyrep.rule == "F19", "maintenance")
            await asyncio.sleep(1)
            falls.stays(handyrep, old)
            await handyrep.call("end_maintenance")
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 20)
        await falls.green(handyrep, old)
        assert writer.lost(new) == set()


def crash_for_good(cluster: LabCluster, name: str) -> None:
    """The postmaster is killed, and with these settings it does not start again."""
    host, unit = cluster.host(name), cluster.layout.unit
    host.inside("cp", "-p", OWN_SETTINGS, f"{OWN_SETTINGS}.right")
    host.inside("sh", "-c", f"echo shared_buffers = nonsense >> {OWN_SETTINGS}")
    faults.crash(cluster, name)
    faults.until(lambda: host.inside("systemctl", "is-active", unit, check=False).strip() == "failed", f"{unit} failed")
    with pytest.raises(LabError):
        host.inside("systemctl", "start", unit)


async def test_a6_h11_a_master_that_cannot_start_is_tried_once_and_failed_over(
    cluster: LabCluster, watch: Watch
) -> None:
    old = cluster.names[0]
    host = cluster.host(old)
    async with watch(cluster, monitor=False, failover="restart_master = True\nrejoin_up_to = nothing") as handyrep:
        await handyrep.settled(cluster)
        async with Writer(cluster) as writer:
            await asyncio.to_thread(crash_for_good, cluster, old)
            rules: list[str] = []
            while handyrep.master == old and len(rules) < 5:
                await handyrep.on.check.run(verify=False)
                rules.append(handyrep.rule)
            await asyncio.to_thread(writer.wait_for, 20)
        assert rules == ["F11", "F17"], handyrep.story()
        host.inside("mv", f"{OWN_SETTINGS}.right", OWN_SETTINGS)
        back = await handyrep.call("remaster", replica=old)
        assert back["result"] == "SUCCESS", back
        await handyrep.seen_healthy()
        assert writer.lost(handyrep.master) == set()


def out_of_wal(cluster: LabCluster, name: str) -> None:
    """Nothing is left on the disk, and then the WAL file is full: PostgreSQL ends, and cannot come up."""
    host = cluster.host(name)
    process = faults.postmaster(cluster, host)
    faults.fill_disk(cluster, name)
    with cluster.connect(name) as client, suppress(psycopg.OperationalError):
        while True:
            client.execute("select pg_logical_emit_message(true, 'x', 'x'), pg_switch_wal()")
    faults.until(lambda: not there(host, process), f"the postmaster of {name} at its end")
    assert "No space left on device" in host.inside("sh", "-c", "tail -n 40 /var/log/postgresql/*.log")


async def test_a9_a_master_without_room_for_wal_is_failed_over(cluster: LabCluster, watch: Watch) -> None:
    old = cluster.names[0]
    async with watch(cluster, failover="rejoin_up_to = nothing") as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(out_of_wal, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 20)
        await asyncio.to_thread(faults.free_disk, cluster, old)
        back = await handyrep.call("remaster", replica=old)
        assert back["result"] == "SUCCESS", back
        await falls.green(handyrep, old)
        assert writer.lost(new) == set()


def crash_of_the_disk(cluster: LabCluster, name: str) -> None:
    """The file system of the data directory becomes read-only, as after an error of its disk, and PostgreSQL is dead."""
    host, disk = cluster.host(name), f"/{cluster.layout.pgdata.rpartition('/')[0].lstrip('/')}"
    faults.crash(cluster, name)
    faults.until(lambda: _remounted(host, disk, "ro"), "a read-only file system")
    assert "Read-only" in host.inside("sh", "-c", f"touch {cluster.layout.pgdata}/x 2>&1 || true")


def _remounted(host: Host, folder: str, way: str) -> bool:
    where = f"{host.root}{folder}"
    run("mount", "-o", f"remount,{way}", where, check=False)
    return f" {way}," in next(line for line in run("cat", "/proc/mounts").splitlines() if f" {where} " in line)


async def test_a11_where_the_disk_is_read_only_the_power_switch_gives_the_proof(
    cluster: LabCluster, watch: Watch
) -> None:
    old = cluster.names[0]
    fences = "fence_methods = fence_stop, fence_command"
    async with watch(cluster, failover=fences, plugins=switch.section(cluster)) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(crash_of_the_disk, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 20)
        assert cluster.host(old).init_pid() == 0, "the switch was thrown"
        assert _remounted(cluster.host(old), cluster.layout.pgdata.rpartition("/")[0], "rw")
        await asyncio.to_thread(faults.power_on, cluster, old)
        await falls.green(handyrep, old)
        assert writer.lost(new) == set()


async def test_a25_a_commit_in_doubt_is_an_error_to_its_client_and_in_the_end_everywhere_or_nowhere(
    cluster: LabCluster, watch: Watch
) -> None:
    old, *replicas = cluster.names
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        for name in replicas:
            await asyncio.to_thread(faults.partition, cluster, name, old)
        waiting = asyncio.create_task(asyncio.to_thread(execute, cluster, old, "insert into written (n) values (-25)"))
        await handyrep.until(lambda: cluster.value(old, _WAITS) == 1, "a client that waits")
        await asyncio.to_thread(faults.crash, cluster, old)
        with pytest.raises(psycopg.OperationalError):
            await waiting
        await handyrep.failed_over(old)
        for name in replicas:
            await asyncio.to_thread(faults.heal, cluster, name)
        await falls.green(handyrep, old)
        await asyncio.to_thread(cluster.wait_until_streaming, handyrep.master, 2)
        counts = {cluster.value(name, "select count(*) from written where n = -25") for name in cluster.names}
        assert len(counts) == 1, counts
