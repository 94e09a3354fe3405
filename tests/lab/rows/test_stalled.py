"""The master's storage takes no more writes, and says nothing: logins and reads work, and no commit ends."""

import asyncio
import time
from pathlib import Path

import pytest

from handyrep.model.status import Health
from tests.lab import disks, faults, switch
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.lab import Lab
from tests.lab.rows import falls
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
SETTINGS = "verify_frequency = 4\ncall_timeout = 1 s\nfence_methods = fence_stop, fence_command"


def freeze(cluster: LabCluster, name: str, writer: Writer) -> None:
    """Shown to be in effect: nothing is acknowledged any more, and clients are let in all the same."""
    disks.freeze(cluster.host(name).root / str(Path(cluster.layout.pgdata).parent).lstrip("/"))
    before = len(writer.acknowledged)
    time.sleep(1)
    assert len(writer.acknowledged) <= before + 1
    assert cluster.value(name, "select count(*) > 0 from written") is True


async def refused(handyrep: Watched, name: str) -> None:
    """It is told as what it is, with what a person can do, and nothing is done to it."""
    await handyrep.until(lambda: handyrep.rule == "F16", "a refusal for want of a proof")
    assert f"{name} lets clients in and ends no commit, since its storage hangs" in handyrep.said, handyrep.said
    assert "wait for the storage, which takes no writes: until it does even SIGKILL does not end them" in handyrep.said
    assert handyrep.on.engine.cluster.status.health is Health.DOWN
    rd = await handyrep.call("manual_failover")
    assert (rd["result"], "wait for the storage" in rd["details"]) == ("FAIL", True), rd["details"]
    falls.stays(handyrep, name)


async def test_a10_a_master_whose_storage_hangs_is_failed_over_by_the_power_switch_alone(
    ground: Lab, watch: Watch, tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(ground.cluster, 15, disk_mb=300, disk="ext4")
    old, wired = cluster.names[0], tmp_path / "switch.py"
    asked = "select count(*) from pg_stat_activity where query like '%a test write of HandyRep%' and pid <> pg_backend_pid()"
    power = switch.section(cluster).replace(switch.PROGRAM, str(wired))
    async with watch(cluster, failover=SETTINGS, plugins=power) as handyrep:
        await handyrep.healthy()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(freeze, cluster, old, writer)
            began = time.monotonic()
            await refused(handyrep, old)
            assert time.monotonic() - began > 10, "what lasts a moment is no reason"
            assert cluster.value(old, asked) <= 6, "looking at it uses up no connections"
            wired.write_text(f"import runpy\nrunpy.run_path({switch.PROGRAM!r}, run_name='__main__')\n")
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 20)
            assert cluster.host(old).init_pid() == 0, "the switch was thrown"
        await asyncio.to_thread(faults.power_on, cluster, old)
        await falls.green(handyrep, old)
        assert writer.lost(new) == set()
