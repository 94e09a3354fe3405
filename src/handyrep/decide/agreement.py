"""Which replicas the master's commits shall wait for, and the next list to order on the way there; or why none is ordered.

A name comes into the list once its server is seen to follow under that name, and stays for as long as the server is a replica of the
cluster: one that is slow or down is never taken out, so the promise is not weakened just when it is needed. No list is ordered that
would stop every commit at this moment.

On the way from one list to another the acknowledging side grows first and shrinks last: in between stands, where enough replicas
follow, a list under which every commit keeps both promises. So the replicas that were enough to read are enough at each moment.
"""

import dataclasses
from collections.abc import Mapping

from handyrep.decide.policy import Policy
from handyrep.decide.quorum import SyncList, parse_sync_list
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture
from handyrep.model.verdict import Choice, Excluded


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """`order`: the list to order now, None for none. `why`: what is in the way of the wanted one; '' when that is in force."""

    in_force: str
    wanted: str
    order: SyncList | None
    why: str


def agreement(cluster: Cluster, picture: Picture, policy: Policy) -> Agreement:
    """What shall be done about the list of the recorded master, after a look at everything."""
    in_force = cluster.synchronous_standby_names
    listed = parse_sync_list(in_force)
    called = _called(cluster, picture)
    following = frozenset(name for name in called if _follows(name, picture, called))
    known = following | set(listed.names if listed is not None else ())
    target, why = _possible(tuple(name for name in _replicas(cluster, policy) if name in known), policy)
    order = None
    if target is not None:
        order, why = _next(listed, target, cluster, following)
    if order is None and why:
        why += _under_other_names(called)
    return Agreement(in_force, "" if target is None else target.text, order, why)


def list_of_next_master(cluster: Cluster, new: str, policy: Policy) -> tuple[SyncList | None, str]:
    """(the list for a replica before it becomes the master, '') or (None, why there is none).

    It names the other replicas that had a voice so far. Those without one, and last the old master, only where there are too few:
    they do not follow yet, and a list that names more than it needs of them is only harder to read enough of.
    """
    promise = parse_sync_list(cluster.synchronous_standby_names)
    replicas = tuple(name for name in _replicas(cluster, policy) if name != new)
    names = tuple(name for name in replicas if promise is None or name in promise.names)
    masters = tuple(member.name for member in cluster.masters if _may(member.name, policy))
    more = tuple(name for name in (*replicas, *masters) if name not in names)
    return _possible((*names, *more[: max(policy.synchronous_required - len(names), 0)]), policy)


def lists_of_heirs(cluster: Cluster, picture: Picture, policy: Policy) -> Mapping[str, str]:
    """For each replica that follows and was seen without it: the list it would have as the master. Until it is one, it does nothing there."""
    if not policy.synchronous_required:
        return {}
    found: dict[str, str] = {}
    for member in cluster.replicas:
        seen, names = picture.of(member.name), list_of_next_master(cluster, member.name, policy)[0]
        facts = seen.facts if seen.replicating is Answer.YES else None
        if names is None or facts is None or not facts.in_recovery:
            continue
        if facts.synchronous_standby_names != names.text:
            found[member.name] = names.text
    return found


def able_to_agree(choice: Choice, cluster: Cluster, policy: Policy) -> Choice:
    """The choice, unless its candidate could be given no list: then it is known before anything is stopped."""
    if choice.candidate is None:
        return choice
    names, why = list_of_next_master(cluster, choice.candidate, policy)
    without = Excluded(choice.candidate, f"it can have no list of synchronous replicas: {why}")
    return choice if names is not None else Choice(None, (*choice.excluded, without))


def _possible(names: tuple[str, ...], policy: Policy) -> tuple[SyncList | None, str]:
    if len(names) >= policy.synchronous_required:
        return SyncList(policy.synchronous_required, names), ""
    those = f"of {', '.join(policy.synchronous_replicas)} " if policy.synchronous_replicas else ""
    found = ", ".join(names) or "none"
    return None, f"{policy.synchronous_required} replicas {those}must confirm each commit, and {found} can be named"


def _next(
    listed: SyncList | None, target: SyncList, cluster: Cluster, following: frozenset[str]
) -> tuple[SyncList | None, str]:
    """(the next list to order, why) on the way to the target."""
    unknown = bool(cluster.ordered_lists)
    if target.is_as(listed) and not unknown:
        return None, ""
    if cluster.older_lists and not unknown and listed is not None and _confirmable(listed, following):
        return None, "the present list does not cover yet what was acknowledged before it"
    for step in (_between(listed, target), target):
        if _confirmable(step, following) and (unknown or not step.is_as(listed)):
            return step, "how the last order ended is not known" if unknown else "it is not in force yet"
    able = ", ".join(name for name in target.names if name in following) or "none"
    return None, f"no commit could end under it now: {target.needed} must confirm, and of its names follows {able}"


def _between(listed: SyncList | None, target: SyncList) -> SyncList:
    """Under it every commit keeps the promises of both."""
    if listed is None:
        return target
    names = (*listed.names, *(name for name in target.names if name not in listed.names))
    return SyncList(max(len(names) - len(one.names) + one.needed for one in (listed, target)), names)


def _confirmable(promise: SyncList, following: frozenset[str]) -> bool:
    return len(following & set(promise.names)) >= promise.needed


def _replicas(cluster: Cluster, policy: Policy) -> tuple[str, ...]:
    return tuple(member.name for member in cluster.replicas if _may(member.name, policy))


def _may(name: str, policy: Policy) -> bool:
    return not policy.synchronous_replicas or name in policy.synchronous_replicas


def _called(cluster: Cluster, picture: Picture) -> Mapping[str, str]:
    """Under which name each replica confirms, as far as it told."""
    seen = {member.name: picture.of(member.name).facts for member in cluster.replicas}
    return {name: facts.calls_itself.lower() for name, facts in seen.items() if facts is not None}


def _follows(name: str, picture: Picture, called: Mapping[str, str]) -> bool:
    """Whether it receives from the master, and it alone confirms under the name that the list would have."""
    alone = [one for one, own in called.items() if own == name.lower()] == [name]
    return alone and picture.of(name).replicating is Answer.YES


def _under_other_names(called: Mapping[str, str]) -> str:
    """Who cannot be named, and what to do about it."""
    false = {name: own for name, own in called.items() if own not in ("", name.lower())}
    return "".join(f"; {name} confirms as {own!r}: handyrep remaster {name}" for name, own in false.items())
