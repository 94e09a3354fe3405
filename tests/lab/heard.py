"""What a client of the lab was told, and what can be counted of that."""

import dataclasses
from itertools import pairwise


@dataclasses.dataclass
class Heard:
    """What a client was told; times are those of time.monotonic().

    `by`: the address of the server that each acknowledged row was written on. `errors`: what the client saw go wrong.
    """

    acknowledged: dict[int, float] = dataclasses.field(default_factory=dict)
    by: dict[int, str] = dataclasses.field(default_factory=dict)
    errors: list[str] = dataclasses.field(default_factory=list)
    in_doubt: set[int] = dataclasses.field(default_factory=set)

    def longest_gap_s(self) -> float:
        """The longest time between two acknowledgements so far."""
        times = sorted(self.acknowledged.values())
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def gap_around(self, moment: float) -> tuple[float, float]:
        """The last acknowledgement before a moment and the first after it. Raises ValueError when there is none."""
        times = list(self.acknowledged.values())
        return max(at for at in times if at <= moment), min(at for at in times if at > moment)

    def two_wrote(self) -> bool:
        """Whether a server acknowledged a row after another one had taken over from it."""
        servers = [self.by[number] for number, _ in sorted(self.acknowledged.items(), key=lambda row: row[1])]
        turns = [server for before, server in pairwise(["", *servers]) if server != before]
        return len(turns) > len(set(turns))
