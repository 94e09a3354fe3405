"""explain and verdicts: what was decided, from what, what came of it, and whether today's rules say the same. They change nothing."""

import datetime as dt
from typing import Any

from handyrep.decide.failover import Situation, judge
from handyrep.decide.hindsight import REMEDIES, next_in_line, passed_over
from handyrep.decide.recorded import differs, recall
from handyrep.errors import RecordError, RefusedError
from handyrep.model.codec import encode
from handyrep.model.kept import Kept
from handyrep.model.result import Result, fail, success
from handyrep.model.run import Run
from handyrep.model.verdict import Verdict
from handyrep.operations.declare import Running, operation

_DIVERGED_SHOWN = 3
_DIGITS = 18
"""More than any number that is kept under has."""
_NONE_YET = "no verdict yet: nothing was looked at since there is a history"
_LISTED = "The ones that are kept: handyrep verdicts"


@operation(
    "Information",
    changes=False,
    bare="what",
    what="number of a verdict, or failover for the last one; left out: the last verdict",
    epoch="number of a failover or switchover",
    replay="judge once more, by the rules of today; a failure when they say something else",
)
async def explain(on: Running, what: str = "", epoch: int | None = None, replay: bool = False) -> Result:
    """Why the last or any verdict, and the last or any failover, were what they were."""
    run = _run(on, epoch)
    of_run = epoch is not None or what == "failover"
    if of_run and run is None:
        raise RefusedError("there was no failover yet")
    kept = _began(on, run) if of_run else _kept(on, what)
    told = _verdict(kept) if kept is not None else None
    shown: dict[str, Any] = {
        "about": "failover" if of_run else "verdict",
        "last_run": None if run is None else _told(*run),
    }
    shown["diverged"] = [f"{one['at'][:19]} {one['text']}" for one in on.history.newest(_DIVERGED_SHOWN, "diverged")]
    if replay:
        return _replayed(told, shown)
    if of_run and run is not None:
        return success(run[2] or f"{run[0].kind.value} {run[0].epoch} stands open", verdict=told, **shown)
    last = on.engine.last_verdict
    told = _bare(last) if told is None and last is not None else told
    return success(_NONE_YET if told is None else told["sentence"], verdict=told, **shown)


@operation("Information", changes=False, count="how many of the newest")
async def verdicts(on: Running, count: int = 20) -> Result:
    """The newest verdicts with their numbers, oldest of them first. One that came again and again is counted, not repeated."""
    if not 1 <= count <= 10_000:
        raise RefusedError("count must be between 1 and 10000")
    found = on.check.verdicts.newest(count)
    return success(f"{len(found)} verdicts", verdicts=[{**_head(kept), **_bare(kept.verdict)} for kept in found])


def _kept(on: Running, what: str) -> Kept | None:
    if not what:
        return on.check.verdicts.last()
    found = on.check.verdicts.find(int(what)) if what.isdecimal() and len(what) <= _DIGITS else None
    if found is None:
        raise RefusedError(f"there is no verdict {what!r}", remedy=_LISTED)
    return found


def _began(on: Running, run: tuple[Run, str, str] | None) -> Kept | None:
    """The verdict that began a run. After a history was begun anew its number may stand for another one."""
    kept = on.check.verdicts.find(run[0].verdict) if run is not None else None
    return kept if kept is not None and run is not None and kept.verdict.sentence in run[0].reason else None


def _run(on: Running, epoch: int | None) -> tuple[Run, str, str] | None:
    runs = on.engine.journal.runs()
    wanted = [one for one in runs if epoch in (None, one[0].epoch)]
    if epoch is not None and not wanted:
        known = ", ".join(str(run.epoch) for run, _, _ in runs[-20:]) or "none"
        raise RefusedError(f"there was no failover {epoch}", remedy=f"The last ones were: {known}.")
    return wanted[-1] if wanted else None


def _head(kept: Kept) -> dict[str, Any]:
    return {
        "id": kept.number,
        "at": kept.at.isoformat(),
        "last_at": kept.last_at.isoformat(),
        "times": kept.times,
    }


def _bare(verdict: Verdict) -> dict[str, Any]:
    told = {"rule": verdict.rule, "move": verdict.move.value, "sentence": verdict.sentence}
    return {**told, "because": list(verdict.because), "remedy": REMEDIES.get(verdict.rule, "")}


def _verdict(kept: Kept) -> dict[str, Any]:
    """All that is known of a verdict. What the rules of today make of its inputs is told as theirs."""
    told = {**_head(kept), **_bare(kept.verdict), "inputs": kept.inputs}
    if kept.inputs is None:
        return {**told, "unreadable": "what it was judged from could not be kept"}
    try:
        situation = recall(kept.inputs)
    except RecordError as error:
        return {**told, "unreadable": str(error)}
    return {**told, **_rejudged(situation, kept.verdict)}


def _rejudged(situation: Situation, then: Verdict) -> dict[str, Any]:
    now, following = judge(situation), next_in_line(situation)
    return {
        "evidence": {name: encode(seen) for name, seen in situation.picture.seen.items()},
        "proofs": [encode(proof) for proof in situation.proofs],
        "choice": encode(situation.choice),
        "passed_over": [{"rule": rule, "why": why} for rule, why in passed_over(situation)],
        "next": None if following is None else _bare(following),
        "now": _bare(now),
        "differs": differs(then, now),
        "same_words": then == now,
    }


def _replayed(told: dict[str, Any] | None, shown: dict[str, Any]) -> Result:
    if told is None:
        raise RefusedError("no verdict is kept that could be replayed", remedy=_LISTED)
    if "unreadable" in told:
        return fail(f"it cannot be replayed: {told['unreadable']}", verdict=told, **shown)
    if told["differs"]:
        return fail(f"replayed: {told['differs']}", verdict=told, **shown)
    words = "" if told["same_words"] else f", in other words: {told['now']['sentence']}"
    return success(f"replayed: {told['rule']} ({told['move']}), as then{words}", verdict=told, **shown)


def _told(run: Run, how: str, text: str) -> dict[str, Any]:
    """A failover or switchover with its steps, each with its time since the old master was first suspected."""
    suspected_at = run.began_at - dt.timedelta(seconds=run.suspected_for_s)
    steps = [
        {
            "step": str(ended.step),
            "outcome": ended.outcome.value,
            "details": ended.details,
            "took_s": ended.took_s,
            "at": ended.at.isoformat() if ended.at is not None else None,
            "after_s": None if ended.at is None else round((ended.at - suspected_at).total_seconds(), 4),
        }
        for ended in run.ended
    ]
    told = {"kind": run.kind.value, "epoch": run.epoch, "reason": run.reason, "how": how or "open", "text": text}
    times = {
        "suspected_at": suspected_at.isoformat() if run.suspected_for_s else None,
        "began_at": run.began_at.isoformat(),
        "suspected_for_s": run.suspected_for_s,
        "verdict": run.verdict or None,
    }
    return {**told, **times, "steps": steps}
