"""Keeps the master's list of synchronous replicas as synchronous_required wants it, while all is well.

Every list is on HandyRep's disk before it is ordered, and counts from then on. Decides nothing: decide/agreement.py does. Never works
beside a failover or an operation.
"""

import contextlib
import dataclasses

from handyrep.decide.agreement import Agreement, agreement
from handyrep.decide.promise import about_to_order, now_in_force
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.errors import BusyError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Member
from handyrep.model.observation import Picture
from handyrep.model.result import Result, fail
from handyrep.plugin_api.contract import Kind

_CALLS_OF_AN_ORDER = 5


class Agreeing:
    """`last`: how it stood at the last full look; None before that, and where synchronous_required is 0."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told = ""
        self.last: Agreement | None = None

    async def tend(self, picture: Picture) -> bool:
        """Order the next list, if there is one to order. Whether it was: then it is time for another full look."""
        self.last = self.seen(picture)
        if self.last is None or self.last.order is None:
            return False
        with contextlib.suppress(BusyError):
            async with self._engine.changing("setting synchronous_standby_names"):
                return await self._ordered(picture)
        return False

    def seen(self, picture: Picture) -> Agreement | None:
        """How it stands after this look."""
        engine = self._engine
        master = engine.cluster.master
        facts = picture.of(master.name).facts if master is not None else None
        if not engine.policy.synchronous_required or facts is None or facts.in_recovery:
            return None
        return agreement(engine.cluster, picture, engine.policy)

    async def _ordered(self, picture: Picture) -> bool:
        """What was seen may be of another day by now."""
        engine = self._engine
        active = await engine.may_act()
        now, master = self.seen(picture), engine.cluster.master
        if active.outcome is not Outcome.SUCCESS or engine.journal.open_run() is not None:
            return False
        if now is None or now.order is None or master is None:
            return False
        await self._order(master, now.order.text)
        return True

    async def _order(self, master: Member, text: str) -> None:
        """What could not be written down, for another HandyRep as well, is not ordered. Raises StateError."""
        engine = self._engine
        before = engine.cluster.ordered_lists
        engine.state.update(about_to_order(engine.cluster, text))
        if not engine.state.saved:
            return
        result = await engine.copies.spread()
        if result.outcome is Outcome.SUCCESS:
            patience_s = engine.settings.failover.call_timeout * _CALLS_OF_AN_ORDER
            result = await engine.hands.use(Kind.SYNC, server=master.server, names=text, patience_s=patience_s)
            engine.state.orders += 1
        else:
            result = fail(f"another HandyRep might not find it: {said(result)}")
        if result.outcome is Outcome.SUCCESS:
            engine.state.update(now_in_force(engine.cluster, text))
        elif result.outcome is Outcome.FAIL:
            engine.state.update(dataclasses.replace(engine.cluster, ordered_lists=before))
        self._tell(f"{master.name}: synchronous_standby_names {_told(result, text)}")

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._engine.events.record("list", text, {})
        self._told = text


def _told(result: Result, text: str) -> str:
    if result.outcome is Outcome.SUCCESS:
        return f"is {text}" + (f" ({result.details})" if result.details else "")
    how = "was not set" if result.outcome is Outcome.FAIL else "may have been set"
    return f"{how} to {text}: {said(result)}"
