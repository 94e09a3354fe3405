"""What was seen of the servers in one look. Values only; what they mean is decided in decide/."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.model.answer import Answer
from handyrep.model.lsn import Lsn


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PostgresFacts:
    """What a PostgreSQL said of itself when logged in to. Positions are of the moment of asking.

    `received_lsn`: end of WAL that is safe on this server (a master's own flush position; a replica's received
    or, when larger, replayed one). `upstream`: host:port it is told to receive from. `message_age_s`: seconds since its
    receiver last heard from the upstream; None without a receiver.
    `calls_itself`: the application_name under which a replica confirms; '' when that is not known.
    """

    in_recovery: bool
    system_identifier: str
    timeline: int
    version_num: int
    received_lsn: Lsn
    replayed_lsn: Lsn | None = None
    replay_paused: bool = False
    upstream: str = ""
    receiving: bool = False
    message_age_s: float | None = None
    synchronous_standby_names: str = ""
    calls_itself: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One server in one look. UNKNOWN is the honest default: it was not asked, or did not answer.

    `up`: it accepts connections. `alive`: a PostgreSQL answered in any way at all (too many clients, starting up, wrong
    password), which forbids to call it dead. `host_answers`: its host runs our commands. `running`: its service
    status. `writable`: a write was made. `stalled`: writes have hung for so long that its storage takes none any more. `sees_master`: this server can still reach the master, or hears from it.
    `stranger`: the system identifier of another cluster's PostgreSQL that answers in its place; then there are no facts of it.
    """

    up: Answer = Answer.UNKNOWN
    alive: Answer = Answer.UNKNOWN
    host_answers: Answer = Answer.UNKNOWN
    running: Answer = Answer.UNKNOWN
    writable: Answer = Answer.UNKNOWN
    stalled: Answer = Answer.UNKNOWN
    sees_master: Answer = Answer.UNKNOWN
    facts: PostgresFacts | None = None
    stranger: str = ""
    replicating: Answer = Answer.UNKNOWN
    lag: float | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One look at every server that was asked, by name. `verified`: the look was a full verify, not a poll.

    `orders`: how many lists of synchronous replicas HandyRep had ordered when the look began.
    """

    seen: Mapping[str, Seen] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    verified: bool = False
    orders: int = 0

    def of(self, name: str) -> Seen:
        """What was seen of a server; all unknown when it was not looked at."""
        return self.seen.get(name, Seen())
