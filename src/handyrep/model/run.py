"""A failover or switchover as data: who, what was done so far, and how each step ended.

A Run is rebuilt from the journal alone, so whatever is decided from it survives a kill of HandyRep.
"""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.model.answer import Outcome


class RunKind(enum.StrEnum):
    """Failover: the master is gone. Switchover: it is well and is asked to step down. Adoption: a person promoted by hand."""

    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    ADOPTION = "adoption"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step: a stage of the plan applied to a subject (a server or a plugin's name; '' when there is only one)."""

    stage: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.stage} {self.subject}".strip()


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A step with its outcome. A step whose end was never written counts as UNCERTAIN. `at`: when it began, read from the journal."""

    step: Step
    outcome: Outcome
    details: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    took_s: float = 0.0
    at: dt.datetime | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A failover or switchover under way.

    `fences`: plugins to try, in order. `extra_commands`: names of what runs at the end. `was_running`: the old master ran when
    it began, so undoing it means starting it again. `wanted`: the new master that a person named. `confirmed`: why a person is
    sure that the old master is off, where no plugin could prove it; `loss_accepted`: they take a loss that cannot be bounded.
    `proxies`: the plugin that can hold clients back while there is no master (in a switchover: let their work end first); '' when none can.
    `anyway`: a person goes on in spite of what a switchover should wait for.
    `suspected_for_s`: how long the old master had been suspected when it began; `verdict`: the number under which the verdict that
    began it is kept. Both 0 where a person began it.
    `synchronous`: so many replicas shall confirm each commit of the new master; 0: its list is left as it is.
    """

    kind: RunKind
    epoch: int
    old_master: str
    began_at: dt.datetime
    reason: str
    fences: tuple[str, ...]
    replicas: tuple[str, ...]
    extra_commands: tuple[str, ...] = ()
    wanted: str = ""
    remaster: bool = True
    was_running: bool = False
    confirmed: str = ""
    loss_accepted: bool = False
    proxies: str = ""
    anyway: bool = False
    suspected_for_s: float = 0.0
    verdict: int = 0
    synchronous: int = 0
    ended: tuple[Ended, ...] = ()

    def last(self, step: Step) -> Ended | None:
        """How a step ended the last time it was done; None when it was not begun."""
        found = [ended for ended in self.ended if ended.step == step]
        return found[-1] if found else None

    @property
    def new_master(self) -> str:
        """The candidate chosen in this run; '' before that. In an adoption a person has chosen it."""
        if self.kind is RunKind.ADOPTION:
            return self.wanted
        chosen = [
            e.extra.get("candidate", "")
            for e in self.ended
            if e.step.stage == "choose" and e.outcome is Outcome.SUCCESS
        ]
        return str(chosen[-1]) if chosen else ""

    @property
    def last_lsn(self) -> str:
        """The old master's end of WAL as the fence read it on its disk; '' when it could not."""
        read = [e.extra.get("last_lsn") for e in self.ended if e.step.stage == "fence" and e.outcome is Outcome.SUCCESS]
        return str(read[-1] or "") if read else ""

    def _last_of(self, stage: str) -> Ended | None:
        found = [ended for ended in self.ended if ended.step.stage == stage]
        return found[-1] if found else None

    @property
    def signs_of_life(self) -> tuple[str, ...]:
        """What still spoke for a living old master when the last look at it found it gone all the same; in a switchover it lives."""
        if self.kind is RunKind.SWITCHOVER:
            return ("a switchover begins with a master that is well",)
        looked = self._last_of("recheck")
        return tuple(looked.extra.get("signs", ())) if looked is not None else ()

    @property
    def old_master_ended(self) -> bool:
        """Whether the fence's proof says that no process of the old master is left, so that it can send nothing either."""
        return any(
            e.extra.get("ended") is True for e in self.ended if e.step.stage == "fence" and e.outcome is Outcome.SUCCESS
        )

    @property
    def standing(self) -> frozenset[str] | None:
        """The replicas that were seen to receive nothing any more; None in a switchover, where the end of the WAL is waited for."""
        if self.kind is RunKind.SWITCHOVER:
            return None
        frozen = self._last_of("freeze")
        return frozenset(frozen.extra.get("standing", ())) if frozen is not None else frozenset()

    @property
    def halted(self) -> tuple[str, ...]:
        """The replicas that may have been told to receive from nobody: all of them when HandyRep does not know how that ended."""
        frozen = self._last_of("freeze")
        if frozen is None:
            return ()
        return tuple(frozen.extra["halted"]) if "halted" in frozen.extra else self.replicas

    @property
    def promote_was_sent(self) -> bool:
        """Whether promoting was begun: from then on there is only forward."""
        return any(ended.step.stage == "promote" for ended in self.ended)

    def with_end(self, ended: Ended) -> "Run":
        """A copy with one more step ended."""
        return dataclasses.replace(self, ended=(*self.ended, ended))

    def without_last_failure(self) -> "Run":
        """A copy in which the last step, if it failed, may be tried once more. A promote is never tried twice."""
        if not self.ended or self.ended[-1].outcome is Outcome.SUCCESS or self.ended[-1].step.stage == "promote":
            return self
        return dataclasses.replace(self, ended=self.ended[:-1])
