"""For how long HandyRep still holds back: after a failover, and in maintenance. By a clock that does not jump."""

from handyrep.engine.engine import Engine


def cooldown_left_s(engine: Engine) -> float:
    """Seconds in which no second automatic failover is made."""
    ended = engine.cluster.failed_over_at
    if ended is None:
        return 0.0
    return max(engine.policy.failover_cooldown_s - (engine.steady.now() - ended).total_seconds(), 0.0)


def maintenance_left_s(engine: Engine) -> float:
    """Seconds in which HandyRep only looks."""
    until = engine.cluster.maintenance_until
    return 0.0 if until is None else max((until - engine.steady.now()).total_seconds(), 0.0)


def holds_nothing(engine: Engine) -> bool:
    """Whether what HandyRep left on the servers was taken back, and may not be put there again before maintenance ends."""
    return engine.cluster.released and maintenance_left_s(engine) > 0
