"""Leads the proxies to the recorded master again, until every one of them was seen to: one may have been away when they were re-pointed.

Sees too whether they lead where they should now: one may have come back with an old file, and a replica that lags is not read from.
Works beside the checks, and only while the master is well. Which server is the master is never decided here.
"""

import dataclasses

from handyrep.engine.beside import Beside
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.model.answer import Answer, Outcome
from handyrep.model.observation import Picture
from handyrep.model.server import Role
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
_BETWEEN_LOOKS_S = 10.0
"""So long apart at least are looks for a replica's sake: one that comes and goes must not let readers be moved all the time."""


class Proxies:
    """`told`: why some may not lead to the master; '' when all were seen to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.beside = Beside()
        self._not_before = 0.0
        self._pause_s = 0.0
        self._up: frozenset[str] = frozenset()
        self._replicas: frozenset[tuple[str, Health]] = frozenset()
        self._looked_at_s = float("-inf")
        self.told = ""

    def tend(self, picture: Picture) -> None:
        """Begin to re-point them if some may be behind: with growing pauses, and at once when one is seen again that was away."""
        cluster = self._engine.cluster
        proxies = (*cluster.by_role(Role.PGBOUNCER), *cluster.by_role(Role.PROXY))
        up = frozenset(member.name for member in proxies if picture.of(member.name).up is Answer.YES)
        came_back, self._up = up - self._up, up
        if not self._engine.hands.configured(Kind.CONNECTION_FAILOVER):
            self.told, self._pause_s = "", 0.0
        elif not cluster.proxies_behind:
            self.told, self._pause_s = "", 0.0
            self._compare(came_back=bool(came_back))
        elif self.beside.idle and (came_back or self._engine.clock.monotonic() >= self._not_before):
            self.beside.begin(self._repoint())

    def _compare(self, *, came_back: bool) -> None:
        """Begin to look where they lead: at each that came back, and when what is known of the replicas has changed."""
        engine = self._engine
        replicas = frozenset((member.name, member.status.health) for member in engine.cluster.replicas)
        rested = engine.clock.monotonic() - self._looked_at_s >= _BETWEEN_LOOKS_S
        due = came_back or (replicas != self._replicas and rested)
        if due and self.beside.idle and engine.hands.able(Kind.CONNECTION_FAILOVER, "leads"):
            self._looked_at_s = engine.clock.monotonic()
            self.beside.begin(self._look(replicas))

    async def _look(self, replicas: frozenset[tuple[str, Health]]) -> None:
        """That some lead elsewhere is written down, and the next check begins to lead them where they should."""
        engine = self._engine
        try:
            if (await engine.may_act()).outcome is not Outcome.SUCCESS:
                return
            found = await engine.hands.use(Kind.CONNECTION_FAILOVER, "leads")
            behind = bool(found.extra.get("behind"))
            if found.outcome is Outcome.SUCCESS or behind:
                self._replicas = replicas
            if behind and engine.journal.open_run() is None:
                engine.state.update(dataclasses.replace(engine.cluster, proxies_behind=True))
                engine.events.record("proxies", f"proxies do not lead where they should: {said(found)}", {})
        except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
            engine.events.record("proxies", f"it could not be seen where the proxies lead: {error}", {})

    async def _repoint(self) -> None:
        engine = self._engine
        try:
            async with engine.changing("re-pointing the proxies"):
                active = await engine.may_act()
                if active.outcome is Outcome.SUCCESS and engine.journal.open_run() is None:
                    await self._repoint_to_the_master()
        except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
            self.told = str(error)
        self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._not_before = engine.clock.monotonic() + self._pause_s

    async def _repoint_to_the_master(self) -> None:
        """The check that began this may be a while ago: the master is looked at again before clients are led there."""
        engine, master = self._engine, self._engine.cluster.master
        facts = await engine.observer.facts(master.name) if master is not None else None
        if master is None or facts is None or facts.in_recovery:
            return
        result = await engine.executor.repoint(master.name)
        self._tell("" if result.outcome is Outcome.SUCCESS else said(result), master.name)

    def _tell(self, told: str, master: str) -> None:
        if told != self.told or not told:
            text = f"the proxies may not all lead to {master}: {told}" if told else f"every proxy leads to {master}"
            self._engine.events.record("proxies", text, {"master": master})
        self.told = told
