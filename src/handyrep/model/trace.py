"""What a plugin has left on a server, and how the word of a plugin about it is understood."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """One thing in one place. `where`: a full path, or "setting X", "slot X", "unit X", "table X".

    `purpose`: what it is for; `stays`: why it is not taken away now, '' when it is.
    """

    name: str
    where: str
    purpose: str
    stays: str = ""

    def as_dict(self) -> dict[str, str]:
        """As plain JSON."""
        return dataclasses.asdict(self)


def parse_traces(told: object) -> tuple[Trace, ...]:
    """From what stands in `traces` of a plugin's answer. Raises ValueError: it is none, or says only half."""
    if not isinstance(told, list):
        raise ValueError(f"traces is not a list but {type(told).__name__}")  # noqa: TRY004 - one kind of mistake
    return tuple(_parsed(one) for one in told)


def _parsed(one: object) -> Trace:
    names = [field.name for field in dataclasses.fields(Trace)]
    if not isinstance(one, Mapping) or set(one) != set(names) or not all(isinstance(one[n], str) for n in names):
        raise ValueError(f"a trace is {', '.join(names)}, each a text: use self.trace()")
    if not (one["name"].strip() and one["where"].strip() and one["purpose"].strip()):
        raise ValueError("a trace tells its name, where it is, and what it is for")
    return Trace(**{name: one[name] for name in names})
