"""Where the WAL of a master that cannot be read any more may have ended: an estimate from the last looks, never a proof.

Only an asynchronous cluster uses it, and only where the operator allows it (estimate_lost_wal).
"""

from handyrep.model.cluster import LastSeen
from handyrep.model.lsn import Lsn

_FADES_OVER_S = 60.0
"""A burst of writing counts for so long in the rate."""


def seen_again(before: LastSeen | None, lsn: Lsn, now_s: float) -> LastSeen:
    """After another look. The rate is the highest that was seen lately: it may write as fast again, unseen."""
    if before is None or now_s <= before.at_s:
        return LastSeen(lsn, now_s)
    elapsed_s = now_s - before.at_s
    kept = before.bytes_per_s * (1.0 - elapsed_s / _FADES_OVER_S)
    return LastSeen(lsn, now_s, max((lsn - before.lsn) / elapsed_s, kept, 0.0))


def estimated_end(last: LastSeen | None, now_s: float) -> Lsn | None:
    """Where it would stand now had it gone on as fast as it ever did lately; None when it was not looked at since HandyRep started."""
    if last is None:
        return None
    return Lsn(last.lsn.position_bytes + int(last.bytes_per_s * max(now_s - last.at_s, 0.0)))
