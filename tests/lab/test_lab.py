"""The lab itself: its hosts are what they claim to be, every fault is really there and really gone afterwards."""

import asyncio
import time
from collections.abc import Callable, Iterator

import asyncssh
import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.host import Host
from tests.lab.image import LOGIN_TIER, POSTGRES_TIER, ROOT_TIER
from tests.lab.lab import Lab
from tests.lab.network import answers
from tests.lab.shell import LabError
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def ground() -> Iterator[Lab]:
    """A lab of this module's own: it works beside the others' lab."""
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def trio(ground: Lab) -> LabCluster:
    """Tests leave it as they found it."""
    return ground.cluster(15, disk_mb=400)


@pytest.fixture(scope="module")
def other_port(ground: Lab) -> Host:
    return ground.hosts("odd", ssh_port=2222)[0]


async def _say(
    lab: Lab, host: Host, command: str, user: str = ROOT_TIER, at: str = "", **options: object
) -> tuple[int, str]:
    """Exit status and output of a command over SSH, with the host keys that the lab knows."""
    given = {
        "host": at or host.address, "port": host.ssh_port, "username": user, "known_hosts": str(lab.known_hosts),
        "client_keys": [str(lab.image.client_key)], "config": None, "connect_timeout": 10, **options,
    }  # fmt: skip
    async with asyncssh.connect(**given) as session:
        ran = await session.run(command)
        return int(ran.exit_status if ran.exit_status is not None else -1), str(ran.stdout).strip()


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


async def test_the_first_tier_may_become_root_and_postgres(ground: Lab, trio: LabCluster) -> None:
    assert await _say(ground, trio.hosts[0], "sudo -n id -un") == (0, "root")
    assert await _say(ground, trio.hosts[0], "sudo -n -u postgres id -un") == (0, "postgres")


async def test_the_second_tier_may_become_only_postgres(ground: Lab, trio: LabCluster) -> None:
    assert await _say(ground, trio.hosts[0], "sudo -n -u postgres id -un", POSTGRES_TIER) == (0, "postgres")
    status, said = await _say(ground, trio.hosts[0], "sudo -n id -un", POSTGRES_TIER)
    assert (status, said) == (1, "")


async def test_the_third_tier_is_postgres_and_may_become_nobody(ground: Lab, trio: LabCluster) -> None:
    assert await _say(ground, trio.hosts[0], "id -un", LOGIN_TIER) == (0, "postgres")
    assert (await _say(ground, trio.hosts[0], "sudo -n id -un", LOGIN_TIER))[0] == 1


async def test_ipv6_reaches_sshd_and_postgresql(ground: Lab, trio: LabCluster) -> None:
    assert await _say(ground, trio.hosts[0], "hostname", at=trio.hosts[0].place.address_v6) == (0, trio.names[0])
    with trio.connect(trio.names[0], host=trio.hosts[0].place.address_v6) as connection:
        assert connection.execute("select family(inet_client_addr())").fetchone() == (6,)


async def test_a_host_may_be_a_jump_host(ground: Lab, trio: LabCluster) -> None:
    target = trio.hosts[1]
    jump = await asyncssh.connect(
        trio.hosts[0].address, username=ROOT_TIER, known_hosts=str(ground.known_hosts), client_keys=[str(ground.image.client_key)], config=None
    )  # fmt: skip
    async with jump:
        status, said = await _say(ground, target, "echo $SSH_CLIENT; hostname", tunnel=jump)
    assert (status, said.split()[0], said.split()[-1]) == (0, trio.hosts[0].address, target.name)


async def test_sshd_may_be_on_another_port(ground: Lab, other_port: Host) -> None:
    assert await _say(ground, other_port, "hostname") == (0, "odd")
    assert not other_port.inside("ss", "-Hltn", "sport = :22").strip()


async def test_each_host_has_a_key_of_its_own(ground: Lab, trio: LabCluster) -> None:
    keys = {ground.image.public_key_of(host.root) for host in trio.hosts}
    assert len(keys) == 3
    wrong = asyncssh.import_known_hosts(f"{trio.hosts[0].address} {ground.image.public_key_of(trio.hosts[1].root)}\n")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await _say(ground, trio.hosts[0], "true", known_hosts=wrong)


def test_each_host_has_its_own_systemd_that_sees_only_its_own_processes(trio: LabCluster) -> None:
    first, second = trio.hosts[1:]
    before = faults.postmaster(trio, second)
    first.inside("systemctl", "restart", trio.layout.unit)
    assert faults.postmaster(trio, second) == before
    trio.wait_until_streaming(trio.names[0], 2)
    listed = first.inside("systemctl", "show", "-P", "ControlGroup", trio.layout.unit).strip()
    inside = first.inside(
        "sh",
        "-c",
        f"cat /sys/fs/cgroup/systemd{listed}/cgroup.procs /sys/fs/cgroup{listed}/cgroup.procs 2>/dev/null",
        check=False,
    )
    assert str(faults.postmaster(trio, first)) in inside.split()
    assert "0" not in inside.split(), "a process of another host is in this one's service"


def test_debians_umbrella_unit_is_active_whatever_its_cluster_does(trio: LabCluster) -> None:
    replica = trio.hosts[1]
    replica.inside("systemctl", "stop", trio.layout.unit)
    assert replica.inside("systemctl", "is-active", "postgresql").strip() == "active"
    assert replica.inside("systemctl", "is-active", trio.layout.unit, check=False).strip() == "inactive"
    replica.inside("systemctl", "start", trio.layout.unit)
    trio.wait_until_streaming(trio.names[0], 2)


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


@pytest.mark.parametrize("version", [15, 16])
def test_with_autostart_postgresql_comes_back_with_its_host(lab: Lab, version: int) -> None:
    cluster = lab.cluster(version, replicas=1, autostart=True)
    faults.power_off(cluster, cluster.names[0])
    faults.power_on(cluster, cluster.names[0])
    cluster.wait_until_streaming(cluster.names[0], 1)
    assert cluster.value(cluster.names[0], "select pg_is_in_recovery()") is False


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
    assert _streaming(trio) == 2


async def test_without_sshd_not_even_old_sessions_live(ground: Lab, trio: LabCluster) -> None:
    host = trio.hosts[0]
    async with asyncssh.connect(
        host.address, username=ROOT_TIER, known_hosts=str(ground.known_hosts), client_keys=[str(ground.image.client_key)], config=None
    ) as session:  # fmt: skip
        faults.stop_sshd(trio, host.name)
        await asyncio.wait_for(session.wait_closed(), 10)
    with pytest.raises(ConnectionRefusedError):
        await _say(ground, host, "true")
    assert trio.value(host.name, "select 1") == 1
    faults.start_sshd(trio, host.name)
    assert (await _say(ground, host, "true"))[0] == 0


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


def test_only_a_disk_of_its_own_is_filled(lab: Lab) -> None:
    cluster = lab.cluster(16, replicas=0)
    with pytest.raises(LabError, match="disk_mb"):
        faults.fill_disk(cluster, cluster.names[0])


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
