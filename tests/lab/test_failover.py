"""Failover on real servers over SSH: what must happen, and what must not. What comes after it: test_layouts."""

import asyncio
from collections.abc import Callable

import pytest

from handyrep.model.status import Health
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch
from tests.lab.databases import LAYOUTS
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("fault", "version"), [(faults.crash, 16), (faults.stop_immediate, 15), (faults.stop_immediate, 18)]
)
async def test_a1_a5_a_dead_master_is_failed_over_and_nothing_is_lost(
    lab: Lab, watch: Watch, fault: Callable[[LabCluster, str], None], version: int
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, version)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(fault, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 50)
        assert writer.lost(new) == set()
        assert not cluster.in_recovery(new)
        other = next(name for name in cluster.names if name not in (old, new))
        await asyncio.to_thread(cluster.wait_until_streaming, new, 1)
        assert cluster.in_recovery(other)
        assert cluster.host(old).inside("ls", cluster.layout.pgdata).split().count("standby.signal") == 1


@pytest.mark.parametrize("version", LAYOUTS)
async def test_b1_a_host_without_power_is_refused_until_it_can_be_proven_stopped(
    lab: Lab, watch: Watch, version: int
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, version)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(faults.power_off, cluster, old)
        await handyrep.until(lambda: handyrep.rule == "F16", "a refusal for want of a proof")
        assert "fence_stop" in handyrep.said
        assert "does not answer over SSH" in handyrep.said
        await asyncio.sleep(3)
        assert handyrep.master == old
        assert handyrep.on.engine.cluster.status.health is Health.DOWN
        assert all(cluster.in_recovery(name) for name in cluster.names[1:])
        await asyncio.to_thread(faults.power_on, cluster, old)
        new = await handyrep.failed_over(old)
        assert not cluster.in_recovery(new)


async def test_b1_a_host_without_power_is_failed_over_on_a_persons_word(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(writer.wait_for, 50)
            await asyncio.to_thread(faults.power_off, cluster, old)
            await handyrep.until(lambda: handyrep.rule == "F16", "a refusal for want of a proof")
            assert "handyrep confirmed-failover" in handyrep.said
            told = await handyrep.call("what_if", event=f"{cluster.names[1]} dies")
            assert told["rule"] == "F16"
            done = await handyrep.call(
                "confirmed_failover", cluster=handyrep.on.engine.cluster.name, reason="the switch says off"
            )
            assert done["result"] == "SUCCESS", done
        assert writer.lost(handyrep.master) == set()
    assert not cluster.in_recovery(done["new_master"])


async def test_a3_a_hung_postmaster_is_fenced_by_force_and_failed_over(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.hang, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 50)
        assert writer.lost(new) == set()


async def test_b3_a_master_that_only_handyrep_cannot_reach_stays_master(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    old = cluster.names[0]
    async with watch(cluster) as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(faults.cut_off_from_manager, cluster, old)
        await handyrep.until(lambda: handyrep.rule == "F09", "the veto of the replicas")
        await asyncio.sleep(3)
        assert handyrep.master == old
        assert all(cluster.in_recovery(name) for name in cluster.names[1:])
        await asyncio.to_thread(faults.heal, cluster, old)
        await handyrep.healthy()


async def test_a16_without_sshd_the_master_is_a_warning_and_nothing_is_done(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15)
    old = cluster.names[0]
    async with watch(cluster, failover="verify_frequency = 4") as handyrep:
        await handyrep.healthy()
        await asyncio.to_thread(faults.stop_sshd, cluster, old)
        await handyrep.until(lambda: handyrep.on.engine.cluster.status.health is Health.WARNING, "a warning")
        assert "cannot be fenced" in handyrep.on.engine.cluster.members[old].status.reason
        assert handyrep.master == old
        await asyncio.to_thread(faults.start_sshd, cluster, old)
        await handyrep.healthy()


async def test_auto_failover_off_means_that_a_person_is_told_and_nothing_is_done(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    old = cluster.names[0]
    async with watch(cluster, handyrep="log_verbose = False", failover="") as handyrep:
        await handyrep.healthy()
        object.__setattr__(handyrep.on.engine.policy, "auto_failover", False)
        await asyncio.to_thread(faults.crash, cluster, old)
        await handyrep.until(lambda: handyrep.rule == "F13", "a refusal")
        await asyncio.sleep(1)
        assert handyrep.master == old
        rd = await handyrep.call("manual_failover")
        assert rd["result"] == "SUCCESS", handyrep.story()
        assert handyrep.master != old
