"""From one look to statuses with reasons. Three tables, one per kind of server; the first row that fits wins."""

import dataclasses
from collections.abc import Callable

from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster, Member
from handyrep.model.observation import Picture, Seen
from handyrep.model.server import Role
from handyrep.model.status import Health, Status

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
_VERIFIED_WELL = (Health.HEALTHY, Health.LAGGED)


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One server: what was known and what was just seen. `master_silent`: the master did not answer in the same look."""

    member: Member
    seen: Seen
    verified: bool
    master_silent: bool

    @property
    def lag(self) -> str:
        """The lag for people."""
        return "unknown" if self.seen.lag is None else f"{self.seen.lag:g}"

    @property
    def notes(self) -> str:
        """What plugins said, as the end of a sentence."""
        return f" ({'; '.join(self.seen.notes)})" if self.seen.notes else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """`health` None keeps the status as it was, sentence and all; `sentence` may use {lag}, {limit}, {notes} and {stranger}."""

    id: str
    when: Callable[[Case], bool]
    health: Health | None
    sentence: str = ""
    stale: bool = False


def _not_up(case: Case) -> bool:
    return case.seen.up is not YES


def _receives(case: Case) -> bool:
    return case.seen.facts is not None and case.seen.facts.receiving


def _was(*healths: Health) -> Callable[[Case], bool]:
    return lambda case: case.member.status.health in healths


_REACHABLE = (
    Row(
        "S01",
        lambda c: _not_up(c) and c.seen.alive is YES,
        Health.WARNING,
        "PostgreSQL answers, but lets nobody in{notes}",
    ),
    Row(
        "S02",
        lambda c: _not_up(c) and c.seen.running is NO,
        Health.DOWN,
        "verified down: its host answers and says that PostgreSQL does not run{notes}",
    ),
    # It was looked at in full before, and no answer is what it was found by then.
    Row("S05", lambda c: _not_up(c) and not c.verified and c.member.status.health is Health.DOWN, None),
    Row("S03", _not_up, Health.UNAVAILABLE, "no answer, so its state is not known{notes}"),
    Row(
        "S04",
        lambda c: bool(c.seen.stranger),
        Health.DOWN,
        "a PostgreSQL of another cluster answers in its place (system identifier {stranger}), and is left alone",
    ),
)
_POLLED = (
    Row(
        "S10",
        lambda c: not c.verified and c.member.status.health in (Health.UNAVAILABLE, Health.DOWN),
        Health.WARNING,
        "accepts connections again; not verified yet",
    ),
    Row(
        "S11",
        lambda c: not c.verified and c.member.status.health is Health.UNKNOWN,
        Health.UNKNOWN,
        "accepts connections; not verified yet",
    ),
    Row("S12", lambda c: not c.verified, None),
    Row(
        "S13", lambda c: c.seen.facts is None, Health.WARNING, "accepts connections, but could not be looked at{notes}"
    ),
)
_HOST = (
    Row(
        "S20",
        lambda c: c.seen.host_answers is not YES,
        Health.WARNING,
        "works, but its host runs no commands for HandyRep, so it cannot be fenced{notes}",
    ),
    Row(
        "S21",
        lambda c: c.seen.running is NO,
        Health.WARNING,
        "works, but its service status says that it does not run: check restart_method{notes}",
    ),
)
MASTER_ROWS = (
    *_REACHABLE,
    Row(
        "S30",
        lambda c: c.seen.facts is not None and c.seen.facts.in_recovery,
        Health.DOWN,
        "is recorded as the master, but is in recovery: it takes no writes",
    ),
    *_POLLED,
    Row(
        "S32",
        lambda c: c.seen.stalled is YES,
        Health.DOWN,
        "lets clients in, but ends no commit: its storage takes no more writes{notes}",
    ),
    Row(
        "S31",
        lambda c: c.seen.writable is not YES,
        Health.WARNING,
        "accepts connections, but a test write did not succeed{notes}",
    ),
    *_HOST,
    Row("S39", lambda _: True, Health.HEALTHY, "accepts writes"),
)
REPLICA_ROWS = (
    *_REACHABLE,
    Row(
        "S40",
        lambda c: c.seen.facts is not None and not c.seen.facts.in_recovery,
        Health.WARNING,
        "is recorded as a replica, but is not in recovery: it is a second master",
    ),
    *_POLLED,
    Row("S41", lambda c: c.seen.replicating is NO, Health.WARNING, "is not replicating from the master{notes}"),
    Row(
        "S42",
        lambda c: c.seen.replicating is UNKNOWN and (c.member.last_well is not None or _was(*_VERIFIED_WELL)(c)),
        None,
        stale=True,
    ),
    # Its connection was seen broken last, and is back: while the master cannot say so, the receiver's own word counts.
    Row(
        "S45",
        lambda c: c.seen.replicating is UNKNOWN and c.master_silent and _receives(c),
        Health.LAGGED,
        "receives from its master, which does not answer: how far behind it is cannot be told",
    ),
    Row(
        "S43",
        lambda c: c.seen.replicating is UNKNOWN,
        Health.WARNING,
        "works, but whether it replicates cannot be told{notes}",
    ),
    *_HOST,
    Row(
        "S44",
        lambda c: c.seen.lag is not None and c.seen.lag > c.member.server.lag_limit,
        Health.LAGGED,
        "replicates, {lag} behind (limit {limit:g})",
    ),
    Row("S49", lambda _: True, Health.HEALTHY, "replicates, {lag} behind"),
)
PROXY_ROWS = (
    Row("S50", lambda c: c.seen.up is YES, Health.HEALTHY, "lets clients in"),
    Row("S51", lambda c: c.seen.up is NO, Health.UNAVAILABLE, "does not let clients in{notes}"),
    Row("S52", _was(Health.UNKNOWN), Health.UNKNOWN, "not looked at yet"),
    Row("S59", lambda _: True, None),
)  # fmt: skip
OTHER_ROWS = (
    Row("S60", lambda c: c.seen.host_answers is YES, Health.HEALTHY, "its host answers"),
    Row("S61", lambda c: not c.verified, None),
    Row("S69", lambda _: True, Health.UNAVAILABLE, "its host does not answer{notes}"),
)
_SEEN_WELL = ("S44", "S45", "S49")
"""The rows that tell of a replica that it does replicate."""
_TABLES = {
    Role.MASTER: MASTER_ROWS,
    Role.REPLICA: REPLICA_ROWS,
    Role.PGBOUNCER: PROXY_ROWS,
    Role.PROXY: PROXY_ROWS,
}


def assess_server(member: Member, seen: Seen, *, verified: bool, master_silent: bool) -> tuple[str, Status]:
    """(id of the row, status) for one server. The status carries no time: the engine adds it when something changed."""
    case = Case(member, seen, verified, master_silent)
    rows = next((table for role, table in _TABLES.items() if role == member.server.role), OTHER_ROWS)
    row = next(row for row in rows if row.when(case))
    if row.health is None:
        return row.id, dataclasses.replace(_as_it_was(member) if row.stale else member.status, stale=row.stale)
    sentence = row.sentence.format(
        lag=case.lag, limit=member.server.lag_limit, notes=case.notes, stranger=seen.stranger
    )
    return row.id, Status(row.health, sentence, None)


def _as_it_was(member: Member) -> Status:
    """While the master is away nobody can tell how far a replica is behind; a pause in its answers changes nothing of that."""
    if member.last_well in (None, member.status.health):
        return member.status
    return Status(member.last_well, "replicated when its master could last be asked")


_SILENT = (Health.UNKNOWN, Health.UNAVAILABLE, Health.DOWN)
"""Of a replica: what it was when it could last be asked says nothing of now."""


def assess_cluster(cluster: Cluster) -> Status:
    """The roll-up: DOWN without exactly one working master, WARNING with any issue, else HEALTHY."""
    if len(cluster.masters) != 1:
        return Status(Health.DOWN, f"{len(cluster.masters)} servers are recorded as master instead of one")
    master = cluster.masters[0]
    if master.status.health is Health.UNKNOWN:
        return Status(Health.UNKNOWN, f"master {master.name}: {master.status.reason}")
    if master.status.health in (Health.UNAVAILABLE, Health.DOWN):
        return Status(Health.DOWN, f"master {master.name}: {master.status.reason}")
    second = [r.name for r in cluster.replicas if r.in_recovery is NO and r.status.health not in _SILENT]
    if second:
        return Status(Health.DOWN, f"more than one master: {master.name} and {', '.join(second)}")
    return _issues(cluster, master)


def _issues(cluster: Cluster, master: Member) -> Status:
    if cluster.frozen:
        return Status(Health.WARNING, f"automation stands still: {cluster.frozen}")
    ill = [m for m in cluster.enabled if m.status.health not in _VERIFIED_WELL]
    if ill:
        return Status(Health.WARNING, "; ".join(f"{m.name}: {m.status.reason}" for m in ill))
    if not cluster.replicas:
        return Status(Health.WARNING, f"master {master.name} works, but there is no replica to fail over to")
    return Status(Health.HEALTHY, f"master {master.name} works, {len(cluster.replicas)} replicas follow")


def assess(cluster: Cluster, picture: Picture) -> Cluster:
    """The cluster with new statuses for every server that was looked at, and the roll-up. Times are the engine's to add."""
    master_silent = cluster.master is not None and picture.of(cluster.master.name).up is NO
    for name, seen in picture.seen.items():
        member = cluster.members.get(name)
        if member is not None:
            row, status = assess_server(member, seen, verified=picture.verified, master_silent=master_silent)
            cluster = cluster.with_member(_noted(member, seen, status, row))
    return dataclasses.replace(cluster, status=assess_cluster(cluster))


def _noted(member: Member, seen: Seen, status: Status, row: str) -> Member:
    replicating = {YES: True, NO: False, UNKNOWN: member.replicating}[seen.replicating]
    lag = member.lag if seen.lag is None else seen.lag
    return dataclasses.replace(
        member, status=status, lag=lag, replicating=replicating, in_recovery=_in_recovery(member, seen, status), last_well=_last_well(member, seen, status, row)
    )  # fmt: skip


def _in_recovery(member: Member, seen: Seen, status: Status) -> Answer:
    """Of one that has ended or is out of sight nobody knows as what it comes back."""
    if seen.facts is None:
        return UNKNOWN if status.health in _SILENT else member.in_recovery
    return YES if seen.facts.in_recovery else NO


def _last_well(member: Member, seen: Seen, status: Status, row: str) -> Health | None:
    if seen.replicating is NO or (seen.facts is not None and not seen.facts.in_recovery):
        return None
    return status.health if row in _SEEN_WELL else member.last_well
