"""Failover and switchover with two real pgbouncers: clients who come through them end at the new master."""

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from tests.lab import faults
from tests.lab.conftest import Watch
from tests.lab.lab import Lab
from tests.lab.proxy import ADMIN, ADMIN_PASSWORD, LabProxy

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


def let_in(proxy: LabProxy) -> str:
    """Where it leads, once it lets somebody in: after a crash it waits out the server_login_retry of the file it was given."""
    end = time.monotonic() + 40
    while True:
        try:
            return proxy.leads_to()
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise


@pytest.mark.parametrize("unplanned", [True, False], ids=["failover", "switchover"])
async def test_both_pgbouncers_lead_to_the_new_master(lab: Lab, watch: Watch, unplanned: bool, tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    proxies = await asyncio.to_thread(lab.proxies, cluster, 2)
    old = cluster.names[0]
    (tmp_path / "templates").mkdir()
    async with watch(cluster, handyrep=f"templates_dir = {tmp_path}/templates", **directives(proxies)) as handyrep:
        await handyrep.settled(cluster)
        foreign = await handyrep.call("connection_proxy_init")
        assert foreign["result"] == "FAIL"
        (tmp_path / "templates" / "pgbouncer.ini.j2").write_text(foreign["template"])
        init = await handyrep.call("connection_proxy_init")
        assert init["result"] == "SUCCESS", (init["details"], foreign["details"])
        assert [proxy.leads_to() for proxy in proxies] == [cluster.hosts[0].address] * 2
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
