"""An asynchronous master dies with rows that it acknowledged and never sent: its disk still has them, and the new master gets them."""

import asyncio

import pytest

from tests.lab import faults
from tests.lab.conftest import Watch
from tests.lab.image import POSTGRES_TIER
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab


async def test_what_an_asynchronous_master_never_sent_is_fetched_from_its_disk(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 15, replicas=1, synchronous=False, login=POSTGRES_TIER)
    old, replica = cluster.names
    async with watch(cluster, failover="max_lost_wal = 0\nverify_frequency = 1000") as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.partition, cluster, old, replica)
            sent = cluster.value(replica, "select max(n) from written")
            await asyncio.to_thread(writer.wait_for, 100)
            await asyncio.to_thread(faults.crash, cluster, old)
            assert max(writer.acknowledged) >= sent + 100, "the replica lacks what was acknowledged"
            assert await handyrep.failed_over(old) == replica
            await asyncio.to_thread(writer.wait_for, 50)
        assert f"{replica} was given" in handyrep.story()
        assert writer.lost(replica) == set()
    assert not cluster.in_recovery(replica)
    assert "handyrep.rescue" not in cluster.host(replica).inside("ls", f"{cluster.layout.pgdata}/pg_wal")
