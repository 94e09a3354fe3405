"""Looks: a light poll, a full verify, and the look from everywhere that comes before a verdict. All servers at once.

Owns how plugins' results become what was seen. Decides nothing.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
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


class Observer:
    """Every look returns a Picture and changes nothing."""

    def __init__(self, hands: Hands, state: State) -> None:
        self._hands = hands
        self._state = state

    async def poll(self, *names: str) -> Picture:
        """The light look, at these servers or at all enabled ones."""
        return await self._look(self._polled, names, verified=False)

    async def verify(self, *names: str) -> Picture:
        """The full look: also logs in, writes on the master, checks host, service, replication and lag."""
        return await self._look(self._verified, names, verified=True)

    async def suspect(self, suspected_for_s: float) -> Picture:
        """The full look, and from every server's own host whether the recorded master can be seen.

        A replica's receiver that heard from the master within `suspected_for_s` counts as seeing it.
        """
        picture = await self.verify()
        master = self._state.cluster.master
        if master is None:
            return picture
        names = [name for name, seen in picture.seen.items() if self._is_postgres(name)]
        answers = await asyncio.gather(*(self._sees(name, master.name) for name in names))
        seen = dict(picture.seen)
        for name, answer in zip(names, answers, strict=True):
            seen[name] = _with_view(seen[name], answer, suspected_for_s if name != master.name else None)
        return dataclasses.replace(picture, seen=MappingProxyType(seen))

    async def facts(self, name: str) -> PostgresFacts | None:
        """What one PostgreSQL of this cluster says of itself now; None when it cannot be asked."""
        result = await self._hands.use(Kind.INSPECT, server=self._state.cluster.members[name].server)
        facts = parse_facts(result)[0]
        return None if facts is None or self._is_strange(facts) else facts

    async def running(self, server: Server) -> Answer:
        """What the service status of a server says."""
        return _running(await self._hands.use(Kind.RESTART, server=server, runmode="status"))

    def _is_strange(self, facts: PostgresFacts) -> bool:
        return facts.system_identifier != (self._state.cluster.system_identifier or facts.system_identifier)

    def _is_postgres(self, name: str) -> bool:
        return self._state.cluster.members[name].server.is_postgres

    async def _sees(self, name: str, master: str) -> Answer:
        server = self._state.cluster.members[name].server
        result = await self._hands.use(Kind.INSPECT, "sees", server=server, mastername=master)
        if result.outcome is Outcome.SUCCESS:
            return YES
        return NO if result.extra.get("no") is True else UNKNOWN

    async def _look(self, look: Any, names: tuple[str, ...], *, verified: bool) -> Picture:
        members = [
            m for m in self._state.cluster.members.values() if m.server.enabled and (not names or m.name in names)
        ]
        orders = self._state.orders
        seen = await asyncio.gather(*(look(member) for member in members))
        named = {member.name: one for member, one in zip(members, seen, strict=True)}
        return Picture(seen=MappingProxyType(named), verified=verified, orders=orders)

    async def _polled(self, member: Member) -> Seen:
        if member.server.is_postgres:
            return await self._polled_postgres(member.server)
        if member.server.role in (Role.PGBOUNCER, Role.PROXY):
            return await self._polled_proxy(member.server)
        return Seen()

    async def _polled_postgres(self, server: Server) -> Seen:
        """Even a light look asks whether it is in recovery: a second master must not go unseen until the next full one."""
        seen = seen_from_poll(await self._hands.use(Kind.POLL, server=server))
        if seen.up is not YES:
            return seen
        facts, problem = parse_facts(await self._hands.use(Kind.INSPECT, server=server))
        if facts is not None and self._is_strange(facts):
            return dataclasses.replace(seen, stranger=facts.system_identifier)
        return dataclasses.replace(seen, facts=facts, notes=(problem,) if problem else ())

    async def _polled_proxy(self, server: Server) -> Seen:
        if not self._hands.polls_proxies:
            return Seen(notes=("connection_failover_method is blank or poll_connection_proxy is off",))
        result = await self._hands.use(Kind.CONNECTION_FAILOVER, "poll", server=server)
        up = YES if result.outcome is Outcome.SUCCESS else NO
        return Seen(up=up, alive=up if up is YES else UNKNOWN, notes=() if up is YES else (said(result),))

    async def _verified(self, member: Member) -> Seen:
        server = member.server
        polled, host = await asyncio.gather(self._polled(member), self._host(server))
        if not server.is_postgres:
            return dataclasses.replace(polled, host_answers=host[0], notes=(*polled.notes, *host[1]))
        looks = [self._service(server, host[0])]
        if polled.up is YES and not polled.stranger:
            looks.append(self._written(server) if server.role == Role.MASTER else self._lag(server))
        parts = await asyncio.gather(*looks)
        merged = dataclasses.replace(polled, host_answers=host[0], notes=(*polled.notes, *host[1]))
        for part, notes in parts:
            merged = dataclasses.replace(merged, **part, notes=(*merged.notes, *notes))
        return merged

    async def _host(self, server: Server) -> tuple[Answer, tuple[str, ...]]:
        result = await self._hands.use(Kind.INSPECT, "host", server=server)
        return (YES, ()) if result.outcome is Outcome.SUCCESS else (NO, (f"host: {said(result)}",))

    async def _service(self, server: Server, host_answers: Answer) -> tuple[dict[str, Any], tuple[str, ...]]:
        if host_answers is not YES:
            return {}, ()
        result = await self._hands.use(Kind.RESTART, server=server, runmode="status")
        running = _running(result)
        return {"running": running}, () if running is YES else (f"service: {said(result)}",)

    async def _written(self, server: Server) -> tuple[dict[str, Any], tuple[str, ...]]:
        result = await self._hands.use(Kind.INSPECT, "write", server=server)
        written = result.outcome is Outcome.SUCCESS
        return {"writable": YES if written else UNKNOWN}, () if written else (f"write: {said(result)}",)

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


def _with_view(seen: Seen, answer: Answer, suspected_for_s: float | None) -> Seen:
    facts = seen.facts
    heard = facts is not None and suspected_for_s is not None and _heard_within(facts, suspected_for_s)
    return dataclasses.replace(seen, sees_master=YES if heard else answer)


def _heard_within(facts: PostgresFacts, suspected_for_s: float) -> bool:
    return facts.receiving and facts.message_age_s is not None and facts.message_age_s < suspected_for_s


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
