"""What HandyRep leaves on real hosts is all in its list, and what release takes back is gone: a host before, during and after HandyRep."""

import asyncio
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.lab import faults, inventory
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.inventory import Inventory, added
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
FAILOVER = """fence_methods = fence_stop, fence_starve, fence_lease
synchronous_required = 1
journal_method = journal_on_hosts
verify_frequency = 4
call_timeout = 1 s
"""
LEASE = "[[fence_lease]]\nlease = 3 s\nsilence = 2 s\n"
Traces = dict[str, dict[str, dict[str, Any]]]
"""By server and place."""


def by_server(cluster: LabCluster, listed: list[dict[str, Any]]) -> Traces:
    return {name: {one["where"]: one for one in listed if one["server"] == name} for name in cluster.names}


def unlisted(before: dict[str, Inventory], after: dict[str, Inventory], listed: Traces) -> list[str]:
    """What is on the hosts now, was not before HandyRep came, and is in no list."""
    new = {name: added(before[name], after[name]) for name in before}
    return [
        f"{name}: {what}" for name, found in new.items() for what in sorted(found) if not covers(listed[name], what)
    ]


def covers(listed: dict[str, dict[str, Any]], what: str) -> bool:
    """A listed file covers the folders that it lies in, a listed folder what lies in it, a unit its processes."""
    if what in listed or (what.startswith("process ") and any(f"unit {p}" in listed for p in units_in(listed))):
        return True
    place = PurePosixPath(what)
    return what.startswith("/") and any(
        place.is_relative_to(one) or PurePosixPath(one).is_relative_to(place) for one in listed if one.startswith("/")
    )


def units_in(listed: dict[str, dict[str, Any]]) -> list[str]:
    return [one.removeprefix("unit ") for one in listed if one.startswith("unit ")]


def kept_up_on(handyrep: Watched, name: str) -> bool:
    now = handyrep.on.check.agreeing.last
    return handyrep.on.engine.cluster.kept_up == (("fence_lease", name),) and now is not None and now.order is None


async def settled_as(handyrep: Watched, cluster: LabCluster, master: str) -> None:
    """All of it is well with this master, and what HandyRep keeps up is in its place."""
    await handyrep.healthy()
    await handyrep.until(lambda: handyrep.on.engine.cluster.deposed == (), "no former master left")
    await handyrep.until(lambda: kept_up_on(handyrep, master), "a lease and a list that are as they should be")
    alone = [name == master for name in cluster.names]
    await handyrep.until(
        lambda: [leased(cluster, name) for name in cluster.names] == alone, f"a guard on {master} alone"
    )
    await asyncio.to_thread(cluster.wait_until_streaming, master, len(cluster.names) - 1)


def leased(cluster: LabCluster, name: str) -> bool:
    units = cluster.host(name).inside("systemctl", "list-units", "--plain", "--no-legend", "handyrep-lease-*")
    return " active running " in " ".join(units.split())


def use_slots(cluster: LabCluster) -> None:
    """As a site would have it that knows slots, before HandyRep comes."""
    master, *replicas = cluster.names
    for name in replicas:
        cluster.value(master, f"select pg_create_physical_replication_slot('of_{name}', true)::text")
        with cluster.connect(name) as sql:
            sql.execute(f"alter system set primary_slot_name = 'of_{name}'".encode())
            sql.execute("select pg_reload_conf()")


async def calm(cluster: LabCluster) -> dict[str, Inventory]:
    """What is there once the sessions of a HandyRep that has ended are gone."""
    found = await asyncio.to_thread(inventory.of_all, cluster)
    for _ in range(100):
        if not any(is_session(what) for one in found.values() for what in one):
            break
        found = await asyncio.to_thread(inventory.of_all, cluster)
    return found


def is_session(what: str) -> bool:
    return what.startswith("process ") and "handyrep-lease" not in what


async def test_all_that_is_left_is_listed_and_release_takes_back_what_nobody_needs(lab: Lab, watch: Watch) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    old = cluster.names[0]
    await asyncio.to_thread(use_slots, cluster)
    before = await asyncio.to_thread(inventory.of_all, cluster)
    async with watch(cluster, failover=FAILOVER, plugins=LEASE) as handyrep:
        await settled_as(handyrep, cluster, old)
        await asyncio.to_thread(faults.link_down, cluster, old)
        new = await handyrep.failed_over(old)
        await asyncio.to_thread(faults.link_up, cluster, old)
        await settled_as(handyrep, cluster, new)
        told = await handyrep.call("footprint")
    assert (told["result"], told["unknown"]) == ("SUCCESS", []), told
    listed, during = by_server(cluster, told["traces"]), await calm(cluster)
    assert unlisted(before, during, listed) == []
    assert [f"{n}: {one}" for n, places in listed.items() for one in places if not is_there(one, during[n])] == []
    unheard = unlisted(before, during, by_server(cluster, []))
    assert [one for one in unheard if one.startswith(f"{new}: slot ")] != [], "the comparison sees what nobody tells of"
    assert shapes(listed[new]) >= {"guard", "lease", "door", "kept setting", "copy of the journal", "slot", "setting"}
    assert shapes(listed[old]) >= {"signal", "kept WAL", "setting"}

    started = cluster.value(new, "select pg_postmaster_start_time()")
    async with watch(cluster, failover=FAILOVER, plugins=LEASE) as handyrep, Writer(cluster) as writer:
        await handyrep.healthy()
        foretold = await handyrep.call("release", cluster="lab", dry_run=True)
        done = await handyrep.call("release", cluster="lab")
        assert (done["result"], done["taken"]) == ("SUCCESS", foretold["going"]), done
        cycles = handyrep.on.monitor.cycles
        await handyrep.until(lambda: handyrep.on.monitor.cycles > cycles + 3, "more looks of HandyRep")
        await asyncio.to_thread(writer.wait_for, 50)
        again = await handyrep.call("release", cluster="lab")
        assert (again["result"], again["taken"]) == ("SUCCESS", []), again
    after, staying = await calm(cluster), by_server(cluster, done["staying"])
    assert unlisted(before, after, staying) == []
    assert {one["name"] for one in done["staying"]} == {"setting", "slot", "signal", "kept WAL"}
    assert cluster.value(new, "select pg_postmaster_start_time()") == started
    await asyncio.to_thread(cluster.wait_until_streaming, new, len(cluster.names) - 1)


def is_there(place: str, found: Inventory) -> bool:
    """A folder is there by what is in it."""
    return place in found or any(what.startswith(f"{place}/") for what in found)


def shapes(listed: dict[str, dict[str, Any]]) -> set[str]:
    return {one["name"] for one in listed.values()}
