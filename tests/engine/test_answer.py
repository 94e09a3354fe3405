"""A person's answer while HandyRep stands still. Found by tests/simulation, seed 20919."""

from typing import cast

import pytest

from handyrep.engine.check import new_run
from handyrep.errors import RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, RunKind, Step
from handyrep.operations.declare import Running
from handyrep.operations.mastership import answer
from tests.engine.world import Imagined
from tests.simulation.people import Desk


def killed_before(stage: str) -> tuple[Imagined, Running]:
    """HandyRep was killed in the middle of this stage of a failover from m1 to r1."""
    world = Imagined()
    world.boxes["m1"].up = False
    run = new_run(world.engine, RunKind.FAILOVER, "F17: m1 is gone")
    journal = world.engine.journal
    journal.open(run)
    for done in ("recheck", "fence", "choose", "promote", "confirm", "record"):
        subject = "fence_stop" if done == "fence" else ""
        journal.intend(run, Step(done, subject))
        if done == stage:
            break
        extra = {"proof": "off", "candidate": "r1"}
        journal.ended(run, Ended(Step(done, subject), Outcome.SUCCESS, "", extra))
    return world, cast("Running", Desk(world.engine, world.check))


async def test_a_new_master_that_is_not_recorded_cannot_be_settled() -> None:
    world, on = killed_before("record")
    with pytest.raises(RefusedError, match=r"r1 took writes and is not recorded as the master.*answer retry"):
        await answer(on, "settled")
    assert world.engine.journal.open_run() is not None


async def test_trying_again_records_it_and_then_goes_on_to_the_end() -> None:
    world, on = killed_before("record")
    result = await answer(on, "retry")
    assert (result.outcome is Outcome.SUCCESS, world.master) == (True, "r1")
    assert world.engine.journal.open_run() is None
    assert world.plugins.count("promotion.run") == 0


async def test_what_never_took_writes_can_be_settled() -> None:
    world, on = killed_before("confirm")
    await answer(on, "settled")
    assert (world.engine.journal.open_run(), world.master) == (None, "m1")


async def test_a_run_in_which_the_recorded_master_took_writes_can_be_settled() -> None:
    world, on = killed_before("record")
    await world.engine.executor.execute(world.engine.journal.runs()[0][0], Step("record"))
    await answer(on, "settled")
    assert (world.engine.journal.open_run(), world.master) == (None, "r1")
