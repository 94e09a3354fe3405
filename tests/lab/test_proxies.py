"""Failover and switchover with two real pgbouncers: clients who come through them end at the new master."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from handyrep.model.status import Health
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.lab import Lab
from tests.lab.proxy import ADMIN, ADMIN_PASSWORD, LabHaproxy, LabProxy

pytestmark = pytest.mark.lab
PLUGINS = "[[multi_pgbouncer]]\ndatabase_list = postgres,\nconfig_location = /etc/pgbouncer/pgbouncer.ini\n"


def directives(proxies: list[LabProxy]) -> dict[str, str]:
    """What a handyrep.conf needs to manage them."""
    return {
        "passwords": f"pgbouncer_admin_user = {ADMIN}\npgbouncer_admin_pass = {ADMIN_PASSWORD}",
        "failover": "connection_failover_method = multi_pgbouncer\npoll_connection_proxy = True",
        "servers": "".join(proxy.section() for proxy in proxies),
        "plugins": PLUGINS,
    }


def pool_mode(proxy: LabProxy) -> str:
    """As it is in force."""
    with proxy.connect("pgbouncer", user=ADMIN) as console:
        return str(next(row[1] for row in console.execute("show config").fetchall() if row[0] == "pool_mode"))


def let_in(proxy: LabProxy) -> str:
    """Where it leads, once it lets somebody in: long before the 15 seconds for which its file lets it give a server up."""
    end = time.monotonic() + 10
    while True:
        try:
            return proxy.leads_to()
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise


async def test_a_pgbouncer_that_crashed_is_started_again_and_leads_to_the_new_master(
    lab: Lab, watch: Watch, tmp_path: Path
) -> None:
    """Debian's unit leaves it ended. pgbouncer itself may crash at a KILL, so nobody else would ever start it."""
    cluster = await asyncio.to_thread(lab.cluster, 16)
    proxies = await asyncio.to_thread(lab.proxies, cluster, 2)
    old = cluster.names[0]
    (tmp_path / "templates").mkdir()
    async with watch(cluster, handyrep=f"templates_dir = {tmp_path}/templates", **directives(proxies)) as handyrep:
        await handyrep.settled(cluster)
        await handyrep.manages_proxies(tmp_path / "templates")
        await handyrep.healthy()
        crashed, stopped = (proxy.host for proxy in proxies)
        crashed.inside("systemctl", "kill", "-s", "SEGV", "pgbouncer")
        stopped.inside("systemctl", "stop", "pgbouncer")
        faults.until(
            lambda: "failed" in crashed.inside("systemctl", "show", "-p", "ActiveState", "pgbouncer"), "a crash"
        )
        await asyncio.to_thread(faults.crash, cluster, old)
        new = await handyrep.failed_over(old)
        await handyrep.until(lambda: handyrep.on.check.proxies.told != "", "one is left to be seen to")
        address = cluster.host(new).address
        assert await asyncio.to_thread(let_in, proxies[0]) == address
        assert "inactive" in stopped.inside("systemctl", "show", "-p", "ActiveState", "pgbouncer")
        stopped.inside("systemctl", "start", "pgbouncer")
        await handyrep.healthy()
        assert await asyncio.to_thread(let_in, proxies[1]) == address


@pytest.mark.parametrize("unplanned", [True, False], ids=["failover", "switchover"])
async def test_both_pgbouncers_lead_to_the_new_master(lab: Lab, watch: Watch, unplanned: bool, tmp_path: Path) -> None:
    """One pools sessions, the other one transactions."""
    cluster = await asyncio.to_thread(lab.cluster, 16)
    proxies = await asyncio.to_thread(lab.proxies, cluster, 2)
    old = cluster.names[0]
    (tmp_path / "templates").mkdir()
    async with watch(cluster, handyrep=f"templates_dir = {tmp_path}/templates", **directives(proxies)) as handyrep:
        await handyrep.settled(cluster)
        foreign = await handyrep.call("connection_proxy_init")
        assert foreign["result"] == "FAIL"
        modes = f"{{{{ 'session' if bouncer == '{proxies[0].name}' else 'transaction' }}}}"
        template = foreign["template"].replace("pool_mode = transaction", f"pool_mode = {modes}")
        (tmp_path / "templates" / "pgbouncer.ini.j2").write_text(template)
        init = await handyrep.call("connection_proxy_init")
        assert init["result"] == "SUCCESS", (init["details"], foreign["details"])
        assert [proxy.leads_to() for proxy in proxies] == [cluster.hosts[0].address] * 2
        assert [pool_mode(proxy) for proxy in proxies] == ["session", "transaction"]
        await handyrep.healthy()
        if unplanned:
            await asyncio.to_thread(faults.crash, cluster, old)
            new = await handyrep.failed_over(old)
        else:
            rd = await handyrep.call("manual_failover")
            assert (rd["result"], rd["left"]) == ("SUCCESS", []), handyrep.story()
            new = rd["new_master"]
        for proxy in proxies:
            assert await asyncio.to_thread(let_in, proxy) == cluster.host(new).address, handyrep.story()


@asynccontextmanager
async def lagging(cluster: LabCluster, name: str, handyrep: Watched) -> AsyncIterator[None]:
    """A replica receives and does not replay, and the master writes more than its lag_limit; all is well again afterwards."""
    cluster.value(name, "select pg_wal_replay_pause()")
    with cluster.connect(cluster.names[0]) as boss:
        boss.execute("create table if not exists ballast as select repeat('x', 1000) from generate_series(1, 3000)")
    members = handyrep.on.engine.cluster.members
    await handyrep.until(lambda: handyrep.on.engine.cluster.members[name].status.health is Health.LAGGED, f"{members}")
    yield
    cluster.value(name, "select pg_wal_replay_resume()")
    with cluster.connect(cluster.names[0]) as boss:
        boss.execute("drop table ballast")
    await handyrep.healthy()


async def test_readers_follow_lag_through_pgbouncer_and_through_haproxy(lab: Lab, watch: Watch, tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    old, first, other = cluster.names
    bouncers = await asyncio.to_thread(lab.proxies, cluster, 1)
    (tmp_path / "templates").mkdir()
    sections = directives(bouncers)
    sections["failover"] += "\nverify_frequency = 2"
    here = {
        "handyrep": f"templates_dir = {tmp_path}/templates\noverride_server_file = True",
        "server_defaults": "lag_limit = 1",
    }
    async with watch(cluster, **here, **sections) as handyrep:
        await handyrep.settled(cluster)
        await handyrep.manages_proxies(tmp_path / "templates")
        assert bouncers[0].leads_to("postgres_ro") == cluster.host(first).address
        async with lagging(cluster, first, handyrep):
            await handyrep.until(
                lambda: bouncers[0].leads_to("postgres_ro") == cluster.host(other).address, "readers moved"
            )
        await handyrep.until(lambda: bouncers[0].leads_to("postgres_ro") == cluster.host(first).address, "and back")

    haproxy = await asyncio.to_thread(lab.haproxy, cluster)
    (tmp_path / "templates" / "haproxy.cfg.j2").write_bytes(
        (files("handyrep") / "templates" / "haproxy.cfg.j2").read_bytes()
    )
    sections |= {
        "failover": "connection_failover_method = haproxy_update\nverify_frequency = 2",
        "servers": haproxy.section(),
        "plugins": "[[haproxy_update]]\n",
    }
    async with watch(cluster, **here, **sections) as handyrep:
        await handyrep.settled(cluster)
        init = await handyrep.call("connection_proxy_init")
        assert init["result"] == "SUCCESS", init
        await handyrep.healthy()
        assert haproxy.leads_to() == cluster.hosts[0].address
        async with lagging(cluster, first, handyrep):
            await handyrep.until(lambda: _readers(haproxy) == {cluster.host(other).address}, "readers moved")
        await asyncio.to_thread(faults.crash, cluster, old)
        new = await handyrep.failed_over(old)
        assert haproxy.leads_to() == cluster.host(new).address, handyrep.story()
        haproxy.host.inside("systemctl", "restart", "haproxy")
        await handyrep.until(lambda: _leads(haproxy, cluster.host(new).address), "the same after a restart")


def _readers(haproxy: LabHaproxy) -> set[str]:
    """Where its readers get to, who go to each of its servers in turn."""
    return {haproxy.leads_to(5433) for _ in range(6)}


def _leads(haproxy: LabHaproxy, address: str) -> bool:
    try:
        return haproxy.leads_to() == address
    except psycopg.OperationalError:
        return False
