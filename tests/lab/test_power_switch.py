"""A host that is off: with a power switch that answers HandyRep fails over by itself; and what it does when the host is back."""

import asyncio

import pytest

from tests.lab import faults, switch
from tests.lab.conftest import Watch
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
FENCES = "fence_methods = fence_stop, fence_command"


async def test_a20_b1_a_host_that_is_cut_off_is_switched_off_and_comes_back_as_a_replica(
    lab: Lab, watch: Watch
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, autostart=True)
    old = cluster.names[0]
    async with watch(cluster, failover=FENCES, plugins=switch.section(cluster)) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.link_down, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 50)
            assert cluster.host(old).init_pid() == 0, "the switch was thrown"
            await asyncio.to_thread(faults.power_on, cluster, old)
            await handyrep.until(lambda: old not in handyrep.on.engine.cluster.deposed, f"{old} back as a replica")
            await asyncio.to_thread(writer.wait_for, 50)
        assert writer.lost(new) == set()
        assert cluster.in_recovery(old)
        fenced = [event["text"] for event in handyrep.on.history.newest(200) if event["kind"] == "fence"]
        assert len(fenced) == 1, "it came up as a master, since its service starts with its host, and was fenced"
        await handyrep.healthy()


async def test_b1_one_and_one_asynchronous_with_the_host_off(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15, replicas=1, synchronous=False)
    old, replica = cluster.names
    directives = f"{FENCES}\nestimate_lost_wal = True"
    async with watch(cluster, failover=directives, plugins=switch.section(cluster)) as handyrep:
        await handyrep.healthy()
        told = await handyrep.call("what_if", event=f"{old} host dies")
        assert (told["rule"], told["candidate"]) == ("F17", replica), told
        await asyncio.to_thread(faults.power_off, cluster, old)
        assert await handyrep.failed_over(old) == replica
        assert not cluster.in_recovery(replica)
        explained = await handyrep.call("explain")
        assert "estimated to lack" in str(explained["last_run"]["steps"])
