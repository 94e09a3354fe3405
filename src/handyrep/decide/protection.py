"""How well the cluster is protected at this moment: the level that status and doctor show, and what is missing for the next one."""

import dataclasses
import enum
from collections.abc import Sequence

from handyrep.decide.failover import Proof
from handyrep.decide.promise import are_readable_from
from handyrep.decide.quorum import parse_sync_list
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture


class Level(enum.StrEnum):
    """From nothing to everything."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


MEANINGS = {
    Level.P0: "nothing: no fence could give a proof, and commits do not wait for a replica",
    Level.P1: "no second writer behind the proxies: they could be cut off from the master; commits that no replica has can be lost",
    Level.P2: "no fork: a fence could prove that the master acknowledges nothing any more; commits that no replica has can be lost",
    Level.P3: "no loss: every acknowledged commit is on a replica that answers; but no fence could give a proof",
    Level.P4: "no fork and no loss: a fence could give its proof, and every acknowledged commit is on a replica that answers",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Protection:
    """The level, each thing that keeps it from being higher, and what it does not cover, or ''."""

    level: Level
    missing: tuple[str, ...]
    uncovered: str = ""

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.level.value}, {MEANINGS[self.level]}"


def protection(cluster: Cluster, picture: Picture, proofs: Sequence[Proof]) -> Protection:
    """The level that holds when the master is lost right now."""
    possible = [proof for proof in proofs if proof.possible is Answer.YES]
    of_the_node = [proof for proof in possible if not proof.routes_only]
    fence_missing = "" if of_the_node else _no_fence(proofs)
    loss_missing = _loss(cluster, picture)
    without_a_fence = Level.P1 if possible else Level.P0
    levels = {(True, True): Level.P4, (True, False): Level.P2, (False, True): Level.P3, (False, False): without_a_fence}
    level = levels[(not fence_missing, not loss_missing)]
    missing = tuple(missing for missing in (fence_missing, loss_missing) if missing)
    return Protection(level, missing, _without_its_host(possible))


def _no_fence(proofs: Sequence[Proof]) -> str:
    said = "; ".join(f"{proof.fence}: {proof.said}" for proof in proofs) or "no fence_methods are configured"
    return f"no fence could prove now that the master itself acknowledges nothing ({said})"


def _without_its_host(possible: Sequence[Proof]) -> str:
    """What to know of fences that all need the master's host; '' when one does not, or none can prove anything at all."""
    if not possible or not all(proof.needs_host for proof in possible):
        return ""
    names = ", ".join(proof.fence for proof in possible)
    return (
        f"a host that is off or cut off: then {names} can prove nothing, and a person is asked. "
        "fence_lease, fence_command or, with strict synchronous replication, fence_starve can"
    )


def _loss(cluster: Cluster, picture: Picture) -> str:
    """Why an acknowledged commit could be lost; '' when none could."""
    promise = parse_sync_list(cluster.synchronous_standby_names)
    if promise is None:
        listed = cluster.synchronous_standby_names or "blank"
        return f"synchronous_standby_names is {listed}: for no loss it must be ANY k (names) or FIRST k (names)"
    read = frozenset(m.name for m in cluster.replicas if picture.of(m.name).facts is not None)
    if not promise.is_readable_from(read):
        away = ", ".join(name for name in promise.names if name not in read)
        return f"{away} could not be read, and may be the only replica that has a commit ({cluster.synchronous_standby_names})"
    if not are_readable_from(cluster, read):
        return f"{cluster.synchronous_standby_names} is new: what was acknowledged before, to {cluster.list_since}, is not on enough of them yet"
    return ""
