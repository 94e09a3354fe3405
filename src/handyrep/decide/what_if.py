"""What HandyRep would see if something happened: a supposed event turns one look into another. Pure; nothing is done.

The picture that comes out goes through the same rules as a real one, so a prediction cannot differ from what would be decided.
"""

import dataclasses
import difflib
import enum
from collections.abc import Collection, Mapping
from types import MappingProxyType

from handyrep.errors import RefusedError
from handyrep.model.answer import Answer
from handyrep.model.observation import Picture, Seen

NO, UNKNOWN = Answer.NO, Answer.UNKNOWN


class Fate(enum.StrEnum):
    """What can be supposed of servers, in the words a person says it with."""

    DIES = "dies"
    HOST_DIES = "host dies"
    UNREACHABLE = "unreachable"


MEANINGS = {
    Fate.DIES: "PostgreSQL is killed there, and its host goes on answering",
    Fate.HOST_DIES: "the host is off: nobody reaches it",
    Fate.UNREACHABLE: "HandyRep does not reach the host any more; the other servers still do",
}
_WORDS = {"dies": Fate.DIES, "die": Fate.DIES, "unreachable": Fate.UNREACHABLE}
_FORM = 'Say it as "NAME dies", "NAME host dies" or "NAME unreachable"; several names or a role: "r1, r2 host dies", "all of replica unreachable".'


@dataclasses.dataclass(frozen=True, slots=True)
class Hypothesis:
    """An event that is supposed to happen to these servers, all at once."""

    names: tuple[str, ...]
    fate: Fate

    def __str__(self) -> str:
        return f"{' and '.join(self.names)}: {MEANINGS[self.fate]}"


def parse(text: str, roles: Mapping[str, str]) -> Hypothesis:
    """The event in a person's words; `roles` has the role of each server. Raises RefusedError for anything else."""
    whom, _, word = text.strip().rpartition(" ")
    fate = _WORDS.get(word.lower())
    if fate is None or not whom:
        raise RefusedError(f"{text!r} is no event that can be supposed", remedy=_FORM)
    subject = whom.strip()
    for ending in (" host", " hosts"):
        if fate is Fate.DIES and subject.lower().endswith(ending):
            subject, fate = subject[: -len(ending)], Fate.HOST_DIES
    return Hypothesis(_names(subject, roles), fate)


def _names(subject: str, roles: Mapping[str, str]) -> tuple[str, ...]:
    if subject.lower().startswith("all of "):
        role = subject[len("all of ") :].strip().lower()
        of_role = tuple(name for name, its in roles.items() if its == role)
        if not of_role:
            raise RefusedError(f"no server has the role {role!r}", remedy=_FORM)
        return of_role
    names = tuple(dict.fromkeys(name.strip() for name in subject.replace(" and ", ",").split(",") if name.strip()))
    for name in names:
        _known(name, roles)
    return names


def _known(name: str, names: Collection[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names)
        meant = f"Did you mean {near[0]}?" if near else f"There are {', '.join(names)}."
        raise RefusedError(f"there is no server {name!r}", remedy=meant)


def imagine(hypothesis: Hypothesis, now: Picture, master: str) -> Picture:
    """The look that HandyRep would have after the event, when nothing else changes."""
    seen = {name: _after(hypothesis, name, one, master) for name, one in now.seen.items()}
    return Picture(seen=MappingProxyType(seen), verified=True)


def _after(hypothesis: Hypothesis, name: str, now: Seen, master: str) -> Seen:
    if name not in hypothesis.names:
        hears = hypothesis.fate is Fate.UNREACHABLE or master not in hypothesis.names
        return now if hears else _without_master(now)
    if hypothesis.fate is Fate.DIES:
        sees = NO if name == master else UNKNOWN
        return Seen(up=NO, host_answers=now.host_answers, running=NO, sees_master=sees, notes=("supposed to be dead",))
    return Seen(up=NO, notes=(f"supposed: {MEANINGS[hypothesis.fate]}",))


def _without_master(now: Seen) -> Seen:
    facts = now.facts and dataclasses.replace(now.facts, receiving=False, message_age_s=None)
    return dataclasses.replace(now, sees_master=NO, replicating=NO, facts=facts)
