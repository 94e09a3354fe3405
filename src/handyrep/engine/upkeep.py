"""Keeps up what some fences rest on while the master is well, and takes it away from servers where it is not wanted any more.

Works beside the checks, one round at a time. Never while a run stands open: a fence may be reckoning from the last time it was kept
up. Where something was kept up stands in the cluster's state before it is done, so that it is found again whatever happens.
"""

import dataclasses

from handyrep.engine.beside import Beside
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.engine.kept_up import Pair, called, wanted
from handyrep.engine.pauses import holds_nothing, maintenance_left_s
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Picture
from handyrep.model.result import Result


class Upkeep:
    """`tend` begins a round; what comes of it is told when it changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.beside = Beside()
        self._told: dict[Pair, str] = {}

    def tend(self, picture: Picture) -> None:
        """After a look at a well master. Maintenance does not end it: a lease that runs out would stop a master that is well."""
        if self.beside.idle and (self._due() or self._engine.cluster.kept_up):
            self.beside.begin(self._round(picture))

    def _due(self) -> tuple[Pair, ...]:
        if holds_nothing(self._engine):
            return ()
        return wanted(self._engine.hands, self._engine.settings, self._engine.cluster)

    async def _round(self, picture: Picture) -> None:
        active = await self._engine.may_act()
        if active.outcome is not Outcome.SUCCESS:
            return
        for pair in self._due():
            await self._contained(pair, "keep")
        for pair in self._engine.cluster.kept_up:
            if pair not in self._due() and self._may_leave(pair[1], picture):
                await self._contained(pair, "leave")

    def _may_leave(self, name: str, picture: Picture) -> bool:
        """A former master keeps what holds it down until it is a replica again."""
        cluster = self._engine.cluster
        held_back = cluster.frozen or maintenance_left_s(self._engine)
        return not held_back and name not in cluster.deposed and picture.of(name).up is Answer.YES

    async def _contained(self, pair: Pair, method: str) -> None:
        """Whatever was awaited before this, the master may be another one meanwhile: what a proof was built on is never kept up again."""
        try:
            if self._engine.journal.open_run() is not None or (pair in self._due()) is (method == "leave"):
                return
            result = await (self._keep(pair) if method == "keep" else self._leave(pair))
            told = "" if result.outcome is Outcome.SUCCESS else said(result)
        except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
            told = str(error)
        if told != self._told.get(pair, ""):
            what = "is kept up" if method == "keep" else "was taken away"
            text = f"{pair[0]} {what} on {pair[1]}" if not told else f"{pair[0]} on {pair[1]}: {method} failed: {told}"
            self._engine.events.record("upkeep", text, {"server": pair[1], "fence": pair[0]})
        self._told[pair] = told

    async def _keep(self, pair: Pair) -> Result:
        if pair not in self._engine.cluster.kept_up:
            self._remember((*self._engine.cluster.kept_up, pair))
        return await called(self._engine.hands, pair, "keep")

    async def _leave(self, pair: Pair) -> Result:
        result = await called(self._engine.hands, pair, "leave")
        if result.outcome is Outcome.SUCCESS:
            self._remember(tuple(one for one in self._engine.cluster.kept_up if one != pair))
        return result

    def _remember(self, kept_up: tuple[Pair, ...]) -> None:
        self._engine.state.update(dataclasses.replace(self._engine.cluster, kept_up=kept_up))
