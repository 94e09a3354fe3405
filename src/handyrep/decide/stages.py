"""The order of a failover and of a switchover, as two tables, and what each step's end leads to.

The engine executes stages by their id; people read their sentences; docs and `what_if` print the tables.
"""

import dataclasses
import enum

from handyrep.model.run import Run, RunKind


class Then(enum.Enum):
    """Where a step that did not succeed leads."""

    NEXT = "the next subject of the stage; when none is left, undo"
    UNDO = "take back what was done and leave the old master as it was"
    GO_ON = "go on; it is reported"
    AGAIN = "do it once more; if that is not known to have succeeded either, go on, and it is reported"
    HEED = "go on; the steps that come take it into account"
    WAIT = "look again in the next cycle: it may still happen, and nothing else may be done meanwhile"
    ASK = "stand still and ask a person"


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `fail` and `uncertain` say where these ends lead; `sentence` is what it does, {subject} its server or plugin.

    `looks`: it changes nothing anywhere, so nothing is lost where it is not known afterwards that it was begun.
    """

    id: str
    sentence: str
    fail: Then
    uncertain: Then
    looks: bool = False


RECHECK = Stage(
    "recheck", "look once more from everywhere whether {old} is really gone", Then.UNDO, Then.UNDO, looks=True
)
PREFLIGHT = Stage("preflight", "check that {old} is well and that a replica can take over", Then.UNDO, Then.UNDO)
HASTEN = Stage("hasten", "let {old} do now what would make its stop last", Then.HEED, Then.HEED)
PAUSE = Stage("pause", "let clients' work come to its end with {subject}, and new work wait", Then.UNDO, Then.UNDO)
FENCE = Stage("fence", "prove with {subject} that {old} can acknowledge no commit any more", Then.NEXT, Then.NEXT)
HOLD = Stage("hold", "hold clients back with {subject}, so that they wait instead of failing", Then.HEED, Then.HEED)
FREEZE = Stage(
    "freeze", "let no replica receive anything more, so that their positions stand still", Then.HEED, Then.WAIT
)
RESCUE = Stage("rescue", "give the best replica the WAL that {old} wrote and never sent", Then.HEED, Then.HEED)
CHOOSE = Stage("choose", "look at the replicas again and choose the new master", Then.UNDO, Then.UNDO, looks=True)
AGREE = Stage(
    "agree", "tell {new} which replicas its commits wait for, before anybody can write there", Then.UNDO, Then.UNDO
)
CATCH_UP = Stage("catch_up", "wait until {new} has everything that {old} wrote", Then.UNDO, Then.UNDO)
PROMOTE = Stage("promote", "order {new} to become the master", Then.HEED, Then.HEED)
CONFIRM = Stage("confirm", "look until {new} takes writes", Then.WAIT, Then.WAIT)
RECORD = Stage("record", "write down that {new} is the master", Then.WAIT, Then.WAIT)
SLOTS = Stage("slots", "make the replication slots on {new} that its replicas use", Then.GO_ON, Then.AGAIN)
REPOINT = Stage("repoint", "point the proxies at {new}", Then.GO_ON, Then.AGAIN)
FOLLOW = Stage("follow", "let {subject} receive from {new}", Then.GO_ON, Then.AGAIN)
REJOIN = Stage("rejoin", "bring {old} back as a replica of {new}", Then.GO_ON, Then.GO_ON)
EXTRA = Stage("extra", "run the command {subject}", Then.GO_ON, Then.GO_ON)

FAILOVER = (
    RECHECK,
    HOLD,
    FENCE,
    FREEZE,
    RESCUE,
    CHOOSE,
    AGREE,
    PROMOTE,
    CONFIRM,
    RECORD,
    REPOINT,
    SLOTS,
    FOLLOW,
    EXTRA,
)
SWITCHOVER = (
    PREFLIGHT,
    CHOOSE,
    AGREE,
    HASTEN,
    PAUSE,
    FENCE,
    CATCH_UP,
    PROMOTE,
    CONFIRM,
    RECORD,
    REPOINT,
    SLOTS,
    FOLLOW,
    REJOIN,
    EXTRA,
)
ADOPTION = (CONFIRM, RECORD, REPOINT, SLOTS, FOLLOW)
PLANS = {RunKind.FAILOVER: FAILOVER, RunKind.SWITCHOVER: SWITCHOVER, RunKind.ADOPTION: ADOPTION}

RELEASE = Stage("release", "take back what {subject} left on {old}", Then.ASK, Then.WAIT)
THAW = Stage("thaw", "let the replicas receive as before", Then.GO_ON, Then.GO_ON)
START = Stage("start", "start {old} again as the master it was", Then.ASK, Then.ASK)
LET_ON = Stage("let_on", "let clients on to {old} with {subject}", Then.GO_ON, Then.GO_ON)
UNDO = (THAW, RELEASE, START, LET_ON)

BY_ID = {stage.id: stage for stage in (*FAILOVER, *SWITCHOVER, *UNDO)}


CONFIRMATION = "confirmation"
"""Stands among the fences for a person's word. It is the last one asked for: what a plugin proves is better."""


def subjects(stage: Stage, run: Run) -> tuple[str, ...]:
    """What the stage is done to, in order; ('',) for a stage that is done once, () for one that is not done."""
    if stage is FENCE:
        return (*run.fences, CONFIRMATION) if run.confirmed else run.fences
    if stage in (HOLD, PAUSE):
        return (run.proxies,) if run.proxies else ()
    if stage is FOLLOW:
        return tuple(name for name in run.replicas if name != run.new_master) if run.remaster else ()
    if stage is EXTRA:
        return run.extra_commands
    left_out = (stage is AGREE and not run.synchronous) or (stage is REJOIN and not run.remaster)
    return () if left_out else ("",)


def planned(run: Run, fence: str, new: str) -> list[str]:
    """The sentences of a run's steps before it begins, as far as it would come: with this fence, and this new master or '' for none."""
    lines: list[str] = []
    for stage in PLANS[run.kind]:
        named = (fence,) if stage is FENCE else subjects(stage, run)
        told = [one for one in named if not new or one != new]
        lines += [stage.sentence.format(subject=one, old=run.old_master, new=new or "nobody") for one in told]
        if stage is CHOOSE and not new:
            return [*lines, "no replica may take over then: give up, and put the old master back as it was"]
    return lines


def sentence(stage: Stage, subject: str, run: Run) -> str:
    """The stage's sentence for one run."""
    return stage.sentence.format(subject=subject, old=run.old_master, new=run.new_master or "the new master")
