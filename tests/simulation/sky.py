"""What happens to a cluster that is well: its network, hosts and clock as HandyRep's calls meet them, in imagined time that calls share.

Every call takes its time, fails when what it needs is away, and is given up at its deadline. Nothing here ever stops PostgreSQL: whatever
HandyRep then does to the master is wrong.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Mapping
from random import Random
from typing import Any

from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.engine.monitor import Monitor
from handyrep.engine.state import State
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail
from handyrep.plugin_api.contract import Kind
from tests.engine.world import Box, Events, FakePlugins, MemoryLog, MemoryStore
from tests.factories import make_cluster, make_settings

MASTER, REPLICAS = "m1", ("r1", "r2")
_QUICK_S, _SSH_S = 0.003, 0.02
_RETRANSMIT_S = 0.2
"""So much later TCP sends again what was lost; the first packet of a new connection only after a second."""


@dataclasses.dataclass
class Sky:
    """What is wrong at this moment. `loss`: the share of packets that the master's cable loses."""

    master_away: bool = False
    handyrep_away: bool = False
    handyrep_and_master_apart: bool = False
    too_many_clients: bool = False
    no_sshd: bool = False
    no_names: bool = False
    stall_s: float = 0.0
    loss: float = 0.0
    clock_off_s: float = 0.0


class SkyClock:
    """ports.Clock in the loop's time."""

    def __init__(self, sky: Sky) -> None:
        self._sky = sky

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.monotonic() + self._sky.clock_off_s)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


class Called(FakePlugins):
    """Stands where Caller stands. `failed`: how many looks at the master found nobody."""

    def __init__(self, boxes: dict[str, Box], sky: Sky, rng: Random, call_timeout_s: float) -> None:
        super().__init__(boxes)
        self.sky = sky
        self._rng = rng
        self._call_timeout_s = call_timeout_s
        self.failed = 0
        self._heard_at = 0.0

    async def call(
        self, kind: Kind, name: str, method: str = "run", arguments: Mapping[str, Any] | None = None, *, cluster: Cluster, deadline_s: float
    ) -> Result:  # fmt: skip
        given = dict(arguments or {})
        key, server = f"{kind.value}.{method}", str(given.get("servername", given.get("replicaserver", "")))
        self.calls.append(f"{key} {server}".strip())
        took_s, answers = (_SSH_S, True) if name == "fence_starve" else self._way(key, server)
        patience_s = min(deadline_s, self._call_timeout_s) if key in ("poll.once", "poll.run") else deadline_s
        await asyncio.sleep(min(took_s, patience_s) if answers else patience_s)
        if not answers or took_s > patience_s:
            self.failed += key == "poll.once" and server == MASTER
            return fail("no answer", no=True) if key == "inspect.sees" and took_s <= patience_s else fail("no answer")
        if key.startswith("poll.") and server == MASTER and self.sky.too_many_clients:
            self.failed += 1
            return fail("too many clients", alive=True)
        return await super().call(kind, name, method, arguments, cluster=cluster, deadline_s=deadline_s)

    def _way(self, key: str, server: str) -> tuple[float, bool]:
        """(how long the answer takes, whether it ever comes). fence_starve asks only replicas."""
        over_ssh = key in ("inspect.host", "inspect.sees", "restart.run", "fence.test", "fence.run")
        took_s = (_SSH_S if over_ssh else _QUICK_S) + self.sky.stall_s * self._rng.random()
        if server == "":
            return took_s, True
        fresh = key.startswith("poll.")
        away = self.sky.handyrep_away or (over_ssh and self.sky.no_sshd) or (fresh and self.sky.no_names)
        if server == MASTER:
            away = away or self.sky.master_away or self.sky.handyrep_and_master_apart
            took_s += self._late_s(fresh=fresh)
        if key == "inspect.sees" and server != MASTER:
            took_s += self._late_s(fresh=True)
            return took_s, not (away or self.sky.master_away)
        return took_s, not away

    def _late_s(self, *, fresh: bool) -> float:
        """What lost packets add: two of a new connection, two of a question and its answer."""
        late_s = 0.0
        for packet in range(4 if fresh else 2):
            again_s = 1.0 if fresh and packet < 2 else _RETRANSMIT_S
            while self._rng.random() < self.sky.loss:
                late_s, again_s = late_s + again_s, again_s * 2
        return late_s

    def _inspect_run(self, given: Mapping[str, Any]) -> Result:
        """A replica receives, and last heard from a busy master when its cable let something through."""
        found = super()._inspect_run(given)
        now_s = asyncio.get_running_loop().time()
        if not self.sky.master_away and self._rng.random() >= self.sky.loss:
            self._heard_at = now_s - self._rng.random() * 0.1
        server = str(given["servername"])
        if server == MASTER:
            return found
        return dataclasses.replace(
            found, extra={**found.extra, "receiving": True, "message_age_s": now_s - self._heard_at}
        )


class Watch:
    """A HandyRep that watches under this sky: its monitor is the real one."""

    def __init__(self, sky: Sky, rng: Random, failover: dict[str, Any]) -> None:
        boxes = {MASTER: Box(master=True), **{name: Box(receiving=True) for name in REPLICAS}}
        settings = make_settings(failover={"auto_failover": True, **failover})
        self.plugins = Called(boxes, sky, rng, settings.failover.call_timeout)
        clock = SkyClock(sky)
        state = State(make_cluster(system_identifier="1"), MemoryStore(), Events(), clock)
        self.engine = Engine(settings, self.plugins, state, MemoryLog(), Events(), clock)  # type: ignore[arg-type] # stands in for Caller
        self.check = Check(self.engine)
        self.monitor = Monitor(self.engine, self.check)

    @property
    def acted(self) -> list[str]:
        """What was done to servers."""
        return [
            call for call in self.plugins.calls if call.startswith(("fence.run", "promotion.run", "restart.run start"))
        ]
