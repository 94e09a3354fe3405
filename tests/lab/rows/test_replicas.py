"""Something is wrong with the replicas, or with who is master, while the master dies: one cluster, one failover after the other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.rows import falls
from tests.lab.troubles import during
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
VERIFY = "verify_frequency = 4"
_PAUSED = "select pg_get_wal_replay_pause_state() = 'paused' and pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()"
_HELD_UP = (
    "select count(*) from pg_stat_activity where backend_type = 'startup' and wait_event like 'RecoveryConflict%'"
)
_SENDER = "select sender_host from pg_stat_wal_receiver where status = 'streaming'"


async def crashed(handyrep: Watched, cluster: LabCluster) -> str:
    """The master is killed and failed over; the new one."""
    old = cluster.names[0]
    await asyncio.to_thread(faults.crash, cluster, old)
    return await handyrep.failed_over(old)


@asynccontextmanager
async def left_behind(cluster: LabCluster, name: str) -> AsyncIterator[Writer]:
    """A client writes on while one replica hears nothing of the master; afterwards it is there again, and the client still writes."""
    async with Writer(cluster) as writer:
        await asyncio.to_thread(faults.partition, cluster, name, cluster.names[0])
        await asyncio.to_thread(writer.wait_for, 100)
        yield writer
        await asyncio.to_thread(faults.heal, cluster, name)
        await asyncio.to_thread(writer.wait_for, 20)


async def test_c1_one_that_is_behind_is_not_chosen_though_it_comes_first(cluster: LabCluster, watch: Watch) -> None:
    old, first, other = cluster.names
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with left_behind(cluster, first) as writer:
            assert await crashed(handyrep, cluster) == other
        assert "bytes behind the most advanced replica" in str(handyrep.on.engine.journal.runs()[-1])
        await falls.green(handyrep, old)
        assert writer.lost(other) == set()


async def test_c2_one_whose_replay_is_paused_is_promoted_with_all_that_it_received_where_it_has_most(
    cluster: LabCluster, watch: Watch
) -> None:
    old, paused, other = cluster.names
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        cluster.value(paused, "select pg_wal_replay_pause()")
        async with left_behind(cluster, other) as writer:
            assert cluster.value(paused, _PAUSED)
            assert await crashed(handyrep, cluster) == paused
        await falls.green(handyrep, old)
        assert writer.lost(paused) == set()


async def test_c14_one_that_stopped_replaying_for_want_of_its_masters_limits_is_not_chosen_before_another(
    cluster: LabCluster, watch: Watch
) -> None:
    old, small, other = cluster.names
    for name in (other, old):
        with cluster.connect(name) as boss:
            boss.execute("alter system set max_connections = 60")
        await asyncio.to_thread(falls.start, cluster, name)
    await asyncio.to_thread(cluster.wait_until_streaming, old, 2)
    faults.until(lambda: cluster.value(small, "select pg_get_wal_replay_pause_state()") == "paused", f"{small} paused")
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.crash, cluster, old)
            await handyrep.until(lambda: handyrep.master == other, f"{other} chosen")
            # Before that it follows nobody, and no commit ends: a replica that does not replay starts no receiver.
            with cluster.connect(small) as boss:
                boss.execute("alter system set max_connections = 60")
            await asyncio.to_thread(falls.start, cluster, small)
            assert await handyrep.failed_over(old) == other
            await asyncio.to_thread(writer.wait_for, 20)
        await falls.green(handyrep, old)
        assert writer.lost(other) == set()


@contextmanager
def held_up_replay(cluster: LabCluster, master: str, name: str) -> Iterator[None]:
    """A query on the replica needs rows that the master has cleaned away, and its replay waits for the query to end, which it does with the block."""
    with cluster.connect(name) as boss:
        boss.execute("alter system set max_standby_streaming_delay = -1")
        boss.execute("select pg_reload_conf()")
    with cluster.connect(master) as boss:
        boss.execute("create table if not exists chaff as select generate_series(1, 1000) n")
    faults.until(lambda: cluster.value(name, "select to_regclass('chaff')") is not None, "the table on the replica")
    with cluster.connect(name) as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select count(*) from chaff")
        with cluster.connect(master) as boss:
            boss.execute("delete from chaff")
            boss.execute("vacuum chaff")
        faults.until(lambda: cluster.value(name, _HELD_UP) == 1, f"the replay of {name} held up")
        yield
    with cluster.connect(name) as boss:
        boss.execute("alter system reset max_standby_streaming_delay")
        boss.execute("select pg_reload_conf()")


async def test_c3_c19_one_that_was_promoted_and_is_held_up_is_waited_for_and_nobody_else_is_promoted(
    cluster: LabCluster, watch: Watch
) -> None:
    old, first, other = cluster.names
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            async with during(held_up_replay(cluster, old, first)):
                await asyncio.to_thread(faults.crash, cluster, old)
                await handyrep.until(lambda: "does not take writes yet" in handyrep.story(), "a promote without effect")
                await asyncio.sleep(1)
                assert [cluster.in_recovery(name) for name in (first, other)] == [True, True]
                assert handyrep.on.engine.journal.open_run() is not None
            assert await handyrep.failed_over(old) == first
            await asyncio.to_thread(writer.wait_for, 20)
        await falls.green(handyrep, old)
        assert writer.lost(first) == set()


async def test_c5_without_any_replica_there_is_no_failover_until_they_are_back(
    cluster: LabCluster, watch: Watch
) -> None:
    old, *replicas = cluster.names
    async with watch(cluster, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        for name in replicas:
            await asyncio.to_thread(falls.stop, cluster, name)
        await handyrep.until(lambda: all(falls.ill(handyrep, name, "does not run") for name in replicas), "both told")
        falls.stays(handyrep, old)
        await asyncio.to_thread(faults.crash, cluster, old)
        await handyrep.until(lambda: handyrep.rule == "F15", "a refusal")
        assert "no replica may take over" in handyrep.said
        await asyncio.sleep(1)
        falls.stays(handyrep, old)
        for name in replicas:
            await asyncio.to_thread(falls.start, cluster, name)
        await handyrep.failed_over(old)
        await falls.green(handyrep, old)


async def test_c6_c7_one_that_was_promoted_by_hand_is_told_and_adopted_once_it_alone_takes_writes(
    cluster: LabCluster, watch: Watch
) -> None:
    old, by_hand, misled = cluster.names
    async with watch(cluster, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(falls.promote, cluster, by_hand)
        assert not cluster.in_recovery(old)
        await handyrep.until(lambda: "More than one server takes writes" in handyrep.story(), "two masters")
        refused = await handyrep.call("adopt", server=by_hand, cluster="lab")
        assert (refused["result"], "takes writes" in refused["details"]) == ("FAIL", True), refused
        falls.stays(handyrep, old)
        await asyncio.to_thread(falls.stop, cluster, old)
        adopted = await handyrep.call("adopt", server=by_hand, cluster="lab")
        assert adopted["result"] == "SUCCESS", (adopted, handyrep.story())
        assert handyrep.master == by_hand
        # The other replica went on receiving what the old master wrote as one of two.
        assert (await handyrep.call("shutdown", server=misled))["result"] == "SUCCESS"
        copied = await handyrep.call("clone", replica=misled, reclone=True)
        assert copied["result"] == "SUCCESS", copied
        await falls.green(handyrep, old)
        await asyncio.to_thread(cluster.wait_until_streaming, by_hand, 2)


async def test_c12_a_replica_of_a_replica_is_re_pointed_when_that_stops_and_follows_it_when_it_is_promoted(
    cluster: LabCluster, watch: Watch
) -> None:
    old, parent, child = cluster.names
    async with watch(cluster, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(cascade, cluster, child, parent)
        await handyrep.until(lambda: falls.ill(handyrep, child, "not replicating"), "a replica of a replica told")
        await asyncio.to_thread(falls.stop, cluster, parent)
        await handyrep.until(lambda: sender(cluster, child) == cluster.host(old).address, f"{child} re-pointed")
        await asyncio.to_thread(falls.start, cluster, parent)
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(cascade, cluster, child, parent)
            assert await crashed(handyrep, cluster) == parent
            await asyncio.to_thread(writer.wait_for, 20)
        await falls.green(handyrep, old)
        assert sender(cluster, child) == cluster.host(parent).address
        assert writer.lost(parent) == set()


def sender(cluster: LabCluster, name: str) -> str:
    return str(cluster.value(name, _SENDER))


def cascade(cluster: LabCluster, name: str, parent: str) -> None:
    """Let a replica receive from another one, as somebody who spares the master's network would."""
    with cluster.connect(name) as boss:
        conninfo = boss.execute("show primary_conninfo").fetchone()
        parts = {
            **psycopg.conninfo.conninfo_to_dict(str(conninfo and conninfo[0])),
            "host": cluster.host(parent).address,
        }
        parts.pop("hostaddr", None)
        written = psycopg.sql.Literal(psycopg.conninfo.make_conninfo("", **parts))
        boss.execute(psycopg.sql.SQL("alter system set primary_conninfo = {}").format(written))
        boss.execute("select pg_reload_conf()")
    faults.until(lambda: sender(cluster, name) == cluster.host(parent).address, f"{name} receiving from {parent}")
