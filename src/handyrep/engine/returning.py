"""Brings servers back by itself while the master is well: replicas that follow nobody, and former masters, rung by rung.

Works beside the checks, one server at a time: a copy of hours must not keep HandyRep from failing over. It never touches the
master, and nothing of a former master is deleted that may be the only copy: that is the plugins' promise (rejoin, clone).
"""

import math

from handyrep.engine.beside import Beside
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.engine.slots import sentences
from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Member
from handyrep.model.observation import Picture, Seen
from handyrep.model.result import Result
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind

YES, NO = Answer.YES, Answer.NO
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0
_CALLS_OF_A_FOLLOW = 5
LADDER = ("nothing", "follow", "rewind", "reclone")
"""rejoin_up_to: how far up HandyRep goes by itself."""


class Returning:
    """`rungs` tells of each server that is on its way back where it stands."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.beside = Beside()
        self._not_before: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}
        self._own_wal: dict[str, str] = {}
        self._untidy: dict[str, float] = {}
        self.rungs: dict[str, str] = {}

    def tend(self, picture: Picture) -> None:
        """Begin to bring one server back, if there is one that needs it and nobody is at work already."""
        cluster = self._engine.cluster
        for name in (*cluster.deposed, *(master.name for master in cluster.masters)):
            self._untidy.setdefault(name, 0.0)
        if not self.beside.idle:
            return
        for member in cluster.replicas:
            seen = picture.of(member.name)
            if seen.replicating is YES:
                self.rungs.pop(member.name, None)
                self._not_before.pop(member.name, None)
                self._pause_s.pop(member.name, None)
                if self._may_be_tidied(member.name):
                    self.beside.begin(self._tidy(member))
                    return
            elif self._needs(member, seen) and self._is_due(member.name):
                self.beside.begin(self._bring_back(member.name, running=seen.up is YES))
                return

    def _may_be_tidied(self, name: str) -> bool:
        """Whether it was a master since HandyRep knows it, and may hold slots for others still."""
        due = self._engine.clock.monotonic() >= self._untidy.get(name, math.inf)
        return due and self._engine.hands.able(Kind.SLOTS, "tidy")

    async def _tidy(self, member: Member) -> None:
        """What it had for others when it was the master is of no use there, and would keep its WAL for ever."""
        engine = self._engine
        self._untidy[member.name] = engine.clock.monotonic() + _LONGEST_PAUSE_S
        if (await engine.may_act()).outcome is not Outcome.SUCCESS:
            return
        result = await engine.hands.use(Kind.SLOTS, "tidy", server=member.server)
        if _well(result):
            self._untidy.pop(member.name, None)
        if not _well(result) or result.extra.get("dropped"):
            engine.events.record("slots", f"{member.name}: {said(result)}", {"server": member.name})

    def _needs(self, member: Member, seen: Seen) -> bool:
        """A replica that runs and receives from nobody, or where it was led before the failover; a former master that has stopped.

        One that receives from another replica because a person wants it so is let be.
        """
        if seen.up is YES:
            astray = member.name in self._engine.cluster.astray
            misled = seen.facts is not None and seen.facts.in_recovery and (astray or not seen.facts.receiving)
            return misled and seen.replicating is NO and self._engine.policy.remaster
        stopped = seen.host_answers is YES and seen.running is NO
        return stopped and member.name in self._engine.cluster.deposed

    def _is_due(self, name: str) -> bool:
        return self._engine.clock.monotonic() >= self._not_before.get(name, 0.0)

    async def _bring_back(self, name: str, *, running: bool) -> None:
        engine = self._engine
        try:
            active = await engine.may_act()
            master = engine.cluster.master
            if active.outcome is Outcome.SUCCESS and master is not None and engine.journal.open_run() is None:
                await (self._follow(name, master.name) if running else self._climb(name, master.name))
        except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
            self._tell(name, f"could not be brought back: {error}")
        pause_s = min(self._pause_s.get(name, _FIRST_PAUSE_S / 2) * 2, _LONGEST_PAUSE_S)
        self._pause_s[name], self._not_before[name] = pause_s, engine.clock.monotonic() + pause_s

    async def _follow(self, name: str, master: str) -> None:
        """Only the order excludes a failover: one that it met half-way could be counting on what this replica receives."""
        engine = self._engine
        async with engine.changing(f"re-pointing {name}"):
            patience_s = engine.settings.failover.call_timeout * _CALLS_OF_A_FOLLOW
            server = engine.cluster.members[name].server
            await engine.hands.use(Kind.SLOTS, newmaster=master, patience_s=patience_s)
            result = await engine.hands.use(Kind.FOLLOW, server=server, newmaster=master, patience_s=patience_s)
        told = "; ".join([f"was told to receive from {master}", *sentences(result.extra.get("warnings"))])
        self._tell(name, told if _well(result) else f"follows nobody: {said(result)}")

    async def _climb(self, name: str, master: str) -> None:
        """The lowest rung that works; the rungs above what rejoin_up_to allows are left to a person.

        It ends once the server was started as a replica: whether it receives is for the next look to see. A failover that comes
        meanwhile counts on it again, and one that cannot receive from a master that is gone is not copied anew for that.
        """
        with self._engine.working_on(name, "bringing it back"):
            await self._climbed(name, master)

    async def _climbed(self, name: str, master: str) -> None:
        allowed = LADDER.index(self._engine.settings.failover.rejoin_up_to)
        if allowed == LADDER.index("nothing"):
            self._tell(name, f"is fenced, and rejoin_up_to = nothing: bring it back with: handyrep remaster {name}")
            return
        result = await self._rejoined(name, master, may_rewind=allowed >= LADDER.index("rewind"))
        self._tell_own_wal(name, result)
        if result.outcome is Outcome.FAIL and allowed == LADDER.index("reclone") and self._is_well(master):
            self._tell(name, f"{said(result)}; it is copied anew from {master}")
            server = self._engine.cluster.members[name].server
            result = await self._engine.hands.use(Kind.CLONE, server=server, clonefrom=master, reclone=True)
            self._tell_own_wal(name, result)
        self._tell(
            name,
            f"was started as a replica of {master}. {result.details}".strip()
            if _well(result)
            else f"is not back: {said(result)}",
        )

    def _is_well(self, master: str) -> bool:
        """Whether it is the recorded master still, and answers."""
        recorded = self._engine.cluster.master
        gone = (Health.DOWN, Health.UNAVAILABLE)
        return recorded is not None and recorded.name == master and recorded.status.health not in gone

    async def _rejoined(self, name: str, master: str, *, may_rewind: bool) -> Result:
        how = (
            "it follows where nothing has parted, else it is rewound"
            if may_rewind
            else "it follows if nothing has parted"
        )
        self._tell(name, f"is fenced; {how}")
        server, method = self._engine.cluster.members[name].server, "run" if may_rewind else "follow"
        return await self._engine.hands.use(Kind.REJOIN, method, server=server, newmaster=master)

    def _tell_own_wal(self, name: str, result: Result) -> None:
        """Once, whatever becomes of the server: it is what somebody must look at."""
        own = result.extra.get("diverged")
        told = f"{own.get('headline')}; kept in {own['kept']}" if isinstance(own, dict) and own.get("kept") else ""
        if told and self._own_wal.get(name) != told:
            self._engine.events.record("diverged", f"{name}: {told}", {"server": name, "diverged": own})
            self._own_wal[name] = told

    def _tell(self, name: str, text: str) -> None:
        if self.rungs.get(name) != text:
            self._engine.events.record("returning", f"{name} {text}", {"server": name})
        self.rungs[name] = text


def _well(result: Result) -> bool:
    return result.outcome is Outcome.SUCCESS
