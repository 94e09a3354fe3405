"""What comes next in a failover or switchover, from its journal alone.

Before the promote is sent an abandoned run is undone, step by step; after it there is only forward. A promote is sent at most
once in a run, and the old master is never started after it.
"""

import dataclasses
import enum

from handyrep.decide.stages import FENCE, PLANS, PROMOTE, RELEASE, START, UNDO, Stage, Then, subjects
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, Run, Step


class Question(enum.StrEnum):
    """The closed list of what HandyRep may ask a person in the middle of a run."""

    OLD_MASTER_NOT_RESTORED = (
        "The failover was given up, but the old master could not be put back as it was. Look at it, then answer."
    )
    PROMOTED_BUT_NOT_RECORDED = "The new master takes writes, but that could not be written down. Make room or repair the state directory, then answer."


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


def _in_stage(stage: Stage, run: Run, left: list[str]) -> NextMove | None:  # noqa: PLR0911 - one return for each way to end
    """What this stage still wants; None when it is behind us. Failures that are gone past are added to `left`."""
    refused: list[Ended] = []
    for subject in subjects(stage, run):
        ended = run.last(Step(stage.id, subject))
        if ended is None:
            return Do(Step(stage.id, subject))
        if ended.outcome is Outcome.SUCCESS:
            if stage is FENCE:
                return None
            continue
        then = stage.fail if ended.outcome is Outcome.FAIL else stage.uncertain
        if then is Then.WAIT:
            return Wait(ended.step, ended.details)
        if then is Then.ASK:
            return Ask(Question.PROMOTED_BUT_NOT_RECORDED, ended.details)
        if then is Then.UNDO:
            return _undo(run, ended.details)
        if then is Then.GO_ON and stage is not PROMOTE:
            left.append(f"{ended.step}: {ended.details}")
        refused.append(ended)
    if stage is FENCE:
        return _undo(
            run, "; ".join(f"{e.step.subject}: {e.details}" for e in refused) or "no fence_methods are configured"
        )
    return None


def _undo(run: Run, reason: str) -> NextMove:
    """Take back in reverse what may have been done. Never after a promote was sent."""
    tried = [e.step.subject for e in run.ended if e.step.stage == FENCE.id and not _untouched(e)]
    if not tried:
        return Abandoned(reason)
    for stage in UNDO:
        for subject in dict.fromkeys(reversed(tried)) if stage is RELEASE else ("",):
            if stage is START and not run.was_running:
                continue
            ended = run.last(Step(stage.id, subject))
            if ended is None:
                return Do(Step(stage.id, subject))
            if ended.outcome is Outcome.UNCERTAIN and stage.uncertain is Then.WAIT:
                return Wait(ended.step, f"{reason}. {ended.step}: {ended.details}")
            if ended.outcome is not Outcome.SUCCESS:
                return Ask(Question.OLD_MASTER_NOT_RESTORED, f"{reason}. {ended.step}: {ended.details}")
    return Abandoned(reason)


def _untouched(fence: Ended) -> bool:
    """Whether it says that it did nothing, so that there is nothing to take back."""
    return fence.outcome is Outcome.FAIL and fence.extra.get("untouched") is True
