"""Settings, servers and clusters for tests, in one line each. Owns no checks: what they make need not be sensible."""

import datetime as dt
from types import MappingProxyType
from typing import Any

from handyrep.config.settings import ArchiveSettings, FailoverSettings, HandyrepSettings, PasswordSettings, Settings
from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Server
from handyrep.model.status import Health, Status

_SECTIONS: dict[str, type] = {
    "handyrep": HandyrepSettings,
    "passwords": PasswordSettings,
    "failover": FailoverSettings,
    "archive": ArchiveSettings,
}
LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def make_server(name: str = "m1", role: str = "replica", **directives: Any) -> Server:
    """A server on a host of its own name."""
    return Server(**{"name": name, "role": role, "hostname": f"{name}.example", "pgdata": "/data", **directives})


def make_settings(*, servers: tuple[Server, ...] | None = None, **sections: Any) -> Settings:
    """Settings of a master m1 and replicas r1, r2; a section may be given as a dict of its directives."""
    made = {
        name: _SECTIONS[name](**value) if name in _SECTIONS and isinstance(value, dict) else value
        for name, value in sections.items()
    }
    return Settings(**{"source": "test", "servers": trio() if servers is None else servers, **made})


def trio() -> tuple[Server, ...]:
    """A master m1 and replicas r1 and r2, r1 preferred."""
    return (
        make_server("m1", "master"),
        make_server("r1", "replica", failover_priority=1),
        make_server("r2", "replica", failover_priority=2),
    )


def make_member(server: Server, health: Health = Health.HEALTHY, **known: Any) -> Member:
    """A member that was verified long ago."""
    return Member(server, Status(health, "as the test says", LONG_AGO), **known)


def make_cluster(*members: Server | Member, health: Health = Health.HEALTHY, **known: Any) -> Cluster:
    """A cluster of these, or of the trio; plain servers become members of that health."""
    made = [one if isinstance(one, Member) else make_member(one, health) for one in (members or trio())]
    return Cluster(members=MappingProxyType({member.name: member for member in made}), **known)
