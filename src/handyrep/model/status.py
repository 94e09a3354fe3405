"""Statuses of servers and of the cluster, numbered as HandyRep's users know them."""

import dataclasses
import datetime as dt
import enum


class Health(enum.IntEnum):
    """One ordered scale for servers and cluster: larger is worse, save 0, which is 'not known'."""

    UNKNOWN = 0
    HEALTHY = 1
    LAGGED = 2
    WARNING = 3
    UNAVAILABLE = 4
    DOWN = 5

    @property
    def word(self) -> str:
        """The word people read."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """A health with its reason and the (aware UTC) time since which it holds.

    `stale`: it was verified earlier and cannot be verified now (a replica while the master is away).
    """

    health: Health = Health.UNKNOWN
    reason: str = "not looked at yet"
    since: dt.datetime | None = None
    stale: bool = False

    def as_dict(self) -> dict[str, object]:
        """The four status keys of every answer about a server or the cluster."""
        return {
            "status": self.health.word,
            "status_no": int(self.health),
            "status_ts": self.since.isoformat() if self.since is not None else None,
            "status_message": self.reason + (" (last verified before the master went away)" if self.stale else ""),
        }
