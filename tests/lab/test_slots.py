"""Replication slots over a real failover: replicas stream through theirs on the new master, and a failover slot is carried over."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

_PATIENCE_S = 60.0


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"{_PATIENCE_S:g} s without: {what}"
        time.sleep(0.1)


def use_slots(cluster: LabCluster) -> None:
    """Every replica receives through a slot and syncs the failover slot of its master; there is another logical slot as well."""
    master, *replicas = cluster.names
    settings = ("wal_level = logical", "hot_standby_feedback = on", "sync_replication_slots = on")
    for name in cluster.names:
        with cluster.connect(name) as sql:
            for setting in settings:
                sql.execute(f"alter system set {setting}".encode())
    restart(cluster, master)
    with cluster.connect(master) as sql:
        for name in replicas:
            sql.execute("select pg_create_physical_replication_slot(%s, true)", (f"of_{name}",))
        sql.execute("select pg_create_logical_replication_slot('plain', 'pgoutput')")
        sql.execute("select pg_create_logical_replication_slot('carried', 'pgoutput', failover => true)")
    for name in replicas:
        upstream = cluster.value(name, "select current_setting('primary_conninfo')")
        with cluster.connect(name) as sql:
            sql.execute(f"alter system set primary_slot_name = 'of_{name}'".encode())
            sql.execute(f"alter system set primary_conninfo = '{upstream} dbname=postgres'".encode())
        restart(cluster, name)
    eventually(lambda: all(carried(cluster, name, master) for name in replicas), "copies of the failover slot")


def restart(cluster: LabCluster, name: str) -> None:
    cluster.host(name).inside("systemctl", "restart", cluster.layout.unit)
    eventually(lambda: answers(cluster, name), f"{name} restarted")


def answers(cluster: LabCluster, name: str) -> bool:
    try:
        return bool(cluster.value(name, "select true"))
    except psycopg.Error:
        return False


def carried(cluster: LabCluster, replica: str, master: str) -> bool:
    """Whether the replica has a good copy. A slot is synced once somebody has read on in it."""
    cluster.value(master, "select pg_log_standby_snapshot()")
    cluster.value(master, "select pg_replication_slot_advance('carried', pg_current_wal_lsn())")
    return bool(
        cluster.value(replica, "select exists (select from pg_replication_slots where synced and not temporary)")
    )


def receivers(cluster: LabCluster, master: str) -> dict[str, str]:
    """Who receives from it through which physical slot."""
    with cluster.connect(master) as sql:
        rows = sql.execute(
            "select r.application_name, s.slot_name from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid"
            " where s.slot_type = 'physical' and r.state = 'streaming'"
        )
        return {str(name): str(slot) for name, slot in rows.fetchall()}


async def test_c21_replicas_stream_through_their_slots_on_the_new_master_and_a_failover_slot_is_there(
    lab: Lab, watch: Watch
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 18)
    await asyncio.to_thread(use_slots, cluster)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        told = await handyrep.call("what_if", event=f"{old} dies")
        lost = "would not have the logical slot plain: it is no failover slot"
        assert told["lost_slots"] == [f"{told['candidate']} {lost}"]
        await asyncio.to_thread(faults.crash, cluster, old)
        new = await handyrep.failed_over(old)
        assert f"note: {new} has no logical slot plain, which {old} had" in handyrep.story()
        other = next(name for name in cluster.names if name not in (old, new))
        wanted = {other: f"of_{other}", old: old}
        await asyncio.to_thread(eventually, lambda: receivers(cluster, new) == wanted, "both receive through a slot")
        logical = "select string_agg(slot_name, ' ') from pg_replication_slots where slot_type = 'logical'"
        assert cluster.value(new, logical) == "carried"
        assert cluster.value(new, "select pg_replication_slot_advance('carried', pg_current_wal_lsn()) is not null")
        physical = "select string_agg(slot_name, ' ') from pg_replication_slots where slot_type = 'physical'"
        await handyrep.until(lambda: cluster.value(old, physical) is None, "nothing left over on the former master")
