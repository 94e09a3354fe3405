"""The part of the configuration that decisions depend on."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator allows.

    `max_lost_wal_bytes`: an asynchronous failover that may lose more is refused.
    `estimate_lost_wal`: where the old master's disk cannot be read, that is judged by an estimate.
    `synchronous_required`: so many replicas must confirm each commit; 0: that is left as it is. `synchronous_replicas`: those that may; none
    named: all.
    `loss_accepted`: a person takes, for one failover, a loss that is larger or cannot be bounded.
    """

    auto_failover: bool = False
    restart_master: bool = False
    remaster: bool = True
    failover_cooldown_s: float = 600.0
    max_lost_wal_bytes: int = 16 * 1024 * 1024
    estimate_lost_wal: bool = False
    synchronous_required: int = 0
    synchronous_replicas: tuple[str, ...] = ()
    loss_accepted: bool = False
