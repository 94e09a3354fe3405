"""Looks: a light poll, a full verify, and what the look from everywhere is made of. All servers at once.

Owns how plugins' results become what was seen. Decides nothing.
"""

import asyncio
import dataclasses
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from handyrep.engine.hands import Hands, said
from handyrep.engine.state import State
from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Member
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


class Trying(enum.Enum):
    """How hard a look tries to reach a server: the method of the poll plugin, how many times call_timeout an answer over SSH may take, and
    what a PostgreSQL that was polled just before is asked.

    AGAIN leaves the retries to the plugin. UNHURRIED is for who sees to them himself, and ONCE for who has no time either: a login over
    SSH may take longer than that.
    """

    AGAIN = ("run", 3, 3)
    UNHURRIED = ("once", 3, 1)
    ONCE = ("once", 1, 1)

    def __init__(self, method: str, calls: int, asking_calls: int) -> None:
        self.method = method
        self.calls = calls
        self.asking_calls = asking_calls


class Observer:
    """Every look returns a Picture and changes nothing."""

    def __init__(self, hands: Hands, state: State) -> None:
        self._hands = hands
        self._state = state

    async def poll(self, *names: str) -> Picture:
        """The light look, at these servers or at all enabled ones."""
        return await self._look(lambda member: self.lightly(member, Trying.AGAIN), names, verified=False)

    async def glance(self, *names: str) -> Picture:
        """What these PostgreSQLs say of themselves, by one login each: enough to compare their positions."""
        return await self._look(lambda member: self._heard(member, Trying.AGAIN), names, verified=False)

    async def briefly(self, member: Member, trying: Trying) -> Seen:
        """The light look at a server that is not the master: one that answers where HandyRep is logged in is not polled as well.

        Most of what a light look costs is polling; whether it lets others in too is for the full looks.
        """
        heard = await self._heard(member, trying) if member.server.is_postgres else Seen()
        return heard if heard.up is YES else await self.lightly(member, trying)

    async def witness(self, member: Member, trying: Trying) -> Seen:
        """A replica as it is needed when the master is suspected: where it stands; of one that does not say so, whether its host answers."""
        heard = await self._heard(member, trying)
        if heard.up is YES:
            return heard
        seen, host = await asyncio.gather(self.lightly(member, trying), self._host(member.server, trying))
        return dataclasses.replace(seen, host_answers=host[0], notes=(*seen.notes, *host[1]))

    async def _heard(self, member: Member, trying: Trying) -> Seen:
        facts = await self.facts(member.name, trying)
        return Seen() if facts is None else Seen(up=YES, alive=YES, facts=facts)

    async def verify(self, *names: str) -> Picture:
        """The full look: also logs in, writes on the master, checks host, service, replication and lag."""
        return await self._look(lambda member: self.fully(member, Trying.AGAIN), names, verified=True)

    async def lightly(self, member: Member, trying: Trying) -> Seen:
        """One server in the light look."""
        if member.server.is_postgres:
            return await self._polled_postgres(member.server, trying)
        if member.server.role in (Role.PGBOUNCER, Role.PROXY):
            return await self._polled_proxy(member.server)
        return Seen()

    async def fully(self, member: Member, trying: Trying) -> Seen:
        """One server in the full look: all that can be asked at once is, and what takes longest is asked first."""
        server = member.server
        if not server.is_postgres:
            polled, host = await asyncio.gather(self.lightly(member, trying), self._host(server, trying))
            return dataclasses.replace(polled, host_answers=host[0], notes=(*polled.notes, *host[1]))
        service, host, polled = await asyncio.gather(
            self._service(server, trying), self._host(server, trying), self._measured(server, trying)
        )
        running, told = service if host[0] is YES else (UNKNOWN, ())
        return dataclasses.replace(
            polled, host_answers=host[0], running=running, notes=(*polled.notes, *host[1], *told)
        )

    async def facts(self, name: str, trying: Trying = Trying.AGAIN) -> PostgresFacts | None:
        """What one PostgreSQL of this cluster says of itself now; None when it cannot be asked."""
        server, patience_s = self._state.cluster.members[name].server, self._hands.calls_s(trying.calls)
        result = await self._hands.use(Kind.INSPECT, server=server, patience_s=patience_s)
        facts = parse_facts(result)[0]
        return None if facts is None or self._is_strange(facts) else facts

    async def running(self, server: Server, trying: Trying = Trying.AGAIN) -> Answer:
        """What the service status of a server says."""
        return (await self._service(server, trying))[0]

    def _is_strange(self, facts: PostgresFacts) -> bool:
        return facts.system_identifier != (self._state.cluster.system_identifier or facts.system_identifier)

    async def sees(self, server: Server, master: str) -> Answer:
        """Whether a server's own host reaches the master. It waits there for a whole call_timeout when the master is silent."""
        patience_s = self._hands.calls_s(Trying.ONCE.calls + 1)
        result = await self._hands.use(Kind.INSPECT, "sees", server=server, mastername=master, patience_s=patience_s)
        if result.outcome is Outcome.SUCCESS:
            return YES
        return NO if result.extra.get("no") is True else UNKNOWN

    async def _look(
        self, look: Callable[[Member], Awaitable[Seen]], names: tuple[str, ...], *, verified: bool
    ) -> Picture:
        members = [m for m in self._state.cluster.enabled if not names or m.name in names]
        return await self._look_at(members, look, verified=verified)

    async def _look_at(
        self, members: Sequence[Member], look: Callable[[Member], Awaitable[Seen]], *, verified: bool
    ) -> Picture:
        orders = self._state.orders
        seen = await asyncio.gather(*(look(member) for member in members))
        named = {member.name: one for member, one in zip(members, seen, strict=True)}
        return Picture(seen=MappingProxyType(named), verified=verified, orders=orders)

    async def _polled_postgres(self, server: Server, trying: Trying) -> Seen:
        """Even a light look asks whether it is in recovery: a second master must not go unseen until the next full one.

        One that lets HandyRep in and then says nothing is polled again: it may have gone between the two.
        """
        seen = await self._polled(server, trying)
        if seen.up is not YES:
            return seen
        asked = await self._hands.use(Kind.INSPECT, server=server, patience_s=self._hands.calls_s(trying.asking_calls))
        facts, problem = parse_facts(asked)
        if facts is not None and self._is_strange(facts):
            return dataclasses.replace(seen, stranger=facts.system_identifier)
        if asked.outcome is not Outcome.SUCCESS and asked.extra.get("alive") is not True:
            seen = await self._polled(server, trying)
        return dataclasses.replace(seen, facts=facts, notes=(*seen.notes, *((problem,) if problem else ())))

    async def _polled(self, server: Server, trying: Trying) -> Seen:
        return seen_from_poll(await self._hands.use(Kind.POLL, self._poll_method(trying), server=server))

    def _poll_method(self, trying: Trying) -> str:
        """A plugin that can only try again and again does so."""
        return trying.method if self._hands.able(Kind.POLL, trying.method) else Trying.AGAIN.method

    async def _polled_proxy(self, server: Server) -> Seen:
        if not self._hands.polls_proxies:
            return Seen(notes=("connection_failover_method is blank or poll_connection_proxy is off",))
        result = await self._hands.use(Kind.CONNECTION_FAILOVER, "poll", server=server)
        up = YES if result.outcome is Outcome.SUCCESS else NO
        return Seen(up=up, alive=up if up is YES else UNKNOWN, notes=() if up is YES else (said(result),))

    async def _measured(self, server: Server, trying: Trying) -> Seen:
        """The light look, and whether the master takes a write, or how far behind a replica is."""
        polled = await self._polled_postgres(server, trying)
        if polled.up is not YES or polled.stranger:
            return polled
        part, notes = await (self._written(server) if server.role == Role.MASTER else self._lag(server))
        return dataclasses.replace(polled, **part, notes=(*polled.notes, *notes))

    async def _host(self, server: Server, trying: Trying) -> tuple[Answer, tuple[str, ...]]:
        patience_s = self._hands.calls_s(trying.calls)
        result = await self._hands.use(Kind.INSPECT, "host", server=server, patience_s=patience_s)
        return (YES, ()) if result.outcome is Outcome.SUCCESS else (NO, (f"host: {said(result)}",))

    async def _service(self, server: Server, trying: Trying) -> tuple[Answer, tuple[str, ...]]:
        patience_s = self._hands.calls_s(trying.calls)
        result = await self._hands.use(Kind.RESTART, server=server, runmode="status", patience_s=patience_s)
        running = _running(result)
        return running, () if running is YES else (f"service: {said(result)}",)

    async def _written(self, server: Server) -> tuple[dict[str, Any], tuple[str, ...]]:
        result = await self._hands.use(Kind.INSPECT, "write", server=server)
        if result.outcome is Outcome.SUCCESS:
            return {"writable": YES, "stalled": NO}, ()
        return {"stalled": _answer(result.extra.get("stalled"))}, (f"write: {said(result)}",)

    async def _lag(self, server: Server) -> tuple[dict[str, Any], tuple[str, ...]]:
        result = await self._hands.use(Kind.REPLICATION_STATUS, server=server)
        replicating = _answer(result.extra.get("replicating"))
        if result.outcome is not Outcome.SUCCESS:
            return {}, (f"replication: {said(result)}",)
        lag = result.extra.get("lag")
        number = float(lag) if isinstance(lag, int | float) and not isinstance(lag, bool) else None
        return {"replicating": replicating, "lag": number}, (
            result.details,
        ) if replicating is NO and result.details else ()


def _answer(value: object) -> Answer:
    """True and False of an RD; anything else is not known."""
    if value is True:
        return YES
    return NO if value is False else UNKNOWN


def _running(result: Result) -> Answer:
    if result.outcome is Outcome.SUCCESS:
        return YES
    return NO if result.extra.get("running") is False else UNKNOWN


def seen_from_poll(result: Result) -> Seen:
    """A poll: SUCCESS is up; a FAIL is not up, and only alive = True in it is a sign of life."""
    if result.outcome is Outcome.SUCCESS:
        return Seen(up=YES, alive=YES)
    return Seen(up=NO, alive=YES if result.extra.get("alive") is True else UNKNOWN, notes=(f"poll: {said(result)}",))


def parse_facts(result: Result) -> tuple[PostgresFacts | None, str]:
    """(facts, '') or (None, why there are none). A forged or impossible value means that nothing is known."""
    if result.outcome is not Outcome.SUCCESS:
        return None, f"login: {said(result)}"
    try:
        return _facts(result.extra), ""
    except (KeyError, TypeError, ValueError) as error:
        return None, f"login: the inspect plugin gave an impossible answer ({type(error).__name__}: {error})"


def _facts(extra: Mapping[str, Any]) -> PostgresFacts:
    in_recovery, timeline = extra["in_recovery"], extra["timeline"]
    if not isinstance(in_recovery, bool) or isinstance(timeline, bool) or not isinstance(timeline, int) or timeline < 1:
        raise ValueError(f"in_recovery {in_recovery!r}, timeline {timeline!r}")
    replayed, age_s = extra.get("replayed_lsn"), extra.get("message_age_s")
    return PostgresFacts(
        in_recovery=in_recovery,
        system_identifier=str(extra["system_identifier"]),
        timeline=timeline,
        version_num=int(extra["version_num"]),
        received_lsn=Lsn.parse(extra["received_lsn"]),
        replayed_lsn=None if replayed is None else Lsn.parse(replayed),
        replay_paused=extra.get("replay_paused") is True,
        upstream=str(extra.get("upstream") or ""),
        receiving=extra.get("receiving") is True,
        message_age_s=None if age_s is None else max(float(age_s), 0.0),
        synchronous_standby_names=str(extra.get("synchronous_standby_names") or ""),
        calls_itself=str(extra.get("calls_itself") or ""),
    )
