"""Maintenance: for a while, with an end that is set beforehand, HandyRep only looks."""

import dataclasses
import datetime as dt

from handyrep.engine.pauses import holds_nothing
from handyrep.errors import RefusedError
from handyrep.model.result import Result, success
from handyrep.operations.actions import only_if_active
from handyrep.operations.declare import Running, operation
from handyrep.operations.servers import free_of_runs

LONGEST_MINUTES = 7 * 24 * 60


@operation("Actions", changes=True, minutes="how long, at most a week", reason="why; shown to everybody who asks")
async def start_maintenance(on: Running, minutes: int, reason: str) -> Result:
    """Let HandyRep only look for a while: no automatic failover, nothing brought back. It ends by itself."""
    if not 1 <= minutes <= LONGEST_MINUTES:
        raise RefusedError(f"minutes must be between 1 and {LONGEST_MINUTES}: maintenance that never ends is forgotten")
    if not reason.strip():
        raise RefusedError("the reason is empty: say why, for whoever looks at three in the morning")
    async with on.engine.changing("starting maintenance"):
        await only_if_active(on)
        free_of_runs(on)
        until = on.engine.steady.now() + dt.timedelta(minutes=minutes)
        _set(on, until, reason.strip())
        on.engine.events.record("maintenance", f"maintenance until {until:%Y-%m-%d %H:%M} UTC: {reason.strip()}", {})
        return success(f"HandyRep only looks until {until:%Y-%m-%d %H:%M} UTC", until=until.isoformat())


@operation("Actions", changes=True)
async def end_maintenance(on: Running) -> Result:
    """Let HandyRep act again before maintenance ends by itself."""
    async with on.engine.changing("ending maintenance"):
        await only_if_active(on)
        if on.engine.cluster.maintenance_until is None:
            return success("there was no maintenance")
        _set(on, None, "")
        on.engine.events.record("maintenance", "maintenance was ended by a person", {})
        return success("HandyRep acts again")


def _set(on: Running, until: dt.datetime | None, reason: str) -> None:
    """What was released before stays released only as long as one maintenance follows the other without a gap."""
    cluster, released = on.engine.cluster, until is not None and holds_nothing(on.engine)
    on.engine.state.update(
        dataclasses.replace(cluster, maintenance_until=until, maintenance_reason=reason, released=released)
    )
