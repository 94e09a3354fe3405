"""The loop: when the next check comes."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from handyrep.engine.monitor import Monitor, rest_s
from handyrep.model.result import Result, success
from tests.engine.world import Imagined


@pytest.mark.parametrize(("took_s", "rest"), [(0.0, 2.0), (0.5, 1.5), (1.9, 0.5), (60.0, 0.5)])
def test_a_slow_check_delays_no_other_but_the_servers_have_a_rest(took_s: float, rest: float) -> None:
    assert rest_s(2.0, took_s) == pytest.approx(rest)


async def test_the_next_check_begins_a_poll_interval_after_the_last_began(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Imagined(poll_interval=2.0)
    monitor = Monitor(world.engine, world.check)
    began: list[float] = []
    takes: Iterator[float] = iter((0.1, 1.2, 5.0, 0.0))

    async def check(*, verify: bool) -> Result:
        began.append(world.clock.monotonic())
        if len(began) == 4:
            raise asyncio.CancelledError
        await world.clock.sleep(next(takes))
        return success()

    monkeypatch.setattr(world.check, "run", check)
    monkeypatch.setattr(monitor, "_rest", world.clock.sleep)
    with pytest.raises(asyncio.CancelledError):
        await monitor.run()
    assert [round(after - before, 3) for before, after in itertools.pairwise(began)] == [2.0, 2.0, 5.5]
