"""What comes next in a failover or switchover, from its journal alone.

Before the promote is sent an abandoned run is undone, step by step; after it there is only forward. A promote is sent at most
once in a run, and the old master is never started after it.
"""

import dataclasses
import enum

from handyrep.decide.stages import FENCE, HOLD, LET_ON, PAUSE, PLANS, RELEASE, THAW, UNDO, Stage, Then, subjects
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, Run, Step


class Question(enum.StrEnum):
    """The closed list of what HandyRep may ask a person in the middle of a run."""

    OLD_MASTER_NOT_RESTORED = (
        "The failover was given up, but the old master could not be put back as it was. Look at it, then answer."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Do:
    """Execute this step."""

    step: Step


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Execute this step again, in the next cycle: `reason` says what is waited for."""

    step: Step
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """The new master is in charge. `left` names the steps that did not succeed and have to be seen to."""

    left: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Abandoned:
    """Nothing was promoted; what had been done was undone. `reason` says why it was given up."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """Only a person can say how to go on."""

    question: Question
    reason: str


NextMove = Do | Wait | Finished | Abandoned | Ask


def next_move(run: Run) -> NextMove:
    """The one thing to do now."""
    left: list[str] = []
    for stage in PLANS[run.kind]:
        move = _in_stage(stage, run, left)
        if move is not None:
            return move
    return Finished(tuple(left))


def _in_stage(stage: Stage, run: Run, left: list[str]) -> NextMove | None:
    """What this stage still wants; None when it is behind us. Failures that are gone past are added to `left`."""
    refused: list[Ended] = []
    for subject in subjects(stage, run):
        ended = run.last(Step(stage.id, subject))
        if ended is None or _once_more(stage, ended, run):
            return Do(Step(stage.id, subject))
        if ended.outcome is Outcome.SUCCESS:
            if stage is FENCE:
                return None
            continue
        then = stage.fail if ended.outcome is Outcome.FAIL else stage.uncertain
        if then is Then.WAIT:
            return Wait(ended.step, ended.details)
        if then is Then.UNDO:
            return _undo(run, ended.details)
        if then in (Then.GO_ON, Then.AGAIN):
            left.append(f"{ended.step}: {ended.details}")
        refused.append(ended)
    if stage is FENCE:
        return _undo(
            run, "; ".join(f"{e.step.subject}: {e.details}" for e in refused) or "no fence_methods are configured"
        )
    return None


def _once_more(stage: Stage, ended: Ended, run: Run) -> bool:
    """Whether nobody knows how it ended, and doing it again can only help."""
    times = sum(1 for one in run.ended if one.step == ended.step)
    return ended.outcome is Outcome.UNCERTAIN and stage.uncertain is Then.AGAIN and times == 1


def _undo(run: Run, reason: str) -> NextMove:
    """Take back in reverse what may have been done. Never after a promote was sent."""
    for stage in UNDO:
        for subject in _to_undo(stage, run):
            ended = run.last(Step(stage.id, subject))
            if ended is None:
                return Do(Step(stage.id, subject))
            if ended.outcome is Outcome.SUCCESS:
                continue
            told = f"{reason}. {ended.step}: {ended.details}"
            then = stage.fail if ended.outcome is Outcome.FAIL else stage.uncertain
            if then is Then.WAIT:
                return Wait(ended.step, told)
            if then is Then.ASK:
                return Ask(Question.OLD_MASTER_NOT_RESTORED, told)
            reason = told
    return Abandoned(reason)


def _to_undo(stage: Stage, run: Run) -> tuple[str, ...]:
    """What this stage of the undo is done to: only what may have been changed."""
    if stage is THAW:
        return ("",) if run.halted else ()
    if stage is LET_ON:
        return tuple(e.step.subject for e in run.ended if e.step.stage in (HOLD.id, PAUSE.id))
    tried = [e.step.subject for e in run.ended if e.step.stage == FENCE.id and not _untouched(e)]
    if stage is RELEASE:
        return tuple(reversed(tried))
    return ("",) if tried and run.was_running else ()


def _untouched(fence: Ended) -> bool:
    """Whether it says that it did nothing, so that there is nothing to take back."""
    return fence.outcome is Outcome.FAIL and fence.extra.get("untouched") is True
