"""Directives about how to reach a server, each tried by a HandyRep that finds a whole cluster healthy through it."""

import asyncio
from pathlib import Path

import pytest

from handyrep.model.status import Health
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, watching
from tests.lab.databases import PASSWORDS
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


async def seen_healthy(watch: Watch, cluster: LabCluster, **sections: str) -> str:
    """What HandyRep says of the cluster then."""
    async with watch(cluster, monitor=False, **sections) as handyrep:
        await handyrep.settled(cluster)
        return await handyrep.seen_healthy()


async def test_another_ssh_port(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, ssh_port=2222)
    assert await seen_healthy(watch, cluster) == f"master {cluster.names[0]} works, 2 replicas follow"


async def test_ipv6(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    cluster.v6 = True
    assert await seen_healthy(watch, cluster)


async def test_a_jump_host(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    jump = (await asyncio.to_thread(lab.hosts, "jump"))[0]
    for host in cluster.hosts:
        host.inside("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-s", host.place.net.manager, "-j", "DROP")
    async with watch(cluster, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        assert handyrep.on.engine.cluster.status.health is Health.WARNING
    through = f"ssh_jump = {cluster.login}@{jump.address}:{jump.ssh_port}"
    assert await seen_healthy(watch, cluster, handyrep="override_server_file = True", server_defaults=through)


async def test_tls_with_a_known_authority_and_not_with_another(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    known = f"sslmode = verify-full\nsslrootcert = {lab.image.root_certificate}"
    assert await seen_healthy(watch, cluster, server_defaults=known)
    other = "sslmode = verify-full\nsslrootcert = /etc/ssl/certs/ca-certificates.crt"
    async with watch(cluster, monitor=False, handyrep="override_server_file = True", server_defaults=other) as handyrep:
        await handyrep.settled(cluster)
        status = handyrep.on.engine.cluster.members[cluster.names[0]].status
        assert status.health is Health.WARNING
        assert "certificate" in status.reason


async def test_passwords_from_a_passfile(lab: Lab, watch: Watch, tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    passfile = tmp_path / "pgpass"
    passfile.write_text("".join(f"*:*:*:{user}:{password}\n" for user, password in PASSWORDS.items()))
    passfile.chmod(0o600)
    conf = cluster.handyrep_conf(tmp_path, server_defaults=f"passfile = {passfile}")
    lines = [
        line for line in conf.read_text().splitlines() if not line.startswith(("handyrep_db_pass", "superuser_pass"))
    ]
    conf.write_text("\n".join(lines) + "\n")
    async with watching(conf, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        assert await handyrep.seen_healthy() == f"master {cluster.names[0]} works, 2 replicas follow"
