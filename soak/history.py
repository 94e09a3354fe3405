"""What clients were told, as frozen values, and as lines of a file: one client process writes, the judge reads.

Times are those of time.monotonic(), which all processes of a machine share.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Ack:
    """A server said without reserve that a row is committed. `timeline` tells in which epoch: each promotion begins a new one."""

    row: int
    server: str
    timeline: int
    sent: float
    heard: float
    route: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Doubt:
    """A row was sent, and whether it is committed was not said."""

    row: int
    sent: float
    route: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A row is nowhere."""

    row: int


Answer = Ack | Doubt | Refused


def to_line(answer: Ack | Doubt, route: str) -> str:
    """One line of the file."""
    told = dataclasses.asdict(dataclasses.replace(answer, route=route))
    return json.dumps([type(answer).__name__, *told.values()]) + "\n"


def parsed(lines: Iterable[str]) -> Iterator[Ack | Doubt]:
    """Raises ValueError for a line that is not whole."""
    kinds: dict[str, type[Ack | Doubt]] = {"Ack": Ack, "Doubt": Doubt}
    for line in lines:
        kind, *values = json.loads(line)
        yield kinds[kind](*values)


class Reader:
    """Reads a growing file. `acks` and `doubts` hold all that was read so far."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self.acks: list[Ack] = []
        self.doubts: list[Doubt] = []

    def read(self) -> None:
        """Read what was added; a last line that is still being written is left for the next time."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + (1 if whole else 0)
        for answer in parsed(whole.decode().splitlines()):
            if isinstance(answer, Ack):
                self.acks.append(answer)
            else:
                self.doubts.append(answer)
