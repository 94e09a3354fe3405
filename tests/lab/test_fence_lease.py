"""fence_lease as the only fence, asynchronous, on real hosts: a master that is cut off stops itself, and stays down after a reboot."""

import asyncio
import threading
import time
from typing import Self

import pytest

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.host import Host
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
LEASE_S = 3.0
FENCE = "fence_methods = fence_lease\nestimate_lost_wal = True\nverify_frequency = 4"
OPTIONS = f"[[fence_lease]]\nlease = {LEASE_S:g} s\nsilence = 2 s\n"
ROOM, DOORS = "/run/handyrep-lease", "/etc/systemd/system/*.d/handyrep-lease.conf"


def runs(cluster: LabCluster, host: Host) -> bool:
    """Whether any process of PostgreSQL is left, seen without the network."""
    return bool(host.inside("pgrep", "-x", "postgres", check=False).strip())


def footprint(host: Host) -> str:
    """All that the fence leaves on a host."""
    guards = "systemctl list-units --all --plain --no-legend 'handyrep-lease-*'"
    return host.inside("sh", "-c", f"ls -d {ROOM} {DOORS} 2>/dev/null; {guards}", check=False).strip()


class TwoMasters(threading.Thread):
    """Looks whether the old master runs while the replica takes writes already."""

    def __init__(self, cluster: LabCluster) -> None:
        super().__init__(daemon=True)
        self.cluster, self.ended = cluster, threading.Event()
        self.seen, self.looks = False, 0

    def run(self) -> None:
        old, replica = self.cluster.hosts
        while not self.ended.wait(0.05):
            promoted = not self.cluster.in_recovery(replica.name)
            self.seen = self.seen or (promoted and runs(self.cluster, old))
            self.looks += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


async def armed(handyrep: Watched, host: Host) -> None:
    def well() -> bool:
        level = handyrep.on.engine.protection
        return level is not None and level.level == "P2"

    await handyrep.until(well, f"a proof in sight for {host.name}")
    assert "handyrep-lease-" in await asyncio.to_thread(footprint, host)


async def test_a_master_that_is_cut_off_stops_itself_and_stays_down(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, replicas=1, synchronous=False, autostart=True)
    old, replica = cluster.hosts
    async with watch(cluster, failover=FENCE, plugins=OPTIONS) as handyrep:
        await handyrep.healthy()
        await armed(handyrep, old)
    # HandyRep alone is gone, for longer than the lease: the replica is attached, so the master goes on.
    started = cluster.value(old.name, "select pg_postmaster_start_time()")
    await asyncio.sleep(LEASE_S + 3)
    assert cluster.value(old.name, "select pg_postmaster_start_time()") == started
    async with watch(cluster, failover=FENCE, plugins=OPTIONS) as handyrep:
        await armed(handyrep, old)
        with TwoMasters(cluster) as both:
            await asyncio.to_thread(faults.link_down, cluster, old.name)
            cut = time.monotonic()
            assert await handyrep.failed_over(old.name) == replica.name
        assert not both.seen
        assert both.looks > 10
        assert time.monotonic() - cut > LEASE_S
        assert not runs(cluster, old)
        await stays_down_after_a_reboot(cluster, old)
        await asyncio.to_thread(old.place.link_up)
        await handyrep.until(lambda: old.name not in handyrep.on.engine.cluster.deposed, "a replica of the new master")
        await handyrep.until(lambda: footprint(old) == "", "nothing left on the replica")
        await armed(handyrep, replica)


async def stays_down_after_a_reboot(cluster: LabCluster, old: Host) -> None:
    """Its service is started with the host, and it is still alone."""
    await asyncio.to_thread(old.power_off)
    await asyncio.to_thread(old.power_on)
    await asyncio.to_thread(old.place.link_down)
    await asyncio.to_thread(old.wait_until_up)
    unit = cluster.layout.unit
    await asyncio.to_thread(old.inside, "systemctl", "is-system-running", "--wait", check=False)
    assert not runs(cluster, old)
    old.inside("systemctl", "start", unit, check=False)
    assert old.inside("systemctl", "show", "-P", "AssertResult", unit).strip() == "no"
    assert not runs(cluster, old)
