"""Copies of the newest run's journal, and of what HandyRep knows, where another HandyRep finds them; and going on from another's.

Without journal_method nothing is copied. A copy that cannot be made stops no failover: the journal on HandyRep's own disk is what it
acts by. What another HandyRep did is known before this one acts for the first time.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from handyrep.decide.promise import with_lists_of
from handyrep.engine.hands import Hands, said
from handyrep.engine.journal import Journal
from handyrep.engine.state import State, from_json, to_json
from handyrep.errors import HandyRepError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, success
from handyrep.plugin_api.contract import Kind
from handyrep.ports import EventSink

_CALLS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """One HandyRep's newest run as it wrote it down, and the cluster as it knew it."""

    epoch: int
    records: tuple[Mapping[str, Any], ...]
    cluster: Cluster


class Copies:
    """Of one HandyRep's journal and state."""

    def __init__(self, hands: Hands, journal: Journal, state: State, events: EventSink, patience_s: float) -> None:
        self._hands = hands
        self._journal = journal
        self._state = state
        self._events = events
        self._patience_s = patience_s * _CALLS
        self._is_current = False
        self._told: dict[str, str] = {}
        self._unspread = ""

    @property
    def behind(self) -> bool:
        """Whether another HandyRep may have acted, and nobody has looked yet."""
        return bool(self._hands.configured(Kind.JOURNAL)) and not self._is_current

    async def spread(self) -> Result:
        """Let the servers hold the newest run, and what HandyRep knows, as it stands now. SUCCESS: another one would find it."""
        if not self._hands.configured(Kind.JOURNAL):
            return success()
        text = json.dumps({"records": self._journal.last_records(), "cluster": to_json(self._state.cluster)})
        result = await self._hands.use(Kind.JOURNAL, text=text, patience_s=self._patience_s)
        problem = "" if result.outcome is Outcome.SUCCESS else said(result)
        if problem not in ("", self._unspread):
            self._events.record("copies", f"another HandyRep may not find what this one knows: {problem}", {})
        self._unspread = problem
        return result

    def forget(self) -> None:
        """Somebody else may act meanwhile: read again before the next act."""
        self._is_current = False

    async def catch_up(self) -> None:
        """Go on from the newest copy, if it is ahead. Raises RefusedError: it is not known what another HandyRep did."""
        if not self.behind:
            return
        result = await self._hands.use(Kind.JOURNAL, "read", patience_s=self._patience_s)
        if result.outcome is not Outcome.SUCCESS:
            raise RefusedError(
                f"what another HandyRep may have done is not known: {said(result)}",
                remedy="HandyRep acts once more than half of the servers can be read, or with journal_method left blank.",
            )
        copies = self._understood(result.extra.get("texts", {}))
        self._refuse_two_journals(copies)
        newest = max(copies, key=lambda copy: (copy.epoch, len(copy.records)), default=None)
        if newest is not None:
            self._go_on_from(newest)
        knows_most = max(copies, key=lambda copy: copy.cluster.list_orders, default=None)
        if knows_most is not None:
            self._state.update(with_lists_of(self._state.cluster, knows_most.cluster))
        self._is_current = True

    def _understood(self, texts: Mapping[str, str]) -> list[Copy]:
        """Those of this cluster; what is wrong with the others is told. Raises RefusedError when some are there and none can be used."""
        copies, unusable = [], []
        for name, text in texts.items():
            try:
                copy = _parsed(text)
            except (ValueError, KeyError, TypeError, AttributeError, HandyRepError) as error:
                unusable.append(name)
                self._tell(name, f"cannot be used ({type(error).__name__}: {error})")
                continue
            known, theirs = self._state.cluster.system_identifier, copy.cluster.system_identifier
            if known and theirs and known != theirs:
                self._tell(name, f"is of another cluster (system identifier {theirs})")
            else:
                copies.append(copy)
        if unusable and not copies:
            raise RefusedError(
                f"the copies of the journal cannot be used, so it is not known what another HandyRep did: {', '.join(unusable)}",
                remedy="Look what stands there, and take away what is damaged.",
            )
        return copies

    def _tell(self, name: str, what: str) -> None:
        """Once: as long as nobody has repaired it, every look finds it again."""
        if self._told.get(name) != what:
            self._events.record("copies", f"the copy of the journal on {name} {what}", {"server": name})
        self._told[name] = what

    def _refuse_two_journals(self, copies: Iterable[Copy]) -> None:
        """Raises RefusedError when one tells of the run that stands in our own journal, and tells another story."""
        last, own = self._journal.last_epoch(), self._journal.last_records()
        for copy in copies:
            if copy.epoch == last and any(mine != its for mine, its in zip(own, copy.records, strict=False)):
                raise RefusedError(
                    f"two HandyReps began run {last}, and their journals differ",
                    remedy="Look which one led it, give its state directory to the one that is to act, and start that again.",
                )

    def _go_on_from(self, copy: Copy) -> None:
        last, own = self._journal.last_epoch(), self._journal.last_records()
        if copy.epoch == 0 or copy.epoch < last:
            return
        rest = copy.records
        if copy.epoch == last:
            rest = copy.records[len(own) :]
            if not rest:
                return
        standing = self._journal.open_run()
        if standing is not None and standing.epoch < copy.epoch:
            self._journal.close(standing, "settled", f"another HandyRep went on, and began run {copy.epoch}")
        self._state.update(merged(self._state.cluster, copy.cluster))
        self._journal.take_over(rest)
        text = f"goes on from run {copy.epoch}, which another HandyRep wrote down"
        self._events.record("copies", text, {"epoch": copy.epoch})


def _parsed(text: str) -> Copy:
    content = json.loads(text)
    epoch = content["records"][0]["epoch"] if content["records"] else 0
    records = tuple(record for record in content["records"] if record["epoch"] == epoch)
    return Copy(int(epoch), records, from_json(content["cluster"]))


def merged(own: Cluster, other: Cluster) -> Cluster:
    """Who is what, and all that must be remembered, as the other one knows it; definitions of servers as this one's own file has them."""
    members = {}
    for name, member in own.members.items():
        theirs = other.members.get(name)
        role = member.server.role if theirs is None else theirs.server.role
        members[name] = dataclasses.replace(member, server=dataclasses.replace(member.server, role=role))
    return dataclasses.replace(other, name=own.name, status=own.status, members=MappingProxyType(members))
