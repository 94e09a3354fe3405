"""Keeps on every replica the list of synchronous replicas that it would have as the master, so that a failover finds it in force.

A list does nothing on a replica, and no promise rests on it before the stage `agree` has seen it. So it is given beside the checks, and
gives way to everything else: whatever changes the cluster ends it first.
"""

import asyncio
from collections.abc import Mapping

from handyrep.decide.agreement import lists_of_heirs
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.engine.pauses import holds_nothing
from handyrep.model.answer import Outcome
from handyrep.model.observation import Picture
from handyrep.plugin_api.contract import Kind

_CALLS_OF_AN_ORDER = 5


class Heirs:
    """`tend` begins a round; how each replica's ended is told when it changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: dict[str, str] = {}

    def tend(self, picture: Picture) -> None:
        """After a full look at a well master."""
        engine = self._engine
        if not engine.giving_way.idle or engine.is_changing or holds_nothing(engine):
            return
        lists = lists_of_heirs(engine.cluster, picture, engine.policy)
        if lists:
            engine.giving_way.begin(self._round(lists))

    async def _round(self, lists: Mapping[str, str]) -> None:
        active = await self._engine.may_act()
        if active.outcome is Outcome.SUCCESS:
            await asyncio.gather(*(self._contained(name, names) for name, names in lists.items()))

    async def _contained(self, name: str, names: str) -> None:
        """Nobody else would ever hear of an error."""
        engine = self._engine
        patience_s = engine.hands.calls_s(_CALLS_OF_AN_ORDER)
        try:
            server = engine.cluster.members[name].server
            result = await engine.hands.use(Kind.SYNC, server=server, names=names, patience_s=patience_s)
            why = "" if result.outcome is Outcome.SUCCESS else said(result)
        except Exception as error:  # noqa: BLE001 - see above
            why = str(error)
        ready = f"has {names} for the case that it becomes the master"
        text = f"{name}: synchronous_standby_names {ready if not why else f'could not be kept ready: {why}'}"
        if text != self._told.get(name):
            engine.events.record("heir", text, {"server": name})
        self._told[name] = text
