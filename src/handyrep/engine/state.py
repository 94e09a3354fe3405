"""The one current snapshot of the cluster, kept in servers.save, with an event for every change people care about.

Owns times of statuses. Nothing else may replace the snapshot.
"""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.errors import StateError
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Server
from handyrep.model.status import Health, Status
from handyrep.ports import Clock, EventSink, StateStore


class State:
    """`cluster` is the present snapshot; `update` and `heed` replace it.

    `orders` counts the lists of synchronous replicas that were ordered: a look that began before the last of them is too old to say
    which list is in force. `saved`: whether the disk holds what the last update left.
    """

    def __init__(self, cluster: Cluster, store: StateStore, events: EventSink, clock: Clock) -> None:
        self.cluster = cluster
        self.orders = 0
        self.saved = True
        self._store = store
        self._events = events
        self._clock = clock
        self._updated = to_json(cluster)

    def update(self, cluster: Cluster) -> None:
        """Take a new snapshot: date the statuses that changed, tell of them, and save when something durable changed.

        Raises StateError when it could not be saved; the snapshot in memory is the new one all the same. What was not saved then is
        saved by the next update that can, whether or not that one changes anything.
        """
        self._take(cluster)
        self._settle(to_json(self.cluster))

    def heed(self, cluster: Cluster) -> None:
        """As update, but where nothing but statuses changed it is left to the next update to save them: they must not keep a failover waiting."""
        self._take(cluster)
        content = to_json(self.cluster)
        if _without_statuses(content) != _without_statuses(self._updated):
            self._settle(content)

    def _take(self, cluster: Cluster) -> None:
        before, self.cluster = self.cluster, self._dated(self.cluster, cluster)
        self._tell(before, self.cluster)

    def _settle(self, content: dict[str, Any]) -> None:
        before, self._updated = self._updated, content
        if content != before:
            self._save()
        elif not self.saved:
            with contextlib.suppress(StateError):
                self._save()

    def _save(self) -> None:
        self.saved = False
        self._store.save(self._updated)
        self.saved = True

    def _dated(self, before: Cluster, after: Cluster) -> Cluster:
        for name, member in after.members.items():
            old = before.members[name].status if name in before.members else Status()
            dated = dataclasses.replace(member, status=_since(old, member.status, self._clock.now()))
            after = after.with_member(dated)
        return dataclasses.replace(after, status=_since(before.status, after.status, self._clock.now()))

    def _tell(self, before: Cluster, after: Cluster) -> None:
        for name, member in after.members.items():
            old = before.members[name].status if name in before.members else Status()
            if _differs(old, member.status):
                self._events.record(
                    "status",
                    f"{name} is {member.status.health.word}: {member.status.reason}",
                    {"server": name, **member.status.as_dict()},
                )
        if _differs(before.status, after.status):
            self._events.record(
                "cluster", f"the cluster is {after.status.health.word}: {after.status.reason}", after.status.as_dict()
            )


def _differs(old: Status, new: Status) -> bool:
    return old.health is not new.health


def _since(old: Status, new: Status, now: dt.datetime) -> Status:
    same = old.health is new.health and old.since is not None
    return dataclasses.replace(new, since=old.since if same else now)


def to_json(cluster: Cluster) -> dict[str, Any]:
    """What servers.save holds. Lag changes with every look and is left out."""
    return {
        "name": cluster.name,
        "epoch": cluster.epoch,
        "system_identifier": cluster.system_identifier,
        "synchronous_standby_names": cluster.synchronous_standby_names,
        "timeline": cluster.timeline,
        "failed_over_at": cluster.failed_over_at.isoformat() if cluster.failed_over_at else None,
        "older_lists": list(cluster.older_lists),
        "list_since": cluster.list_since,
        "ordered_lists": list(cluster.ordered_lists),
        "list_orders": cluster.list_orders,
        "deposed": list(cluster.deposed),
        "astray": list(cluster.astray),
        "proxies_behind": cluster.proxies_behind,
        "maintenance_until": cluster.maintenance_until.isoformat() if cluster.maintenance_until else None,
        "maintenance_reason": cluster.maintenance_reason,
        "released": cluster.released,
        "kept_up": [list(pair) for pair in cluster.kept_up],
        "frozen": cluster.frozen,
        "servers": {name: _member_to_json(member) for name, member in cluster.members.items()},
    }


def _member_to_json(member: Member) -> dict[str, Any]:
    definition = {field.name: getattr(member.server, field.name) for field in dataclasses.fields(Server)}
    return {
        "definition": definition,
        "health": int(member.status.health),
        "reason": member.status.reason if member.status.health is not Health.LAGGED else "lagged",
        "since": member.status.since.isoformat() if member.status.since else None,
        "last_well": None if member.last_well is None else int(member.last_well),
    }


def _without_statuses(content: dict[str, Any]) -> dict[str, Any]:
    definitions = {name: member["definition"] for name, member in content["servers"].items()}
    return {**content, "servers": definitions}


def from_json(content: Mapping[str, Any]) -> Cluster:
    """The cluster that servers.save describes. Raises StateError: it is not what HandyRep writes."""
    try:
        members = {name: _member_from_json(name, given) for name, given in content["servers"].items()}
        return Cluster(
            name=str(content["name"]),
            members=MappingProxyType(members),
            epoch=int(content["epoch"]),
            system_identifier=str(content["system_identifier"]),
            synchronous_standby_names=str(content["synchronous_standby_names"]),
            timeline=int(content.get("timeline", 0)),
            failed_over_at=_when(content["failed_over_at"]),
            older_lists=tuple(str(text) for text in content.get("older_lists", ())),
            list_since=str(content.get("list_since", "")),
            ordered_lists=tuple(str(text) for text in content.get("ordered_lists", ())),
            list_orders=int(content.get("list_orders", 0)),
            deposed=tuple(str(name) for name in content.get("deposed", ())),
            astray=tuple(str(name) for name in content.get("astray", ())),
            proxies_behind=content.get("proxies_behind") is True,
            maintenance_until=_when(content.get("maintenance_until")),
            maintenance_reason=str(content.get("maintenance_reason", "")),
            released=content.get("released") is True,
            kept_up=tuple((str(fence), str(server)) for fence, server in content.get("kept_up", ())),
            frozen=str(content["frozen"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(
            f"servers.save does not hold what HandyRep writes ({type(error).__name__}: {error})",
            remedy="Put a good copy back, or set override_server_file = True once to start from handyrep.conf.",
        ) from None


def _member_from_json(name: str, given: Mapping[str, Any]) -> Member:
    known = {field.name for field in dataclasses.fields(Server)}
    definition = {key: value for key, value in given["definition"].items() if key in known}
    status = Status(Health(given["health"]), str(given["reason"]), _when(given["since"]))
    last_well = given.get("last_well")
    return Member(
        Server(**{**definition, "name": name}),
        status,
        in_recovery=Answer.UNKNOWN,
        last_well=None if last_well is None else Health(last_well),
    )


def _when(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
