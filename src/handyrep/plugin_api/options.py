"""Options of plugins: declared in the class with type, default and help, read from [plugins] [[name]].

Owns checking a plugin's section. Undeclared keys are let through with a warning: users may add their own.
"""

import difflib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast, overload

from handyrep.directives import Directive, Type, ValueProblem

T = TypeVar("T")
Raw = Mapping[str, str | list[str] | tuple[str, ...]]


class Option(Generic[T]):
    """A class attribute of a plugin that reads as its configured value on the instance.

    An attribute `server_` is the option `server`: for names that a helper of the parent has already.
    """

    def __init__(self, directive: Directive[T]) -> None:
        self.directive = directive
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.removesuffix("_")

    @overload
    def __get__(self, instance: None, owner: type) -> "Option[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Option[T] | T":
        if instance is None:
            return self
        return cast("T", instance.options[self.name])  # type: ignore[attr-defined] # every plugin has options


def option(kind: Type[T], default: T, help: str, *, required: bool = False) -> Option[T]:  # noqa: A002 - the word authors expect
    """Declare an option: `pg_ctl_path = option(path, "", "full path of pg_ctl")`. A blank value means the default."""
    return Option(Directive(kind, default, help, required))


def options_of(plugin: type) -> Mapping[str, Directive[Any]]:
    """The options a plugin class declares, those of its parents included."""
    return _declared(plugin)


@lru_cache(maxsize=1024)
def _declared(plugin: type) -> Mapping[str, Directive[Any]]:
    found: dict[str, Directive[Any]] = {}
    for parent in reversed(plugin.__mro__):
        found |= {value.name: value.directive for value in vars(parent).values() if isinstance(value, Option)}
    return MappingProxyType(found)


def read_options(plugin: type, given: Raw) -> tuple[Mapping[str, Any], list[str], list[str]]:
    """(values, problems, warnings) of a plugin's section. Undeclared keys keep the text they were given."""
    declared = options_of(plugin)
    values: dict[str, Any] = {name: directive.default for name, directive in declared.items()}
    problems: list[str] = []
    warnings = [_unknown(plugin, name, declared) for name in given if name not in declared]
    for name, directive in declared.items():
        try:
            values[name] = directive.parse(given.get(name, ""))
        except ValueProblem as problem:
            problems.append(f"[plugins] [[{plugin.__name__}]] {name} {problem}")
        except Exception as error:  # noqa: BLE001 - a user's own type of option may raise anything
            problems.append(f"[plugins] [[{plugin.__name__}]] {name} cannot be read: {type(error).__name__}: {error}")
        else:
            if directive.required and values[name] in ("", None, ()):
                problems.append(f"[plugins] [[{plugin.__name__}]] {name} is required: {directive.help}")
    values |= {name: value for name, value in given.items() if name not in declared}
    return MappingProxyType(values), problems, warnings


def _unknown(plugin: type, name: str, declared: Mapping[str, Directive[Any]]) -> str:
    near = difflib.get_close_matches(name, declared, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"[plugins] [[{plugin.__name__}]] {name} is not an option that {plugin.__name__} declares{hint}"
