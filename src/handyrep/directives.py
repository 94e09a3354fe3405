"""What a configurable value is: its type, default, unit and sentence of help.

One mechanism serves the sections of handyrep.conf, a server's own definition and the options of plugins.
Owns parsing of single values from text. Must never read files or know sections.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

_UNIT_SECONDS = {
    "": 1.0, "ms": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0,
    "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_INTERVAL = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*")
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


class ValueProblem(ValueError):  # noqa: N818 - it is collected and reported, not raised at people
    """Why a text cannot be taken, as the end of a sentence: 'must be a whole number, not "x"'."""


class Secret:
    """A password. Its text never shows in str(), repr(), format() or JSON; `reveal()` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself: hand it straight to the library that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclasses.dataclass(frozen=True, slots=True)
class Type(Generic[T]):
    """How a text becomes a value. `expects` completes 'must be …'; `parse` raises ValueProblem.

    `parse_list` takes the parts of a list; types without it take no list. `show` is the text that parses to the value again.
    """

    expects: str
    parse: Callable[[str], T]
    parse_list: Callable[[tuple[str, ...]], T] | None = None
    show: Callable[[T], str] = str


def _number_between(convert: Callable[[str], T], expects: str, low: float, high: float) -> Type[T]:
    def parse(text: str) -> T:
        try:
            value = convert(text.strip())
        except ValueError:
            raise ValueProblem(f"must be {expects}, not {text!r}") from None
        if not low <= cast("float", value) <= high:
            raise ValueProblem(f"must be {expects} between {low:g} and {high:g}, not {text!r}")
        return value

    return Type(expects, parse)


def integer(low: int = 0, high: int = 2**31) -> Type[int]:
    """A whole number from low to high."""
    return _number_between(int, "a whole number", low, high)


def number(low: float = 0.0, high: float = 1e12) -> Type[float]:
    """A number, decimals allowed, from low to high."""
    return _number_between(float, "a number", low, high)


def _parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueProblem(f"must be True or False, not {text!r}")


def parse_interval(text: str) -> float:
    """Seconds from '0.5', '2 s', '1 minute', '200 ms'. Raises ValueProblem."""
    match = _INTERVAL.fullmatch(text)
    unit = match[2].lower() if match else None
    if match is None or unit not in _UNIT_SECONDS:
        raise ValueProblem(f"must be a time such as '0.5', '2 s' or '1 minute', not {text!r}")
    seconds = float(match[1]) * _UNIT_SECONDS[unit]
    if seconds > 10 * 365 * 86400:
        raise ValueProblem(f"is longer than ten years: {text!r}")
    return seconds


def interval_text(seconds: float) -> str:
    """A usual way to write a time, such as '200 ms' or '10 min'; parse_interval gives the same time back."""
    for unit in ("d", "h", "min", "s") if seconds >= 1 else ("ms",):
        written = f"{seconds / _UNIT_SECONDS[unit]:.0f} {unit}"
        if seconds and parse_interval(written) == seconds:
            return written
    return f"{Decimal(repr(float(seconds))).normalize():f} s"


def _interval_parser(low_s: float, high_s: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = parse_interval(text)
        if not low_s <= value <= high_s:
            raise ValueProblem(f"must be a time from {interval_text(low_s)} to {interval_text(high_s)}, not {text!r}")
        return value

    return parse


def seconds_between(low_s: float, high_s: float) -> Type[float]:
    """A time, in seconds once parsed, from low_s to high_s."""
    return Type("a time", _interval_parser(low_s, high_s), show=interval_text)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _parse_text(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueProblem("must not contain control characters or line breaks")
    return text


def _parse_word(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", text):
        raise ValueProblem(
            f"must be letters, digits, '_', '-' or '.', not starting with '-' or '.', at most 128 characters, not {text!r}"
        )
    return text


def _parse_service(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:\\\-]{0,254}", text):
        raise ValueProblem(f"must be the name of a service, not {text!r}")
    return text


def _parse_host(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_:\[\]][A-Za-z0-9_.\-:%\[\]]{0,254}", text):
        raise ValueProblem(f"must be a host name or an IP address, not {text!r}")
    return text


def _parse_path(text: str) -> str:
    _parse_text(text)
    if text and not text.startswith("/"):
        raise ValueProblem(f"must be a full path beginning with '/', not {text!r}")
    if ".." in Path(text).parts:
        raise ValueProblem(f"must not contain '..': {text!r}")
    return text


def _parse_local_path(text: str) -> str:
    return os.path.expanduser(_parse_text(text))  # noqa: PTH111 - the result stays text, as it was configured


_LONGEST_SECRET = 4096


def _secret_file(name: str) -> str:
    """The text of a small regular file: a pipe or a device would be waited for without end."""
    path = Path(name)
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST_SECRET:
            raise ValueProblem(f"names {name!r}, which is not a file with one password")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueProblem(f"names the file {name!r}, which cannot be read ({reason})") from None


def _secret_text(given: str) -> str:
    if given.startswith("env:"):
        name = given.removeprefix("env:")
        if name not in os.environ:
            raise ValueProblem(f"names the environment variable {name!r}, which is not set")
        return os.environ[name]
    return _secret_file(given.removeprefix("file:")) if given.startswith("file:") else given


def _parse_secret(given: str) -> Secret:
    """A secret given as itself, as env:NAME or as file:PATH. No message of this function shows it."""
    found = _secret_text(given)
    if not found:
        raise ValueProblem(f"{given!r} holds an empty password")
    return Secret(_parse_text(found))


text = Type("a line of text", _parse_text)
word = Type("a name", _parse_word)
service = Type("the name of a service", _parse_service)
host = Type("a host name or an IP address", _parse_host)
path = Type("a full path", _parse_path)
local_path = Type("a path on the HandyRep server", _parse_local_path)
boolean = Type("True or False", _parse_boolean)
seconds = Type("a time", parse_interval, show=interval_text)
secret = Type("a password, env:NAME or file:PATH", _parse_secret, show=repr)


def choice(*words: str) -> Type[str]:
    """One of the given words."""

    def parse(text: str) -> str:
        if text.strip() in words:
            return text.strip()
        raise ValueProblem(f"must be one of {', '.join(words)}, not {text!r}")

    return Type("one of " + ", ".join(words), parse)


def _shown_part(part: str) -> str:
    quote = "'" if '"' in part else '"'
    return f"{quote}{part}{quote}" if re.search("[,#'\"]", part) else part


def list_of(item: Type[T]) -> Type[tuple[T, ...]]:
    """Values separated by commas (configobj splits them; one value needs no comma)."""

    def parse_list(parts: tuple[str, ...]) -> tuple[T, ...]:
        if not all(part.strip() for part in parts):
            raise ValueProblem("must not contain an empty value")
        return tuple(item.parse(part.strip()) for part in parts)

    def parse(text: str) -> tuple[T, ...]:
        return parse_list(tuple(part for part in text.split(",") if part.strip()))

    def show(values: tuple[T, ...]) -> str:
        return ", ".join(_shown_part(item.show(value)) for value in values)

    return Type(f"a list, each {item.expects}", parse, parse_list, show)


@dataclasses.dataclass(frozen=True, slots=True)
class Directive(Generic[T]):
    """One configurable value. A blank text means `default`; `required` ones must not be blank."""

    type: Type[T]
    default: T | None
    help: str
    required: bool = False

    def parse(self, given: str | Iterable[str]) -> T | None:
        """The value for what configobj gave: a text, or a list of texts. Raises ValueProblem."""
        if isinstance(given, str):
            return self.type.parse(given) if given.strip() else self.default
        if self.type.parse_list is None:
            raise ValueProblem(f"must be {self.type.expects}, not a list; quote it if it contains a comma")
        return self.type.parse_list(tuple(given))


def directive(kind: Type[T], default: T | None, help: str) -> Any:  # noqa: A002 - as dataclasses.field does
    """A dataclass field that is a directive of handyrep.conf."""
    return dataclasses.field(default=default, metadata={"directive": Directive(kind, default, help)})


def directives_of(settings: type) -> dict[str, Directive[Any]]:
    """The directives that a settings dataclass declares, by name, in the order of declaration."""
    return {
        field.name: field.metadata["directive"]
        for field in dataclasses.fields(settings)
        if "directive" in field.metadata
    }
