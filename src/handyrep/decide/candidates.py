"""Which replica may become the new master. Safety takes replicas out, each with its reason; it never reorders in silence.

The order is the selection plugin's. Of those that are left, the first one is taken.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from handyrep.decide.policy import Policy
from handyrep.decide.promise import are_readable_from
from handyrep.decide.quorum import parse_sync_list
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts
from handyrep.model.verdict import Choice, Excluded


def choose(  # noqa: PLR0913 - the facts that the choice rests on
    ordered: Sequence[str],
    cluster: Cluster,
    picture: Picture,
    policy: Policy,
    *,
    last_lsn: Lsn | None,
    wanted: str = "",
    slack_bytes: int = 0,
    standing: frozenset[str] | None = None,
    estimated: Lsn | None = None,
) -> Choice:
    """Take the first of `ordered` that safety leaves in; with `wanted`, that one or none, whether or not it is among them.

    `last_lsn`: the old master's end of WAL as read on its disk, None when it was not. Without a proof that nothing is
    lost, a candidate is taken only when the loss is known to be at most policy.max_lost_wal_bytes; none where the master was synchronous.
    `standing`: only these were seen to receive nothing any more; the position of any other may still move, so it neither counts as read
    nor may take over. None: that was not asked.
    `estimated`: where the WAL of an asynchronous master may have ended, for want of anything better; None: that does not count.
    `slack_bytes`: so far behind is not held against a candidate while the master still writes: the end of its WAL is waited for later.
    """
    still: Collection[str] = _all_replicas(cluster) if standing is None else standing
    facts = {name: picture.of(name).facts for name in _all_replicas(cluster) if name in still}
    best = _most_advanced(facts.values(), cluster)
    considered = [wanted] if wanted else list(ordered)
    reasons = {
        name: _unfit(name, cluster, facts.get(name), best, slack_bytes) if name in still or not _is_replica(name, cluster)
        else "it is being worked on, or it could not be made sure that it receives nothing more: its position may still move"
        for name in considered
    }  # fmt: skip
    excluded = tuple(Excluded(name, reasons[name]) for name in considered if reasons[name])
    fit = [name for name in considered if not reasons[name]]
    if not fit:
        return Choice(None, excluded)
    fit, paused = _at_once(fit, facts)
    excluded += paused
    promise = parse_sync_list(cluster.synchronous_standby_names)
    allowed_bytes = policy.max_lost_wal_bytes if promise is None else slack_bytes
    ours = {name: seen for name, seen in facts.items() if seen is not None and _is_ours(seen, cluster)}
    if promise is None and last_lsn is None and estimated is not None:
        choice = _by_estimate(fit[0], excluded, ours, allowed_bytes, estimated)
    else:
        choice = _with_data_proof(fit[0], excluded, ours, cluster, allowed_bytes, last_lsn)
    return _accepted(choice, fit[0]) if policy.loss_accepted else choice


def _all_replicas(cluster: Cluster) -> tuple[str, ...]:
    return tuple(member.name for member in cluster.replicas)


def _is_replica(name: str, cluster: Cluster) -> bool:
    return name in _all_replicas(cluster)


def _is_ours(facts: PostgresFacts, cluster: Cluster) -> bool:
    return not cluster.system_identifier or facts.system_identifier == cluster.system_identifier


def _most_advanced(all_facts: Iterable[PostgresFacts | None], cluster: Cluster) -> PostgresFacts | None:
    known = [facts for facts in all_facts if facts is not None and facts.in_recovery and _is_ours(facts, cluster)]
    return max(known, key=lambda facts: (facts.timeline, facts.received_lsn), default=None)


def _unfit(
    name: str, cluster: Cluster, facts: PostgresFacts | None, best: PostgresFacts | None, slack_bytes: int
) -> str:
    """Why this replica must not be promoted; '' when nothing speaks against it."""
    if not _is_replica(name, cluster):
        return "it is not an enabled replica of this cluster"
    if facts is None:
        return "it could not be looked at"
    if not facts.in_recovery:
        return "it is not in recovery: it is a master already"
    if not _is_ours(facts, cluster):
        return f"it belongs to another cluster (system identifier {facts.system_identifier})"
    if facts.timeline < cluster.timeline:
        return f"it is on timeline {facts.timeline}, the master was on {cluster.timeline}"
    return _behind(facts, facts if best is None else best, slack_bytes)


def _behind(facts: PostgresFacts, best: PostgresFacts, slack_bytes: int) -> str:
    if facts.timeline < best.timeline:
        return f"it is on timeline {facts.timeline}, another replica on {best.timeline}"
    behind_bytes = best.received_lsn - facts.received_lsn
    return f"it is {behind_bytes} bytes behind the most advanced replica" if behind_bytes > slack_bytes else ""


def _at_once(fit: list[str], facts: Mapping[str, PostgresFacts | None]) -> tuple[list[str], tuple[Excluded, ...]]:
    """Those that replay, if there are any, and why not the others: replay may have stopped for a reason that ends the server at a promote."""
    paused = {name for name, seen in facts.items() if seen is not None and seen.replay_paused}
    ready = [name for name in fit if name not in paused]
    if not ready:
        return fit, ()
    reason = f"its replay is paused, and that of {ready[0]} is not"
    return ready, tuple(Excluded(name, reason) for name in fit if name in paused)


def _with_data_proof(
    name: str,
    excluded: tuple[Excluded, ...],
    read: Mapping[str, PostgresFacts],
    cluster: Cluster,
    allowed_bytes: int,
    last_lsn: Lsn | None,
) -> Choice:
    received = read[name].received_lsn
    promise = parse_sync_list(cluster.synchronous_standby_names)
    if promise is not None and are_readable_from(cluster, frozenset(read)):
        counted = f"R {len(set(read) & set(promise.names))} + k {promise.needed} > N {len(promise.names)}"
        return Choice(name, excluded, 0, f"every acknowledged commit is on a replica that was read: {counted}")
    if last_lsn is None:
        return _refused(name, excluded, "how much WAL would be lost is not known: the old master's disk was not read")
    lost_bytes = max(last_lsn - received, 0)
    if lost_bytes > allowed_bytes:
        rule = (
            f"max_lost_wal allows {allowed_bytes}"
            if promise is None
            else "the master was synchronous: none may be lost"
        )
        return _refused(name, excluded, f"it lacks {lost_bytes} bytes of the old master's WAL ({rule})")
    said = f"the old master's WAL ends at {last_lsn} and {name} has it to {received}"
    return Choice(name, excluded, lost_bytes, said)


def _by_estimate(
    name: str,
    excluded: tuple[Excluded, ...],
    read: Mapping[str, PostgresFacts],
    allowed_bytes: int,
    estimated: Lsn,
) -> Choice:
    """The loss is not bounded by this: estimate_lost_wal is the operator's word that it may be judged so."""
    lost_bytes = max(estimated - read[name].received_lsn, 0)
    said = f"it is estimated to lack {lost_bytes} bytes of the old master's WAL (max_lost_wal allows {allowed_bytes})"
    return _refused(name, excluded, said) if lost_bytes > allowed_bytes else Choice(name, excluded, None, said)


def _accepted(choice: Choice, name: str) -> Choice:
    if choice.candidate is not None:
        return choice
    *others, loss = choice.excluded
    return Choice(name, tuple(others), None, f"a person accepted it although {loss.reason}")


def _refused(name: str, excluded: tuple[Excluded, ...], reason: str) -> Choice:
    return Choice(None, (*excluded, Excluded(name, reason)))
