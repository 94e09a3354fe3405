"""The cluster as HandyRep knows it: servers with their statuses. One immutable snapshot after the other."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.model.answer import Answer
from handyrep.model.lsn import Lsn
from handyrep.model.server import Role, Server
from handyrep.model.status import Health, Status


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A server and what is known of it. `lag` in the unit of the status plugin (MB), None when not known.

    `last_well`: of a replica that was not seen to stop replicating since, how it was (healthy or lagged) when that was verified last.
    """

    server: Server
    status: Status = Status()
    lag: float | None = None
    replicating: bool | None = None
    in_recovery: Answer = Answer.UNKNOWN
    last_well: Health | None = None

    @property
    def name(self) -> str:
        """The server's name."""
        return self.server.name


@dataclasses.dataclass(frozen=True, slots=True)
class LastSeen:
    """The master's position when it was looked at last (`at_s` on the monotonic clock), and how fast it was writing."""

    lsn: Lsn
    at_s: float
    bytes_per_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """All members by name, with what must be remembered while the master cannot be asked.

    `epoch` counts failovers and switchovers and only grows. `system_identifier` ('' until first read) tells our servers from
    strangers. `synchronous_standby_names` is what the present master last said. `timeline` is the highest one that a master of
    ours was on: a replica that is still on a lower one lacks history. `failed_over_at`: when the last failover ended.
    `older_lists`: lists before it that acknowledged commits may rest on still, until enough replicas have received to `list_since`.
    `ordered_lists`: lists that HandyRep ordered and does not know the end of: each may be in force, now or later.
    `list_orders`: how many were ordered ever, by which the newer of two HandyReps' knowledge of them is told.
    `last_seen`: where the master stood when it was looked at last; forgotten when HandyRep ends.
    `deposed`: former masters that were not seen to follow the present one yet: one that comes up as a master is fenced.
    `astray`: replicas that were to follow the present master when it became one, and were not seen to yet.
    `proxies_behind`: a new master was recorded, or a proxy was found to lead elsewhere, and not every one was seen to lead right yet.
    Until `maintenance_until` HandyRep only looks, for `maintenance_reason`.
    `released`: HandyRep has taken back what it left on the servers, and keeps nothing up until that maintenance ends.
    `kept_up`: (fence, server) wherever a fence may have left on a server what it keeps up there.
    `frozen`: why automation stands still until a person decides; '' when it does not.
    """

    name: str = "handyrep"
    members: Mapping[str, Member] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    status: Status = Status()
    epoch: int = 0
    system_identifier: str = ""
    synchronous_standby_names: str = ""
    timeline: int = 0
    failed_over_at: dt.datetime | None = None
    older_lists: tuple[str, ...] = ()
    list_since: str = ""
    ordered_lists: tuple[str, ...] = ()
    list_orders: int = 0
    last_seen: LastSeen | None = None
    deposed: tuple[str, ...] = ()
    astray: tuple[str, ...] = ()
    proxies_behind: bool = False
    maintenance_until: dt.datetime | None = None
    maintenance_reason: str = ""
    released: bool = False
    kept_up: tuple[tuple[str, str], ...] = ()
    frozen: str = ""

    @property
    def servers(self) -> tuple[Server, ...]:
        """Every server, enabled or not, in the order of the configuration."""
        return tuple(member.server for member in self.members.values())

    @property
    def enabled(self) -> tuple[Member, ...]:
        """The servers that HandyRep looks at, in the order of the configuration."""
        return tuple(m for m in self.members.values() if m.server.enabled)

    @property
    def masters(self) -> tuple[Member, ...]:
        """Enabled members that are recorded as master: one, if all is well."""
        return self.by_role(Role.MASTER)

    @property
    def master(self) -> Member | None:
        """The one recorded master; None when there is none or more than one."""
        return self.masters[0] if len(self.masters) == 1 else None

    @property
    def replicas(self) -> tuple[Member, ...]:
        """Enabled members that are recorded as replicas."""
        return self.by_role(Role.REPLICA)

    def by_role(self, role: str) -> tuple[Member, ...]:
        """Enabled members of a role."""
        return tuple(m for m in self.enabled if m.server.role == role)

    def with_member(self, member: Member) -> "Cluster":
        """A copy in which this member stands for its name (added if it is new)."""
        return dataclasses.replace(self, members=MappingProxyType({**self.members, member.name: member}))

    def handed_over(self, old_master: str, new_master: str) -> "Cluster":
        """A copy in which the old master is a replica, and the new one is the master."""
        cluster = self
        for name, role in ((old_master, Role.REPLICA), (new_master, Role.MASTER)):
            member = cluster.members[name]
            changed = dataclasses.replace(member, server=dataclasses.replace(member.server, role=role))
            cluster = cluster.with_member(changed)
        return cluster

    def without(self, name: str) -> "Cluster":
        """A copy without that member."""
        kept = {key: member for key, member in self.members.items() if key != name}
        return dataclasses.replace(self, members=MappingProxyType(kept))
