"""The changes that no test notices, each with the reason why it makes no difference. They stand in tests/decide/survivors.toml."""

import collections
import dataclasses
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

FILE = Path(__file__).parents[1] / "decide" / "survivors.toml"


@dataclasses.dataclass(frozen=True, order=True)
class Survivor:
    """A change in function or class `where` of a module, by the words of its line: numbers of lines move."""

    module: str
    where: str
    line: str
    change: str

    @property
    def entry(self) -> str:
        """As it has to stand in the file; the reason is still to be written."""
        fields = "\n".join(f"{name} = {_quoted(text)}" for name, text in dataclasses.asdict(self).items())
        return f'[[survivor]]\n{fields}\nwhy = ""\n'


@dataclasses.dataclass(frozen=True)
class Balance:
    """What survived without a reason, and which reasons are given for nothing."""

    unexplained: tuple[Survivor, ...]
    needless: tuple[Survivor, ...]


def explanations(file: Path = FILE) -> dict[Survivor, str]:
    """Every survivor that is explained, with its reason."""
    entries = tomllib.loads(file.read_text(encoding="utf-8"))["survivor"]
    return {Survivor(**{k: v for k, v in one.items() if k != "why"}): one["why"] for one in entries}


def balance(survived: Sequence[Survivor], explained: Iterable[Survivor]) -> Balance:
    """Survivors against explanations. One explanation serves equal changes of equal lines in one function."""
    given = set(explained)
    left = collections.Counter(survived)
    return Balance(tuple(sorted(left.keys() - given)), tuple(sorted(given - left.keys())))


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f"'''{text}'''" if "'''" not in text else repr(text)
