"""What the master's list of synchronous replicas promises at this moment, and what of it must be remembered while it is away.

A list speaks only of commits that were made under it. What was acknowledged before, under another list or by another master, is on the
replicas that it names only once enough of them have received that far; until then the older lists count as well. Without this rule a
list that is changed, or a second failover right after the first, would pass for a proof of what it never covered. A list that HandyRep
orders counts from before the order is sent.
"""

import dataclasses

from handyrep.decide.quorum import SyncList, parse_sync_list
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen

UNDER_NO_LIST = ""
"""Stands among the older lists for commits of which nothing is known but that the master has them: nobody else need have them."""


def remembered(cluster: Cluster, picture: Picture) -> Cluster:
    """The cluster with what must be known once the master cannot be asked any more, as far as the master tells it.

    A former master that replicates from the present one is none any more, and a replica that does is led right.
    """
    deposed = tuple(name for name in cluster.deposed if not _follows(picture.of(name)))
    astray = tuple(name for name in cluster.astray if not _follows(picture.of(name)))
    cluster = dataclasses.replace(cluster, deposed=deposed, astray=astray)
    facts = picture.of(cluster.master.name).facts if cluster.master is not None else None
    if facts is None or facts.in_recovery or not _is_ours(facts, cluster):
        return cluster
    cluster = _with_list(cluster, facts)
    cluster = dataclasses.replace(
        cluster,
        system_identifier=facts.system_identifier,
        timeline=max(cluster.timeline, facts.timeline),
    )
    return dataclasses.replace(cluster, older_lists=(), list_since="") if _is_settled(cluster, picture) else cluster


def promises(cluster: Cluster) -> tuple[SyncList | None, ...]:
    """Every list that acknowledged commits may rest on; None for one that cannot be counted on."""
    texts = (cluster.synchronous_standby_names, *cluster.older_lists, *cluster.ordered_lists)
    return tuple(parse_sync_list(text) for text in texts)


def may_be_in_force(cluster: Cluster) -> tuple[str, ...]:
    """Every list that commits of the master may wait for from now on: the one it told last, and those ordered since."""
    return tuple(dict.fromkeys((cluster.synchronous_standby_names, *cluster.ordered_lists)))


def are_readable_from(cluster: Cluster, read: frozenset[str]) -> bool:
    """Whether reading these replicas is enough to see every acknowledged commit."""
    return all(promise is not None and promise.is_readable_from(read) for promise in promises(cluster))


def about_to_order(cluster: Cluster, text: str) -> Cluster:
    """The cluster as it must be on disk before this list is ordered: from then on it may be in force."""
    if text in cluster.ordered_lists:
        return cluster
    return dataclasses.replace(
        cluster, ordered_lists=(*cluster.ordered_lists, text), list_orders=cluster.list_orders + 1
    )


def with_lists_of(cluster: Cluster, other: Cluster) -> Cluster:
    """The cluster with the lists that another HandyRep has ordered as well, when it has ordered more of them.

    Which of them is in force, and what each covers, the master tells at the next look; if it is gone by then, all of them count.
    """
    if other.list_orders <= cluster.list_orders:
        return cluster
    older = dict.fromkeys((*cluster.older_lists, *other.older_lists, other.synchronous_standby_names))
    return dataclasses.replace(
        cluster,
        older_lists=tuple(one for one in older if one != cluster.synchronous_standby_names),
        list_since="",
        ordered_lists=tuple(dict.fromkeys((*cluster.ordered_lists, *other.ordered_lists))),
        list_orders=other.list_orders,
    )


def now_in_force(cluster: Cluster, text: str) -> Cluster:
    """The cluster once this list was seen to be in force, and no other order can be carried out any more.

    It covers what was acknowledged before only once enough replicas have what the master has at the next look.
    """
    older = tuple(dict.fromkeys((*cluster.older_lists, cluster.synchronous_standby_names, *cluster.ordered_lists)))
    return dataclasses.replace(
        cluster,
        synchronous_standby_names=text,
        older_lists=tuple(one for one in older if one != text),
        list_since="",
        ordered_lists=(),
    )


def _follows(seen: Seen) -> bool:
    return seen.replicating is Answer.YES and seen.facts is not None and seen.facts.in_recovery


def _is_ours(facts: PostgresFacts, cluster: Cluster) -> bool:
    return facts.system_identifier == (cluster.system_identifier or facts.system_identifier)


def _with_list(cluster: Cluster, master: PostgresFacts) -> Cluster:
    """The list in force, and the ones before it for as long as it does not cover what was acknowledged under them."""
    present = master.synchronous_standby_names
    is_first_look = cluster.timeline == 0
    if is_first_look or present != cluster.synchronous_standby_names:
        before = UNDER_NO_LIST if is_first_look else cluster.synchronous_standby_names
        older = tuple(dict.fromkeys((*cluster.older_lists, before)))
        return dataclasses.replace(
            cluster, synchronous_standby_names=present, older_lists=older, list_since=str(master.received_lsn)
        )
    if cluster.older_lists and not cluster.list_since:
        return dataclasses.replace(cluster, list_since=str(master.received_lsn))
    return cluster


def _is_settled(cluster: Cluster, picture: Picture) -> bool:
    """Whether enough of the named replicas have, in this master's history, all that stood before the list.

    Not while another list may be in force: what is acknowledged under that one is not known to be before anything.
    """
    if cluster.ordered_lists:
        return False
    promise = parse_sync_list(cluster.synchronous_standby_names)
    if promise is None or not cluster.list_since:
        return True
    since = Lsn.parse(cluster.list_since)
    seen = (picture.of(name).facts for name in promise.names)
    having = [f for f in seen if f is not None and f.timeline == cluster.timeline and f.received_lsn >= since]
    return len(having) >= promise.needed
