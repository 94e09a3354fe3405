"""Leads one failover or switchover from its beginning, or from wherever its journal says it stands, to its end.

Intent is written before each step and its end after it; what comes next is decided from the journal alone.
"""

import dataclasses
from collections.abc import Awaitable, Callable

from handyrep.decide import progress, stages
from handyrep.engine.copies import Copies
from handyrep.engine.execute import Executor
from handyrep.engine.hands import said
from handyrep.engine.journal import Journal
from handyrep.engine.slots import sentences
from handyrep.engine.state import State
from handyrep.errors import HandyRepError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Ended, Run, Step
from handyrep.ports import Clock, EventSink

MAX_STEPS = 500
"""More steps than any plan has: beyond it something is wrong with the plan, and a person must look."""

_SPREAD_BEFORE = frozenset({stages.PROMOTE.id, stages.REPOINT.id})
"""Another HandyRep must know that a promote may have been sent, and who is recorded as the master."""


class Conductor:
    """Takes one run at a time. `still_may_act`: whether no other HandyRep goes on in this one's place, which may have slept."""

    def __init__(  # noqa: PLR0913 - each is a separate part of the engine
        self,
        executor: Executor,
        journal: Journal,
        copies: Copies,
        state: State,
        events: EventSink,
        clock: Clock,
        *,
        still_may_act: Callable[[], Awaitable[Result]],
    ) -> None:
        self._executor = executor
        self._journal = journal
        self._copies = copies
        self._state = state
        self._events = events
        self._clock = clock
        self._still_may_act = still_may_act

    async def begin(self, run: Run) -> Result:
        """Open the run in the journal and lead it.

        Raises StateError when it cannot be written down, RefusedError while another one stands open: nothing was done.
        """
        standing = self._journal.open_run()
        if standing is not None:
            raise RefusedError(f"{standing.kind.value} {standing.epoch} stands open")
        self._journal.open(run)
        self._events.record("begin", f"{run.kind.value} {run.epoch} begins: {run.reason}", {"epoch": run.epoch})
        await self._spread()
        return await self.lead(run)

    async def lead(self, run: Run) -> Result:
        """Go on until it is finished, abandoned, waits, or asks. SUCCESS only when the new master is in charge.

        Once another HandyRep may act, this one neither promotes nor takes anything back; after a promote there is only forward.
        """
        result = await self._led(run)
        await self._executor.ended()
        return result

    async def _led(self, run: Run) -> Result:
        for _ in range(MAX_STEPS):
            move = progress.next_move(run)
            if not run.promote_was_sent:
                active = await self._still_may_act()
                if active.outcome is not Outcome.SUCCESS:
                    return uncertain(f"{run.kind.value} {run.epoch} stands open: {said(active)}", epoch=run.epoch)
            match move:
                case progress.Do(step):
                    run = await self._step(run, step)
                case progress.Wait(step, reason):
                    run = await self._step(run, step)
                    if run.ended[-1].outcome is not Outcome.SUCCESS:
                        return uncertain(f"{reason}; HandyRep keeps looking", epoch=run.epoch, waiting=True)
                case progress.Finished(left):
                    return await self._finished(run, left)
                case progress.Abandoned(reason):
                    return await self._abandoned(run, reason)
                case progress.Ask(question, reason):
                    return self._asked(run, question, reason)
        return self._asked(run, progress.Question.OLD_MASTER_NOT_RESTORED, "the plan has no end")

    async def _step(self, run: Run, step: Step) -> Run:
        self._journal.intend(run, step)
        if step.stage in _SPREAD_BEFORE:
            await self._spread()
        began = self._clock.monotonic()
        try:
            result = await self._executed(run, step)
        except HandyRepError as error:
            result = uncertain(str(error))
        took_s = self._clock.monotonic() - began
        ended = Ended(step, result.outcome, result.details, result.extra, took_s)
        self._journal.ended(run, ended)
        run = run.with_end(ended)
        sentence = stages.sentence(stages.BY_ID[step.stage], step.subject, run)
        text = f"{sentence}: {result.outcome.value.lower()} after {took_s:.3f} s. {result.details}"
        self._events.record(
            "step", text, {"epoch": run.epoch, "stage": step.stage, "subject": step.subject, "took_s": took_s}
        )
        return run

    async def _executed(self, run: Run, step: Step) -> Result:
        """The promote is not even sent when another HandyRep may act since its intention was written."""
        if step.stage == stages.PROMOTE.id:
            active = await self._still_may_act()
            if active.outcome is not Outcome.SUCCESS:
                return fail(f"it was not sent: {said(active)}")
        return await self._executor.execute(run, step)

    async def _spread(self) -> None:
        """Never in the place of what another HandyRep has written meanwhile."""
        if (await self._still_may_act()).outcome is Outcome.SUCCESS:
            await self._copies.spread()

    async def _finished(self, run: Run, left: tuple[str, ...]) -> Result:
        text = f"{run.new_master} is the master after the {run.kind.value} from {run.old_master}"
        if left:
            text += f"; to be seen to: {'; '.join(left)}"
        if _warnings(run):
            text += f"; note: {'; '.join(_warnings(run))}"
        await self._close(run, "finished", text)
        return success(text, **_summary(run), left=list(left))

    async def _abandoned(self, run: Run, reason: str) -> Result:
        text = f"the {run.kind.value} was given up and nothing was promoted: {reason}"
        await self._close(run, "abandoned", text)
        return fail(text, **_summary(run))

    def _asked(self, run: Run, question: progress.Question, reason: str) -> Result:
        text = f"{question.value} ({reason})"
        if self._state.cluster.frozen != text:
            self._state.update(dataclasses.replace(self._state.cluster, frozen=text))
            self._events.record("ask", text, {"epoch": run.epoch, "question": question.name})
        return fail(text, **_summary(run), question=question.name)

    async def _close(self, run: Run, how: str, text: str) -> None:
        self._journal.close(run, how, text)
        await self._spread()
        self._events.record(how, text, {"epoch": run.epoch})


def _summary(run: Run) -> dict[str, object]:
    took_s = round(sum(ended.took_s for ended in run.ended), 3)
    told = {"epoch": run.epoch, "old_master": run.old_master, "new_master": run.new_master, "took_s": took_s}
    return {**told, "warnings": _warnings(run)}


def _warnings(run: Run) -> list[str]:
    """What steps that succeeded want people to know."""
    return list(dict.fromkeys(one for ended in run.ended for one in sentences(ended.extra.get("warnings"))))
