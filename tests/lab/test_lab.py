"""Clusters, proxies and the writer of the lab."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab


def _streaming(cluster: LabCluster) -> int:
    return int(cluster.value(cluster.names[0], "select count(*) from pg_stat_replication where state = 'streaming'"))


@pytest.mark.parametrize("version", [15, 16, 18])
def test_a_master_and_two_replicas_that_stream(lab: Lab, version: int) -> None:
    cluster = lab.cluster(version)
    assert _streaming(cluster) == 2
    assert [cluster.in_recovery(name) for name in cluster.names] == [False, True, True]
    assert str(cluster.value(cluster.names[0], "show server_version")).split(".")[0] == str(version)
    assert cluster.value(cluster.names[0], "show synchronous_standby_names") != ""
    names = cluster.value(
        cluster.names[0], "select string_agg(application_name, ' ' order by application_name) from pg_stat_replication"
    )
    assert str(names).split() == cluster.names[1:]


@contextlib.contextmanager
def _listened_at(port: int) -> Iterator[None]:
    """By whoever it is: where another program has it already, that is as good."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_postgresql_has_its_port_though_somebody_listened_there_when_its_image_was_made() -> None:
    """Debian's tool takes the next port then: two labs that were made at once got 5432 and 5433."""
    with _listened_at(5432), Lab() as another:
        cluster = another.cluster(15, replicas=0)
        assert cluster.value(cluster.names[0], "show port") == "5432"


@pytest.mark.parametrize("version", [15, 16])
def test_with_autostart_postgresql_comes_back_with_its_host(lab: Lab, version: int) -> None:
    cluster = lab.cluster(version, replicas=1, autostart=True)
    faults.power_off(cluster, cluster.names[0])
    faults.power_on(cluster, cluster.names[0])
    cluster.wait_until_streaming(cluster.names[0], 1)
    assert cluster.value(cluster.names[0], "select pg_is_in_recovery()") is False


def test_a_role_without_superuser_may_do_what_handyrep_needs(lab: Lab) -> None:
    cluster = lab.cluster(15, replicas=1)
    cluster.reduce_role()
    with cluster.connect(cluster.names[0], user="handyrep", password=PASSWORDS["handyrep"]) as session:
        session.execute("create table handyrep (n int)")
        session.execute("checkpoint")
        session.execute("alter system set wal_retrieve_retry_interval = '5ms'")
        assert session.execute(
            "select pg_reload_conf(), rolsuper from pg_roles where rolname = 'handyrep'"
        ).fetchone() == (True, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("alter system set fsync = off")


def test_pgbouncers_lead_to_the_master_and_have_a_console(lab: Lab) -> None:
    cluster = lab.cluster(16, replicas=1)
    for proxy in lab.proxies(cluster, 2):
        assert proxy.leads_to() == cluster.hosts[0].address
        with proxy.connect("pgbouncer", "boss") as console:
            assert any(row[0] == "postgres" for row in console.execute("show databases").fetchall())
        assert f"hostname = {proxy.host.address}" in proxy.section()


async def test_the_writer_knows_what_was_acknowledged_and_finds_who_takes_writes(lab: Lab) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, replicas=1, synchronous=False)
    old, new = cluster.names
    async with Writer(cluster) as writer:
        crashed = time.monotonic()
        await asyncio.to_thread(faults.crash, cluster, old)
        await asyncio.to_thread(cluster.value, new, "select pg_promote()")
        await asyncio.to_thread(writer.wait_for, 50)
        last, first = writer.gap_around(crashed + 0.001)
    assert last < first
    assert cluster.value(new, "select count(*) from written") >= 50
    with cluster.connect(new) as session:
        session.execute("delete from written where n = 1")
    assert 1 in writer.lost(new)


async def test_the_writer_holds_in_doubt_what_was_not_answered(lab: Lab) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, replicas=1)
    async with Writer(cluster) as writer:
        await asyncio.to_thread(faults.power_off, cluster, cluster.names[1])
        await asyncio.sleep(3)
        assert writer.in_doubt, "strictly synchronous, and the only replica is off: nothing can be acknowledged"
        with cluster.connect(cluster.names[0]) as session:
            session.execute("alter system set synchronous_standby_names = ''")
            session.execute("select pg_reload_conf()")
        await asyncio.to_thread(writer.wait_for, 20)
    assert not writer.in_doubt & set(writer.acknowledged)


def _nothing(_: LabCluster, __: str) -> None:
    """No fault at all."""


@pytest.mark.parametrize("fault", [faults.crash, _nothing], ids=["crashed", "untouched"])
def test_hosts_are_removed_whatever_state_they_are_in(lab: Lab, fault: Callable[[LabCluster, str], None]) -> None:
    cluster = lab.cluster(18, replicas=0)
    fault(cluster, cluster.names[0])
    host = cluster.hosts[0]
    lab.remove_hosts()
    assert host.init_pid() == 0
    assert not host.root.exists()


async def test_the_writer_ends_though_a_session_that_it_holds_hangs(lab: Lab) -> None:
    """Its server's kernel goes on acknowledging what is sent to a backend that is stopped."""
    cluster = lab.cluster(16, replicas=1, synchronous=False)
    master, replica = cluster.names
    async with Writer(cluster, statement_s=0.5) as writer:
        faults.crash(cluster, master)
        held = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
        backend = await asyncio.to_thread(
            _once_there, lambda: cluster.value(replica, f"{held} and query like '%recovery%' limit 1")
        )
        cluster.host(replica).inside("kill", "-STOP", str(backend))
        await asyncio.sleep(1)
    cluster.host(replica).inside("kill", "-KILL", str(backend), check=False)
    assert writer.acknowledged


def _once_there(look: Callable[[], object]) -> object:
    end = time.monotonic() + 20
    while (found := look()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
