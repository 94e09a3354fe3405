"""Operations on real servers, in each layout and with each kind of account: they work, and their effect was looked at."""

import asyncio
from pathlib import Path

import pytest

from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import Kind
from tests.lab import faults
from tests.lab.conftest import Watch, Watched, watching
from tests.lab.image import LOGIN_TIER, POSTGRES_TIER, ROOT_TIER
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("version", "login"),
    [(15, ROOT_TIER), (16, ROOT_TIER), (18, ROOT_TIER), (15, POSTGRES_TIER), (16, POSTGRES_TIER), (18, LOGIN_TIER)],
)
async def test_switchover_there_and_back(lab: Lab, watch: Watch, version: int, login: str) -> None:
    cluster = await asyncio.to_thread(lab.cluster, version, login=login)
    old, new, third = cluster.names
    async with watch(cluster, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        await handyrep.seen_healthy()
        async with Writer(cluster) as writer:
            rd = await handyrep.call("manual_failover", newmaster=new)
            assert rd["result"] == "SUCCESS", handyrep.story()
            assert rd["left"] == [], handyrep.story()
            await asyncio.to_thread(writer.wait_for, 50)
            assert [cluster.in_recovery(name) for name in (old, new, third)] == [True, False, True]
            rd = await handyrep.call("manual_failover", newmaster=old)
            assert rd["result"] == "SUCCESS", handyrep.story()
            assert rd["left"] == [], handyrep.story()
            await asyncio.to_thread(writer.wait_for, 50)
        assert writer.lost(old) == set()
        await handyrep.seen_healthy()


async def test_an_unsynchronous_cluster_is_failed_over_when_the_loss_is_known(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, synchronous=False)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(faults.crash, cluster, old)
        await handyrep.failed_over(old)
        assert "WAL ends at" in handyrep.story()


async def test_h1_clone_refuses_what_would_destroy(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    master, _, third = cluster.names
    async with watch(cluster, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        assert (await handyrep.call("clone", replica=master, reclone=True))["result"] == "FAIL"
        running = await handyrep.call("clone", replica=third, reclone=True)
        assert running["result"] == "FAIL"
        assert "PostgreSQL runs" in running["details"]
        assert (await handyrep.call("shutdown", server=third))["result"] == "SUCCESS"
        full = await handyrep.call("clone", replica=third)
        assert full["result"] == "FAIL"
        assert "not empty" in full["details"]
        assert (await handyrep.call("startup", server=third))["result"] == "SUCCESS"
        await asyncio.to_thread(cluster.wait_until_streaming, master, 2)


async def test_h9_stop_start_restart_and_what_is_refused(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    master, second, third = cluster.names
    async with watch(cluster, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        for operation in ("shutdown", "startup", "restart"):
            rd = await handyrep.call(operation, server=third)
            assert rd["result"] == "SUCCESS", rd
        for operation in ("disable", "remove"):
            rd = await handyrep.call(operation, server=master)
            assert (rd["result"], rd["error"]) == ("FAIL", "RefusedError")
        assert (await handyrep.call("disable", server=third))["result"] == "SUCCESS"
        assert (await handyrep.call("get_status"))["servers"][third]["enabled"] is False
        refused = await handyrep.call("manual_failover", newmaster=third)
        assert (refused["result"], refused["error"]) == ("FAIL", "RefusedError")
        assert not cluster.in_recovery(master)
        assert (await handyrep.call("enable", server=third))["result"] == "SUCCESS"
        definition = f"hostname={cluster.host(third).address},port=5999,pgdata=/srv/none"
        assert (await handyrep.call("add_server", server="new1", definition=definition))["enabled"] is False
        not_there = await handyrep.call("enable", server="new1")
        assert not_there["result"] == "FAIL"
        assert (await handyrep.call("remove", server="new1"))["result"] == "SUCCESS"
        assert (await handyrep.call("get_master_name"))["master"] == master
        assert (await handyrep.call("verify_replica", replicaserver=second))["result"] == "SUCCESS"
        assert (await handyrep.call("verify_replica", replicaserver=master))["error"] == "RefusedError"


async def test_e21_doctor_is_content_and_names_what_is_not(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    async with watch(cluster, monitor=False) as handyrep:
        await handyrep.settled(cluster)
        rd = await handyrep.call("doctor")
        assert rd["result"] == "SUCCESS", rd
        await asyncio.to_thread(faults.stop_sshd, cluster, cluster.names[0])
        ill = await handyrep.call("doctor")
        assert ill["result"] == "FAIL"
        assert "fence_stop" in ill["details"]


async def test_two_handyreps_and_one_row(lab: Lab, tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    confs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        confs.append(
            cluster.handyrep_conf(
                tmp_path / name,
                handyrep="master_check_method = check_last_ip_db",
                plugins="[[check_last_ip_db]]\nlast_ip_timeout = 2 s\n",
            )
        )
    async with watching(confs[0], monitor=False) as first, watching(confs[1], monitor=False) as second:
        assert (await first.call("init_handyrep_db"))["result"] == "SUCCESS"
        assert await holds(first)
        assert not await holds(second)
        assert await holds(first)
        await asyncio.sleep(2.2)
        assert await holds(second)
        assert not await holds(first)
        await asyncio.to_thread(faults.crash, cluster, cluster.names[0])
        assert await holds(second)
        assert not await holds(first)
        await asyncio.sleep(2.2)
        assert not await holds(second)


async def holds(handyrep: Watched) -> bool:
    return (await handyrep.on.engine.hands.use(Kind.MASTER_CHECK)).outcome is Outcome.SUCCESS
