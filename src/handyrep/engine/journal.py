"""The journal: what HandyRep is about to do and how it ended, written before and after each step.

Owns the form of its records and how a run is read back from them. What is not in the journal was not done.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from handyrep.decide import stages
from handyrep.errors import StateError
from handyrep.model.answer import Outcome
from handyrep.model.run import Ended, Run, RunKind, Step
from handyrep.ports import Clock, RecordLog


class Journal:
    """Runs on disk. At most one is open."""

    def __init__(self, log: RecordLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._understood: list[Mapping[str, Any]] = []
        self._found: dict[int, tuple[Run, str, str]] = {}

    def open(self, run: Run) -> None:
        """Begin a run. Raises StateError, and then nothing may be done."""
        self._write("open", **_run_to_json(run))

    def intend(self, run: Run, step: Step) -> None:
        """Write down that a step is about to be done. Raises StateError, and then it may not be done.

        Of a stage that only looks this becomes durable with the next intention.
        """
        write = self._log.note if stages.BY_ID[step.stage].looks else self._log.append
        write(self._dated("intend", run.epoch, stage=step.stage, subject=step.subject))

    def ended(self, run: Run, ended: Ended) -> None:
        """Write down how a step ended. Raises StateError; after a restart that step counts as uncertain.

        So it does where HandyRep's host loses its power before the next intention is written, with which this becomes durable.
        """
        self._log.note(self._dated("ended", run.epoch, **_ended_to_json(ended)))

    def close(self, run: Run, how: str, text: str) -> None:
        """End a run: `how` is finished, abandoned or settled (by a person)."""
        self._write("close", run.epoch, how=how, text=text)

    def runs(self) -> list[tuple[Run, str, str]]:
        """Every run with how it was closed ('' while open) and the closing text, oldest first. Each record is understood once."""
        records = self._log.read()
        known = len(self._understood) if records[: len(self._understood)] == self._understood else 0
        found = dict(self._found) if known else {}
        for record in records[known:]:
            _apply(record, found)
        self._understood, self._found = records, found
        return [found[epoch] for epoch in sorted(found)]

    def open_run(self) -> Run | None:
        """The run that was begun and not closed; its unfinished step counts as uncertain."""
        return next((run for run, how, _ in self.runs() if not how), None)

    def last_epoch(self) -> int:
        """The highest epoch ever begun; 0 when none was."""
        return max((run.epoch for run, _, _ in self.runs()), default=0)

    def next_epoch(self, recorded: int) -> int:
        """The epoch of a run that would begin now; `recorded` is the cluster's."""
        return max(recorded, self.last_epoch()) + 1

    def last_records(self) -> list[Mapping[str, Any]]:
        """What was written of the run that began last."""
        epoch = self.last_epoch()
        return [record for record in self._log.read() if record.get("epoch") == epoch]

    def take_over(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Go on from what another HandyRep wrote. Raises StateError: it is not what a HandyRep writes, or cannot be kept."""
        found = {run.epoch: (run, how, text) for run, how, text in self.runs()}
        taken = list(records)
        for record in taken:
            _apply(record, found)
        for record in taken:
            self._log.append(record)

    def _write(self, what: str, epoch: int, **facts: object) -> None:
        self._log.append(self._dated(what, epoch, **facts))

    def _dated(self, what: str, epoch: int, **facts: object) -> Mapping[str, Any]:
        return {"what": what, "epoch": epoch, "at": self._clock.now().isoformat(), **facts}


def _apply(record: Mapping[str, Any], found: dict[int, tuple[Run, str, str]]) -> None:
    try:
        epoch = int(record["epoch"])
        if record["what"] == "open":
            found[epoch] = (_run_from_json(record), "", "")
            return
        run, how, text = found[epoch]
        if record["what"] == "intend":
            step = Step(record["stage"], record["subject"])
            began_at = dt.datetime.fromisoformat(record["at"])
            run = run.with_end(
                Ended(step, Outcome.UNCERTAIN, "HandyRep stopped before it knew how this ended", at=began_at)
            )
        elif record["what"] == "ended":
            run = _with_known_end(run, _ended_from_json(record))
        elif record["what"] == "close":
            how, text = str(record["how"]), str(record["text"])
        found[epoch] = (run, how, text)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"the journal holds a record that is not HandyRep's ({type(error).__name__}: {error})"
        ) from None


def _with_known_end(run: Run, ended: Ended) -> Run:
    """The end of a step takes the place of its intention."""
    if run.ended and run.ended[-1].step == ended.step:
        ended = dataclasses.replace(ended, at=run.ended[-1].at)
        run = dataclasses.replace(run, ended=run.ended[:-1])
    return run.with_end(ended)


def _run_to_json(run: Run) -> dict[str, Any]:
    plain = {field.name: getattr(run, field.name) for field in dataclasses.fields(run) if field.name != "ended"}
    lists = {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
    return {**plain, **lists, "kind": run.kind.value, "began_at": run.began_at.isoformat()}


def _run_from_json(record: Mapping[str, Any]) -> Run:
    names = [field.name for field in dataclasses.fields(Run) if field.name in record and field.name != "ended"]
    plain = {name: record[name] for name in names}
    lists = {name: tuple(value) for name, value in plain.items() if isinstance(value, list)}
    kind, began_at = RunKind(plain["kind"]), dt.datetime.fromisoformat(plain["began_at"])
    return Run(**{**plain, **lists, "kind": kind, "began_at": began_at})


def _ended_to_json(ended: Ended) -> dict[str, Any]:
    return {
        "stage": ended.step.stage,
        "subject": ended.step.subject,
        "outcome": ended.outcome.value,
        "details": ended.details,
        "extra": dict(ended.extra),
        "took_s": round(ended.took_s, 4),
    }


def _ended_from_json(record: Mapping[str, Any]) -> Ended:
    return Ended(
        Step(record["stage"], record["subject"]),
        Outcome(record["outcome"]),
        str(record["details"]),
        MappingProxyType(dict(record["extra"])),
        float(record["took_s"]),
    )
