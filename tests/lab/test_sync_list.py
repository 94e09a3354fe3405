"""HandyRep keeps the list of synchronous replicas right: on the master, on a new one before it is one, and when replicas come and go."""

import asyncio

import pytest

from handyrep.decide.quorum import SyncList, parse_sync_list
from handyrep.model.answer import Outcome
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import PATIENCE_S, Watch, Watched
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
SETTINGS = "synchronous_required = 1\nverify_frequency = 1\ncall_timeout = 2"


async def names(handyrep: Watched, *wanted: str) -> None:
    """Wait until commits wait for one of these, and that covers all that was acknowledged before."""

    def so() -> bool:
        known = handyrep.on.engine.cluster
        return SyncList(1, wanted).is_as(parse_sync_list(known.synchronous_standby_names)) and not known.older_lists

    await handyrep.until(so, f"a list of {wanted}")


async def at_last(handyrep: Watched, operation: str, **arguments: object) -> None:
    """Call it until nothing else is under way and it succeeds."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while (done := await handyrep.call(operation, **arguments))["result"] != "SUCCESS":
        assert asyncio.get_running_loop().time() < end, f"{operation}: {done}\n{handyrep.story()}"
        await asyncio.sleep(0.5)


def in_force(cluster: LabCluster, name: str) -> SyncList | None:
    return parse_sync_list(cluster.value(name, "show synchronous_standby_names"))


async def test_it_follows_the_members_of_the_cluster_and_a_new_master_has_it_before_any_client(
    lab: Lab, watch: Watch
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16, replicas=3, synchronous=False)
    old, second, third, late = cluster.names
    async with watch(cluster, failover=SETTINGS) as handyrep:
        await names(handyrep, second, third, late)
        assert (await handyrep.call("disable", server=late))["result"] == "SUCCESS"
        await names(handyrep, second, third)
        listed = await asyncio.to_thread(in_force, cluster, old)
        assert SyncList(1, (second, third)).is_as(listed)
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.crash, cluster, old)
            new = await handyrep.failed_over(old)
            other = third if new == second else second
            run = handyrep.on.engine.journal.runs()[-1][0]
            steps = [ended.step.stage for ended in run.ended if ended.outcome is Outcome.SUCCESS]
            assert steps.index("agree") < steps.index("promote"), handyrep.story()
            await asyncio.to_thread(writer.wait_for, 50)
            await at_last(handyrep, "remaster", replica=late)
            await at_last(handyrep, "enable", server=late)
            await names(handyrep, old, other, late)
            await asyncio.to_thread(writer.wait_for, 50)
        assert writer.lost(new) == set()
        assert SyncList(1, (old, other, late)).is_as(in_force(cluster, new))
        looked = handyrep.on.check.agreeing
        await handyrep.until(lambda: looked.last is not None and not looked.last.order, "nothing more to order")
        told = (await handyrep.call("get_status"))["synchronous"]
        assert (told["in_force"], told["why"]) == (told["wanted"], "")
