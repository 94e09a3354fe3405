"""The real clocks."""

import datetime as dt

from handyrep.adapters.clock import SystemClock


async def test_time_goes_on_and_knows_its_zone() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() > before
    assert clock.now().tzinfo is dt.UTC
