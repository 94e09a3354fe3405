"""What of the journal is on the disk before anything is done."""

from collections.abc import Mapping
from typing import Any

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.decide import stages
from handyrep.engine.check import new_run
from handyrep.engine.journal import Journal
from handyrep.model.run import RunKind, Step
from tests.engine.world import Imagined, MemoryLog


class Watched(MemoryLog):
    """Which records were made durable at once."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[str] = []

    def append(self, record: Mapping[str, Any]) -> None:
        self.durable.append(str(record["what"]))
        super().append(record)

    def note(self, record: Mapping[str, Any]) -> None:
        super().append(record)


@pytest.mark.parametrize("stage", stages.BY_ID.values(), ids=lambda stage: stage.id)
def test_that_a_step_begins_is_durable_before_it_does_unless_it_only_looks(stage: stages.Stage) -> None:
    log = Watched()
    journal, run = Journal(log, SystemClock()), new_run(Imagined().engine, RunKind.FAILOVER, "F17: m1 is gone")
    journal.open(run)
    journal.intend(run, Step(stage.id, "r1"))
    looks = stage.id in ("recheck", "choose")
    assert log.durable == ["open", *([] if looks else ["intend"])]
    assert [record["what"] for record in log.records] == ["open", "intend"]
    found = journal.open_run()
    assert found is not None
    assert found.ended[-1].step == Step(stage.id, "r1")
