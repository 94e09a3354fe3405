"""Frozen nouns as plain JSON and back, by the types that their classes declare: a new field is taken along without a word here.

Must never guess: what is missing, not known or of another type is a RecordError.
"""

import dataclasses
import datetime as dt
import enum
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from handyrep.errors import RecordError
from handyrep.model.lsn import Lsn
from handyrep.model.result import Json

_AS_TEXT: Mapping[type, tuple[Callable[[Any], str], Callable[[str], object]]] = {
    dt.datetime: (dt.datetime.isoformat, dt.datetime.fromisoformat),
    Lsn: (str, Lsn.parse),
}
_NOT_FINITE = ("inf", "-inf", "nan")


def encode(value: object) -> Json:
    """The value as plain JSON. Raises RecordError: it holds something that has no plain form."""
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if type(value) in _AS_TEXT:
        return _AS_TEXT[type(value)][0](value)
    return _encoded_parts(value)


def _encoded_parts(value: object) -> Json:
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise RecordError(f"a {type(value).__name__} has no plain form")


def decode(hint: Any, plain: object, where: str) -> Any:
    """The value of the type `hint` that encode() made this from; `where` names it in errors. Raises RecordError."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return None if plain is None else decode(hint, plain, where)
    if typing.get_origin(hint) is tuple:
        items = _checked(list, plain, where)
        return tuple(decode(typing.get_args(hint)[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    if typing.get_origin(hint) is Mapping:
        named = _checked(dict, plain, where)
        return MappingProxyType({k: decode(typing.get_args(hint)[1], v, f"{where}.{k}") for k, v in named.items()})
    if hint in _AS_TEXT:
        return _from_text(hint, _checked(str, plain, where), where)
    if dataclasses.is_dataclass(hint):
        return _noun(hint, _checked(dict, plain, where), where)
    return _member(hint, plain, where) if issubclass(hint, enum.Enum) else _scalar(hint, plain, where)


def _noun(cls: Any, plain: dict[str, Any], where: str) -> object:
    hints = _hints(cls)
    for name in hints.keys() ^ plain.keys():
        raise RecordError(f"{where}.{name} is {'missing' if name in hints else 'not known'}", remedy=_OTHER_VERSION)
    return cls(**{name: decode(hint, plain[name], f"{where}.{name}") for name, hint in hints.items()})


_OTHER_VERSION = "Another version of HandyRep wrote this record."


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _from_text(hint: Any, plain: str, where: str) -> object:
    try:
        return _AS_TEXT[hint][1](plain)
    except ValueError:
        raise _wrong(hint, plain, where) from None


def _member(hint: type[enum.Enum], plain: object, where: str) -> enum.Enum:
    for member in hint:
        if type(member.value) is type(plain) and member.value == plain:
            return member
    raise _wrong(hint, plain, where)


def _scalar(hint: type, plain: object, where: str) -> object:
    if hint is float and type(plain) is int:
        return plain
    if hint is float and plain in _NOT_FINITE:
        return float(str(plain))
    return _checked(hint, plain, where)


def _checked(hint: type, plain: object, where: str) -> Any:
    if type(plain) is not hint:
        raise _wrong(hint, plain, where)
    return plain


def _wrong(hint: type, plain: object, where: str) -> RecordError:
    return RecordError(f"{where} is {str(plain)[:80]!r}, which is no {hint.__name__}", remedy=_OTHER_VERSION)
