"""The real process is killed (SIGKILL) at boundaries of its journal, in the middle of a real failover; the next one goes on.

All boundaries: `make killed`. Here one of each kind: before the fence, around the promote, and while others follow.
"""

import asyncio
from pathlib import Path

import pytest

from tests.lab import killing
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab

AFTER_THE_INTENT_TO_PROMOTE = ("after", 12)
BOUNDARIES = (("before", 5), AFTER_THE_INTENT_TO_PROMOTE, ("before", 13), ("after", 20))


async def test_e1_a_process_that_is_killed_at_a_boundary_of_its_journal_leaves_nothing_half_done(
    lab: Lab, tmp_path: Path
) -> None:
    cluster = await asyncio.to_thread(lab.cluster, 16)
    conf = cluster.handyrep_conf(tmp_path, failover=killing.ROUNDS)
    async with Writer(cluster) as writer:
        for when, number in BOUNDARIES:
            played = await killing.play(cluster, conf, writer, when, number)
            assert played.killed, f"it was not killed {when} record {number}"
            assert played.lost == frozenset()
            assert played.promoted_by_hand is ((when, number) == AFTER_THE_INTENT_TO_PROMOTE)
            assert "finished" in played.closings
