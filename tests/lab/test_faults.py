"""Every fault is really there, and really gone afterwards. The tests share a cluster and leave it as they found it."""

import asyncio

import asyncssh
import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.image import ROOT_TIER
from tests.lab.lab import Lab
from tests.lab.network import answers
from tests.lab.shell import LabError

pytestmark = pytest.mark.lab


def test_crash(trio: LabCluster) -> None:
    name = trio.names[1]
    faults.crash(trio, name)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        trio.connect(name)
    trio.host(name).inside("systemctl", "restart", trio.layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


def test_stop_immediate(trio: LabCluster) -> None:
    name = trio.names[2]
    faults.stop_immediate(trio, name)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        trio.connect(name)
    trio.host(name).inside("systemctl", "restart", trio.layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


def test_stop_clean(trio: LabCluster) -> None:
    name, layout = trio.names[1], trio.layout
    faults.stop_clean(trio, name)
    control = trio.host(name).inside(f"{layout.bin_dir}/pg_controldata", layout.pgdata)
    assert "shut down in recovery" in control
    trio.host(name).inside("systemctl", "restart", layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


def test_hang_and_unhang(trio: LabCluster) -> None:
    name = trio.names[0]
    with trio.connect(name) as session:
        faults.hang(trio, name)
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            trio.connect(name)
        assert session.execute("select 1").fetchone() == (1,), "sessions that exist go on"
        faults.unhang(trio, name)
    assert trio.value(name, "select 1") == 1


def test_power_off_and_on_keeps_the_disk(trio: LabCluster) -> None:
    replica = trio.hosts[1]
    replica.inside("sh", "-c", "echo kept > /var/lib/note")
    started = replica.inside("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "ssh")
    faults.power_off(trio, replica.name)
    assert replica.init_pid() == 0
    with pytest.raises(LabError, match="is off"):
        replica.inside("true")
    assert not answers(replica.address, replica.ssh_port)
    faults.power_on(trio, replica.name)
    assert replica.inside("cat", "/var/lib/note").strip() == "kept"
    assert replica.inside("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "ssh") != started
    assert replica.inside("systemctl", "is-active", trio.layout.unit, check=False).strip() == "inactive"
    replica.inside("systemctl", "start", trio.layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


def test_link_down_and_up(trio: LabCluster) -> None:
    master = trio.names[0]
    faults.link_down(trio, master)
    assert trio.hosts[0].init_pid()
    assert not trio.hosts[1].place.reaches(trio.hosts[0].address, 5432)
    assert "NO-CARRIER" in trio.hosts[0].inside("ip", "link", "show", "eth0")
    faults.link_up(trio, master)
    trio.wait_until_streaming(master, 2)


def test_a_partition_between_two_hosts_concerns_only_them(trio: LabCluster) -> None:
    master, first, second = trio.hosts
    faults.partition(trio, master.name, first.name)
    assert not first.place.reaches(master.address, 5432)
    assert not first.place.reaches(master.place.address_v6, 5432)
    assert second.place.reaches(master.address, 5432)
    assert answers(first.address, 5432)
    faults.heal(trio, master.name)
    assert first.place.reaches(master.address, 5432)
    assert first.place.reaches(master.place.address_v6, 5432)
    trio.wait_until_streaming(master.name, 2)


def test_cut_off_from_the_manager_alone(trio: LabCluster) -> None:
    master, replica, _ = trio.hosts
    faults.cut_off_from_manager(trio, master.name)
    assert not answers(master.place.address_v6, 5432)
    assert replica.place.reaches(master.address, 5432)
    faults.heal(trio, master.name)
    trio.wait_until_streaming(master.name, 2)


async def _login(lab: Lab, host: Host) -> asyncssh.SSHClientConnection:
    keys = [str(lab.image.client_key)]
    return await asyncssh.connect(
        host.address, username=ROOT_TIER, known_hosts=str(lab.known_hosts), client_keys=keys, config=None
    )


async def test_without_sshd_not_even_old_sessions_live(ground: Lab, trio: LabCluster) -> None:
    host = trio.hosts[0]
    async with await _login(ground, host) as session:
        faults.stop_sshd(trio, host.name)
        await asyncio.wait_for(session.wait_closed(), 10)
    with pytest.raises(ConnectionRefusedError):
        await _login(ground, host)
    assert trio.value(host.name, "select 1") == 1
    faults.start_sshd(trio, host.name)
    async with await _login(ground, host) as session:
        assert (await session.run("hostname", check=True)).stdout == f"{host.name}\n"


def test_no_connection_is_left_but_for_superusers(trio: LabCluster) -> None:
    name = trio.names[0]
    with faults.exhausted_connections(trio, name):
        with pytest.raises(psycopg.OperationalError, match="slots"):
            trio.connect(name, user="greedy", password="greedy")
        assert trio.value(name, "select 1") == 1


def test_a_full_disk_takes_no_more_rows(trio: LabCluster) -> None:
    name = trio.names[1]
    data = trio.layout.pgdata
    faults.fill_disk(trio, name)
    with pytest.raises(LabError, match="No space left"):
        trio.host(name).inside("runuser", "-u", "postgres", "--", "dd", "if=/dev/zero", f"of={data}/more", "count=64")
    faults.free_disk(trio, name)
    trio.host(name).inside("rm", "-f", f"{data}/more")
    trio.host(name).inside("systemctl", "restart", trio.layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


def test_without_room_for_wal_a_master_ends(trio: LabCluster) -> None:
    name = trio.names[0]
    faults.fill_disk(trio, name)
    faults.use_up_wal(trio, name)
    with pytest.raises(psycopg.OperationalError):
        trio.connect(name)
    faults.free_disk(trio, name)
    trio.host(name).inside("systemctl", "restart", trio.layout.unit)
    trio.wait_until_streaming(name, 2)


def test_only_a_disk_of_its_own_is_filled(lab: Lab) -> None:
    cluster = lab.cluster(16, replicas=0)
    with pytest.raises(LabError, match="disk_mb"):
        faults.fill_disk(cluster, cluster.names[0])
