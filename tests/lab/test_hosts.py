"""The lab's hosts are what they claim to be: accounts, sshd, systemd, addresses, certificates."""

import asyncssh
import psycopg
import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.image import LOGIN_TIER, POSTGRES_TIER, ROOT_TIER
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


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


def test_debians_postgresql_has_a_certificate_for_each_of_its_addresses(ground: Lab, trio: LabCluster) -> None:
    root = str(ground.image.root_certificate)
    for address in (trio.hosts[0].address, trio.hosts[0].place.address_v6):
        with trio.connect(trio.names[0], host=address, sslmode="verify-full", sslrootcert=root) as connection:
            assert connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        trio.connect(trio.names[0], sslmode="verify-full", sslrootcert="/etc/ssl/certs/ca-certificates.crt")


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
