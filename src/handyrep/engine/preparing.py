"""Lets whatever leads the proxies prepare, while all is well, for the replica that would take over now: in a failover clients wait for it.

What is prepared changes nothing, and a failover does without it. So it is done beside the checks, and gives way to everything else.
"""

import dataclasses

from handyrep.decide.foresight import foresee
from handyrep.engine.engine import Engine
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture
from handyrep.model.status import Health, Status
from handyrep.plugin_api.contract import Kind

_EVERY_S, _AGAIN_S = 60.0, 5.0


class Preparing:
    """`tend` begins it, once a minute; sooner where it was called off, or nobody could take over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._not_before = float("-inf")

    def tend(self, picture: Picture) -> None:
        """After a look at a well master."""
        engine = self._engine
        rested = engine.clock.monotonic() >= self._not_before
        idle = engine.giving_way.idle and not engine.is_changing
        if rested and idle and engine.hands.able(Kind.CONNECTION_FAILOVER, "hasten"):
            self._not_before = engine.clock.monotonic() + _AGAIN_S
            engine.giving_way.begin(self._contained(picture))

    async def _contained(self, picture: Picture) -> None:
        """Nobody else would ever hear of an error."""
        try:
            await self._prepared(picture)
        except Exception as error:  # noqa: BLE001 - see above
            self._engine.events.record("proxies", f"nothing was prepared at the proxies: {error}", {})

    async def _prepared(self, picture: Picture) -> None:
        engine = self._engine
        if (await engine.may_act()).outcome is not Outcome.SUCCESS:
            return
        ordered, _ = await engine.hands.select()
        heir = foresee(ordered, engine.cluster, picture, engine.policy, final=False, estimated=None).candidate
        if heir:
            await engine.hands.use(Kind.CONNECTION_FAILOVER, "hasten", newmaster=heir, cluster=self._under(heir))
            self._not_before = engine.clock.monotonic() + _EVERY_S

    def _under(self, heir: str) -> Cluster:
        """The cluster as it would be taken over: the master is down."""
        engine, cluster = self._engine, self._engine.cluster
        if cluster.master is None:
            raise AssertionError("only a cluster with one recorded master is tended")
        down = dataclasses.replace(cluster.master, status=Status(Health.DOWN))
        taken_over = cluster.with_member(down).handed_over(down.name, heir)
        return dataclasses.replace(taken_over, epoch=engine.journal.next_epoch(cluster.epoch))
