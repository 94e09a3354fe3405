"""What the rules said: which row matched, what is to be done, and the sentence that everybody is shown."""

import dataclasses
import enum


class Move(enum.StrEnum):
    """What a verdict asks the engine to do."""

    NOTHING = "nothing"
    WATCH = "watch"
    REFUSE = "refuse"
    ASK = "ask"
    FENCE = "fence"
    HOLD = "hold"
    RESTART = "restart"
    PROCEED = "proceed"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is the id of the matching row, `sentence` its text for this case, `because` the facts behind it."""

    rule: str
    move: Move
    sentence: str
    because: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Excluded:
    """A replica that safety took out of the choice, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The candidate (None: there is none), those taken out, and the WAL that may be lost with it, in bytes.

    `lost_bytes` 0 is a proof that nothing acknowledged is lost; None means that it cannot be bounded.
    """

    candidate: str | None
    excluded: tuple[Excluded, ...] = ()
    lost_bytes: int | None = None
    proof: str = ""
