"""May this HandyRep fail over now? One table: the first row whose condition holds gives the verdict.

`handyrep explain`, the journal and every surface print these same sentences.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

from handyrep.decide.policy import Policy
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.observation import Picture, Seen
from handyrep.model.server import Role
from handyrep.model.verdict import Choice, Move, Verdict

YES, NO = Answer.YES, Answer.NO


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """Whether a fence plugin could give its proof now, by its own dry run, and what it said.

    `routes_only`: it would speak of the clients that come through the proxies alone. `needs_silence`: it proves nothing of a master
    that gives a sign of life. `final`: it ends the old master's host, which cannot be taken back; its disk is not read then.
    `needs_host`: it proves nothing while that host does not answer.
    """

    fence: str
    possible: Answer
    said: str
    routes_only: bool = False
    needs_silence: bool = False
    final: bool = False
    needs_host: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the verdict depends on. `choice` is the candidate as it would be chosen now, before any fence.

    `cooldown_left_s` seconds remain in which no second automatic failover is made; `restarts_tried` in this outage.
    """

    cluster: Cluster
    picture: Picture
    policy: Policy
    is_active: Answer = YES
    passive: str = ""
    proofs: tuple[Proof, ...] = ()
    choice: Choice = Choice(None)
    cooldown_left_s: float = 0.0
    maintenance_left_s: float = 0.0
    restarts_tried: int = 0

    @property
    def master_name(self) -> str:
        """The recorded master's name; '' when there is not exactly one."""
        return self.cluster.master.name if self.cluster.master else ""

    @property
    def master(self) -> Seen:
        """What was seen of the recorded master."""
        return self.picture.of(self.master_name)

    @property
    def writable_servers(self) -> tuple[str, ...]:
        """Servers of this cluster that are not in recovery, whatever they are recorded as."""
        ours = self.cluster.system_identifier
        return tuple(
            name
            for name, seen in self.picture.seen.items()
            if seen.facts is not None and not seen.facts.in_recovery and seen.facts.system_identifier == (ours or seen.facts.system_identifier)
        )  # fmt: skip

    @property
    def returned(self) -> str:
        """A former master that takes writes again on an older timeline, while nobody else does but the recorded master; or ''."""
        back = [name for name in self.writable_servers if name != self.master_name]
        facts = self.picture.of(back[0]).facts if len(back) == 1 else None
        deposed = facts is not None and back[0] in self.cluster.deposed and facts.timeline < self.cluster.timeline
        return back[0] if deposed else ""

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Other servers from which the master can still be seen."""
        return tuple(n for n, seen in self.picture.seen.items() if n != self.master_name and seen.sees_master is YES)

    @property
    def reachable_others(self) -> tuple[str, ...]:
        """Other servers that answered anything at all: without one, HandyRep itself is cut off."""
        return tuple(
            name
            for name, seen in self.picture.seen.items()
            if name != self.master_name and YES in (seen.up, seen.alive, seen.host_answers)
        )

    @property
    def master_is_dead_on_its_own_host(self) -> bool:
        """Its host answers, and from there PostgreSQL lets nobody in: it stopped, crashed or hangs."""
        return self.master.host_answers is YES and self.master.sees_master is NO

    @property
    def master_is_stalled(self) -> bool:
        """It lets clients in and they can read, but no write of it has ended for so long that its storage hangs: nothing waits for its end."""
        return self.master.up is YES and self.master.stalled is YES

    @property
    def usable_proofs(self) -> tuple[Proof, ...]:
        """What can prove something of a master that is as this one was seen."""
        return tuple(p for p in self.proofs if p.possible is YES and not (self.master_is_stalled and p.needs_silence))

    @property
    def has_replicas(self) -> bool:
        """Whether anything could ever be promoted."""
        return bool(self.cluster.by_role(Role.REPLICA))


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """`sentence` is formatted with words()."""

    id: str
    when: Callable[[Situation], bool]
    move: Move
    sentence: str


RULES: tuple[Rule, ...] = (
    Rule("F01", lambda s: s.is_active is not YES, Move.NOTHING,
         "This HandyRep may not act, so it only looks: {passive}"),
    Rule("F02", lambda s: bool(s.cluster.frozen), Move.ASK,
         "Automation stands still until a person decides: {frozen}"),
    Rule("F19", lambda s: s.maintenance_left_s > 0, Move.NOTHING,
         "Maintenance for another {maintenance} minutes ({why}): HandyRep only looks. To end it: handyrep end-maintenance"),
    Rule("F03", lambda s: not s.master_name, Move.ASK,
         "{masters} servers are recorded as master instead of one: HandyRep does nothing. Correct the roles with 'handyrep alter-server-def'."),
    Rule("F18", lambda s: bool(s.returned), Move.FENCE,
         "{returned} was the master before {master} and takes writes again, on an older timeline: it is fenced."),
    Rule("F04", lambda s: len(s.writable_servers) > 1, Move.HOLD,
         "More than one server takes writes ({writable}): clients are held back at the proxies, and HandyRep does nothing else until a person decides which one is right. When only that one takes writes: handyrep adopt NAME CLUSTER"),
    Rule("F05", lambda s: s.writable_servers not in ((), (s.master_name,)), Move.ASK,
         "{writable} takes writes, but {master} is recorded as the master: somebody promoted by hand. HandyRep does nothing until a person decides. To make it the recorded master: handyrep adopt {writable} CLUSTER"),
    Rule("F20", lambda s: bool(s.master.stranger), Move.ASK,
         "In the place of {master} answers a PostgreSQL of another cluster (system identifier {stranger}): HandyRep does nothing until a person has looked who has its address, or its data directory."),
    Rule("F06", lambda s: s.master.facts is not None and s.master.facts.in_recovery, Move.ASK,
         "{master} is recorded as the master, but is in recovery: HandyRep does nothing until a person decides."),
    Rule("F07", lambda s: s.master.up is YES and not s.master_is_stalled, Move.NOTHING,
         "{master} accepts connections."),
    Rule("F08", lambda s: s.master.alive is YES and not s.master_is_stalled, Move.WATCH,
         "A PostgreSQL answered at {master}, though it let nobody in: it is alive, so there is no failover."),
    Rule("F09", lambda s: bool(s.witnesses) and not s.master_is_dead_on_its_own_host and not s.master_is_stalled, Move.WATCH,
         "HandyRep does not reach {master}, but {witnesses} still can: the master is alive, so there is no failover."),
    Rule("F10", lambda s: s.has_replicas and not s.reachable_others, Move.WATCH,
         "HandyRep reaches neither {master} nor any other server: HandyRep itself seems to be cut off, so it does nothing."),
    Rule("F11", lambda s: s.policy.restart_master and s.master.running is NO and s.restarts_tried < 1, Move.RESTART,
         "{master} does not run on a host that answers: it is started once in place (restart_master)."),
    Rule("F12", lambda s: not s.has_replicas, Move.REFUSE,
         "{master} {gone} and there is no replica to fail over to."),
    Rule("F13", lambda s: not s.policy.auto_failover, Move.REFUSE,
         "{master} {gone}, but auto_failover is off. To fail over run: handyrep manual-failover"),
    Rule("F14", lambda s: s.cooldown_left_s > 0, Move.REFUSE,
         "{master} {gone}, but the last failover was so recent that no second one is made for another {cooldown} s (failover_cooldown). To fail over now run: handyrep manual-failover"),
    Rule("F15", lambda s: s.choice.candidate is None, Move.REFUSE,
         "{master} {gone}, but no replica may take over: {excluded}."),
    Rule("F16", lambda s: not s.usable_proofs, Move.REFUSE,
         "{master} {gone}, but nothing proves that it can acknowledge no commit any more, so promoting could fork the data: {proofs}. If you made sure yourself that it is off and stays off: handyrep confirmed-failover"),
    Rule("F17", lambda _: True, Move.PROCEED,
         "{master} {gone}{unseen}, {proof} can prove it fenced, and {candidate} can take over: fail over."),
)  # fmt: skip


def judge(situation: Situation) -> Verdict:
    """The verdict of the first row that holds."""
    return next(verdicts(situation))


def verdicts(situation: Situation) -> Iterator[Verdict]:
    """The verdicts of all rows that hold, in their order: the first one counts, the others would if it were not for those before."""
    for rule in RULES:
        if rule.when(situation):
            yield Verdict(rule.id, rule.move, rule.sentence.format(**words(situation)), _because(situation))


def _nobody_named(s: Situation) -> str:
    """It goes by how the replicas were seen last, so that is the reason; `handyrep status` tells more of each."""
    seen = ", ".join(f"{one.name} is {one.status.health.word}" for one in s.cluster.replicas)
    return f"the selection plugin named none{f' ({seen}); to name one that may all the same: handyrep manual-failover NAME' if seen else ''}"


def words(s: Situation) -> dict[str, str]:
    """What sentences about this situation may name."""
    listed = "; ".join(f"{e.name}: {e.reason}" for e in s.choice.excluded) or _nobody_named(s)
    return {
        "master": s.master_name or "the master",
        "masters": str(len(s.cluster.masters)),
        "frozen": s.cluster.frozen,
        "passive": s.passive or "it is not the HandyRep master.",
        "returned": s.returned,
        "stranger": s.master.stranger,
        "maintenance": f"{math.ceil(s.maintenance_left_s / 60)}",
        "why": s.cluster.maintenance_reason,
        "writable": " and ".join(sorted(s.writable_servers)),
        "witnesses": " and ".join(sorted(s.witnesses)),
        "cooldown": f"{s.cooldown_left_s:.0f}",
        "excluded": listed,
        "proofs": "; ".join(f"{p.fence}: {_told(p)}" for p in s.proofs) or "no fence_methods are configured",
        "proof": next((p.fence for p in s.usable_proofs), "no fence"),
        "gone": "lets clients in and ends no commit, since its storage hangs" if s.master_is_stalled else "is gone",
        "unseen": _unseen(s),
        "candidate": s.choice.candidate or "nobody",
    }


def _unseen(s: Situation) -> str:
    """By whom else it was looked for, as the rest of a sentence. Where its own host says so, what others see is void, and may not be known."""
    if s.master_is_stalled:
        return ""
    return ", its own host says so" if s.master_is_dead_on_its_own_host else ", nobody sees it"


def _told(proof: Proof) -> str:
    """Only asked for when none is usable: one that could be had is then of no use while the master lives."""
    return "it proves nothing of a master that still answers" if proof.possible is YES else proof.said


def _because(s: Situation) -> tuple[str, ...]:
    return tuple(
        f"{name}: up {seen.up.value}, alive {seen.alive.value}, host answers {seen.host_answers.value}, running "
        f"{seen.running.value}, writes hang {seen.stalled.value}, sees the master {seen.sees_master.value}"
        + (f" ({'; '.join(seen.notes)})" if seen.notes else "")
        for name, seen in sorted(s.picture.seen.items())
    )
