"""The master dies while something is wrong with the proxies: nobody is led to the old master, and what is left to do is told."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from handyrep.model.status import Health
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.lab import Lab
from tests.lab.proxy import LabProxy
from tests.lab.rows import falls
from tests.lab.shell import LabError
from tests.lab.test_proxies import directives

pytestmark = pytest.mark.lab
INI = "/etc/pgbouncer/pgbouncer.ini"


@pytest.fixture(scope="module")
def proxies(ground: Lab, standing: list[LabCluster]) -> list[LabProxy]:
    return ground.proxies(standing[0], 2)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


async def well_led(handyrep: Watched, templates: Path) -> None:
    """The proxies are HandyRep's, and all is well. What is not answered in time is asked again: this is not about that."""
    await handyrep.healthy()
    init = await handyrep.call("connection_proxy_init")
    for _ in range(5):
        if init["result"] == "SUCCESS":
            break
        if "template" in init:
            (templates / "pgbouncer.ini.j2").write_text(init["template"])
        init = await handyrep.call("connection_proxy_init")
    assert init["result"] == "SUCCESS", init


def wait_until_led(proxy: LabProxy, address: str) -> None:
    """Until its clients get to this server."""
    faults.until(lambda: not lets_nobody_in(proxy) and proxy.leads_to() == address, f"{proxy.name} at {address}", 60)


def lets_nobody_in(proxy: LabProxy) -> bool:
    try:
        proxy.leads_to()
    except psycopg.OperationalError:
        return True
    return False


def left(handyrep: Watched) -> str:
    """What the last run could not do."""
    return str(handyrep.on.engine.journal.runs()[-1])


async def test_b7_d5_a_proxy_without_a_way_and_one_without_a_file_are_told_and_lead_nobody_to_the_old_master(
    cluster: LabCluster, proxies: list[LabProxy], templates: Path, watch: Watch
) -> None:
    old, *replicas = cluster.names
    no_way, no_file = proxies
    async with watch(cluster, handyrep=f"templates_dir = {templates}", **directives(proxies)) as handyrep:
        await well_led(handyrep, templates)
        for name in replicas:
            place = cluster.host(name).place
            no_way.host.place.partition(place.address, place.address_v6)
            assert not no_way.host.place.reaches(place.address, 5432)
        before = no_file.host.inside("cat", INI)
        no_file.host.inside(
            "sh", "-c", "mount --bind /etc/pgbouncer /etc/pgbouncer; mount -o remount,bind,ro /etc/pgbouncer"
        )
        with pytest.raises(LabError, match="Read-only"):
            no_file.host.inside("touch", INI)
        await asyncio.to_thread(faults.crash, cluster, old)
        new = await handyrep.failed_over(old)
        assert cluster.host(new).address in no_way.host.inside("cat", INI)
        assert no_file.host.inside("cat", INI) == before
        assert no_file.name in left(handyrep)
        assert "Read-only" in left(handyrep)
        assert [await asyncio.to_thread(lets_nobody_in, proxy) for proxy in proxies] == [True, True]
        members = handyrep.on.engine.cluster.members
        await handyrep.until(lambda: members_are(handyrep, proxies, Health.UNAVAILABLE), f"a word of both: {members}")
        no_file.host.inside("umount", "/etc/pgbouncer")
        no_way.host.place.heal()
        for proxy in proxies:
            await asyncio.to_thread(wait_until_led, proxy, cluster.host(new).address)
        await falls.green(handyrep, old)


def members_are(handyrep: Watched, proxies: list[LabProxy], health: Health) -> bool:
    return all(handyrep.on.engine.cluster.members[proxy.name].status.health is health for proxy in proxies)


async def test_d2_without_any_proxy_the_database_is_failed_over_and_proxies_come_up_right(
    cluster: LabCluster, proxies: list[LabProxy], templates: Path, watch: Watch
) -> None:
    old = cluster.names[0]
    async with watch(cluster, handyrep=f"templates_dir = {templates}", **directives(proxies)) as handyrep:
        await well_led(handyrep, templates)
        for proxy in proxies:
            proxy.host.inside("systemctl", "stop", "pgbouncer")
        assert [await asyncio.to_thread(lets_nobody_in, proxy) for proxy in proxies] == [True, True]
        await handyrep.until(lambda: members_are(handyrep, proxies, Health.UNAVAILABLE), "a word of both")
        await asyncio.to_thread(faults.crash, cluster, old)
        new = await handyrep.failed_over(old)
        assert all(proxy.name in left(handyrep) for proxy in proxies)
        for proxy in proxies:
            proxy.host.inside("systemctl", "start", "pgbouncer")
            await asyncio.to_thread(wait_until_led, proxy, cluster.host(new).address)
        await falls.green(handyrep, old)
