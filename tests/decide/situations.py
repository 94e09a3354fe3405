"""Situations of every kind, made from the types that the classes declare: a new field is varied without a word here."""

import dataclasses
import datetime as dt
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from handyrep.decide.failover import Situation
from handyrep.model.lsn import Lsn

_NAMES = st.sampled_from(["m1", "r1", "r2", "é", "\ud800"])
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["", "m1", "r1", "master", "replica", "1", 'a "quoted" word', "\x00\n"]),
    bool: st.booleans(),
    int: st.integers(-2, 2**64),
    float: st.floats(allow_nan=False, allow_infinity=False, width=32),
    Lsn: st.builds(Lsn, st.integers(0, 2**64 - 1)),
    dt.datetime: st.datetimes(timezones=st.just(dt.UTC)).map(lambda moment: moment.replace(fold=0)),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type that a field is declared with."""
    if hint in _LEAVES:
        return _LEAVES[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return st.none() | st.one_of(*(values(part) for part in arguments if part is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if typing.get_origin(hint) is Mapping:
        return st.dictionaries(_NAMES, values(arguments[1]), max_size=3).map(MappingProxyType)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{name: values(its) for name, its in fields(hint).items()})


def fields(cls: Any) -> dict[str, Any]:
    """The fields of a dataclass with their types."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def nouns(hint: Any = Situation) -> Iterator[type]:
    """Every dataclass that stands anywhere in a situation."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
        for its in fields(hint).values():
            yield from nouns(its)
    for part in typing.get_args(hint):
        yield from nouns(part)


SITUATIONS = values(Situation)
