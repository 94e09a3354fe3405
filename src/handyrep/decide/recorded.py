"""A situation as a record that can be judged again later, by the rules of that day. No I/O: others keep the records.

Must never read a record as something near it: one that another version wrote is an error, since its verdict might be wrong.
"""

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

from handyrep.decide.failover import Situation
from handyrep.errors import RecordError
from handyrep.model.answer import Answer
from handyrep.model.codec import decode, encode
from handyrep.model.observation import Seen
from handyrep.model.verdict import Move, Verdict

VERSION = 1
"""To be raised when a field comes to mean something else under its old name and type; anything else is noticed by itself."""


def record(situation: Situation) -> dict[str, Any]:
    """The situation as plain JSON. Raises RecordError: something in it has no plain form."""
    return {"version": VERSION, "situation": encode(situation)}


def recall(kept: Mapping[str, Any]) -> Situation:
    """The situation of a record. Raises RecordError: it is not one of this version."""
    if kept.keys() != {"version", "situation"} or kept["version"] != VERSION:
        raise RecordError(
            f"the record is of version {kept.get('version')!r}, and this HandyRep reads version {VERSION}",
            remedy="Replay it with the HandyRep that wrote it.",
        )
    situation: Situation = decode(Situation, kept["situation"], "situation")
    return situation


def differs(then: Verdict, now: Verdict) -> str:
    """How the verdict of now differs from the one of then, as a sentence; '' when it is the same rule and move, in whatever words."""
    if (then.rule, then.move) == (now.rule, now.move):
        return ""
    return f"then it was {then.rule} ({then.move.value}), now it would be {now.rule} ({now.move.value}): {now.sentence}"


def likeness(situation: Situation, verdict: Verdict) -> Hashable:
    """What two verdicts have in common when the second tells nothing new: times, positions and counts left out.

    Where nothing is to be done, the rule says it all: a light look and a full one differ without a reason to tell of it.
    """
    if verdict.move is Move.NOTHING:
        return verdict.rule
    return (
        verdict.rule,
        tuple((name, _answers(seen)) for name, seen in situation.picture.seen.items()),
        tuple((proof.fence, proof.possible) for proof in situation.proofs),
        situation.choice.candidate,
        tuple(excluded.name for excluded in situation.choice.excluded),
    )


def _answers(seen: Seen) -> Hashable:
    values = (getattr(seen, field.name) for field in dataclasses.fields(seen))
    facts = seen.facts and (seen.facts.in_recovery, seen.facts.timeline)
    return facts, tuple(value for value in values if isinstance(value, Answer))
