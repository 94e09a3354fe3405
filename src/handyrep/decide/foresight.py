"""What a failover would come to, as far as it can be known before any fence: an irreversible one must not be used in vain. Pure."""

from collections.abc import Sequence

from handyrep.decide.agreement import able_to_agree
from handyrep.decide.candidates import choose
from handyrep.decide.failover import Proof
from handyrep.decide.policy import Policy
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture
from handyrep.model.verdict import Choice

_LENIENT = Policy(max_lost_wal_bytes=2**63)


def is_final(proofs: Sequence[Proof]) -> bool:
    """Whether the fence that would be used ends the host, so that nobody reads its disk after it, and nothing takes it back."""
    first = next((proof for proof in proofs if proof.possible is Answer.YES), None)
    return first is not None and first.final


def foresee(
    ordered: Sequence[str], cluster: Cluster, picture: Picture, policy: Policy, *, final: bool, estimated: Lsn | None
) -> Choice:
    """The candidate as it looks before the fence. `final`: no more will be known of the loss than is known now, so it is judged now.

    Before any other fence it is not: the end of the old master's WAL may be read on its disk, and what was done can be taken back.
    """
    known = policy if final else _LENIENT
    last_lsn = None if final else Lsn(0)
    counts = estimated if final and policy.estimate_lost_wal else None
    choice = choose(ordered, cluster, picture, known, last_lsn=last_lsn, estimated=counts)
    return able_to_agree(choice, cluster, policy)
