"""How an operation is declared, found and called with arguments from outside, which are parsed by type here.

Owns the edge between foreign arguments and typed ones: False is False, None is "not said", and nothing unknown passes.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec

from handyrep.adapters.history import History
from handyrep.adapters.status_table import StatusTable
from handyrep.config.read import Loaded
from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.engine.monitor import Monitor
from handyrep.errors import HandyRepError, RefusedError
from handyrep.model.result import RD, Result, fail

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """What operations work on."""

    engine: Engine
    check: Check
    monitor: Monitor
    history: History
    table: StatusTable
    loaded: Loaded


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `kind` is str, int or bool; `choices` bounds a str; `required` ones have no default.

    `bare`: people may give it without its name although it is not required.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    required: bool
    default: object
    text: str
    bare: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `changes`: it may change servers or HandyRep's own state."""

    name: str
    group: str
    changes: bool
    text: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., Awaitable[Result]]


OPERATIONS: dict[str, Operation] = {}


def operation(
    group: str, *, changes: bool, bare: str = "", **texts: str
) -> Callable[
    [Callable[Concatenate[Running, P], Awaitable[Result]]], Callable[Concatenate[Running, P], Awaitable[Result]]
]:
    """Declare the function as an operation of its own name. `texts` tells what each parameter is, `bare` which needs no name."""

    def declared(
        function: Callable[Concatenate[Running, P], Awaitable[Result]],
    ) -> Callable[Concatenate[Running, P], Awaitable[Result]]:
        name = function.__name__
        OPERATIONS[name] = Operation(
            name, group, changes, inspect.getdoc(function) or "", _parameters(function, texts, bare), function
        )
        return function

    return declared


async def invoke(on: Running, name: str, arguments: Mapping[str, object]) -> RD:
    """Call an operation with foreign arguments. Never raises for what people or servers do wrong: it is a FAIL with words."""
    try:
        return (await invoke_typed(on, name, arguments)).as_rd()
    except HandyRepError as error:
        return fail(str(error), error=type(error).__name__).as_rd()


async def invoke_typed(on: Running, name: str, arguments: Mapping[str, object]) -> Result:
    """The same, with errors raised. Raises HandyRepError."""
    declared = OPERATIONS.get(name)
    if declared is None:
        raise RefusedError(f"there is no operation {name!r}")
    return await declared.function(on, **typed(declared, arguments))


def typed(declared: Operation, arguments: Mapping[str, object]) -> dict[str, Any]:
    """The arguments by the types of the declaration. Raises RefusedError, naming every wrong one."""
    known = {parameter.name: parameter for parameter in declared.parameters}
    problems = [f"{name!r} is not a parameter" for name in arguments if name not in known]
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        given = arguments.get(name)
        if given is None:
            if parameter.required:
                problems.append(f"{name} is required: {parameter.text}")
            continue
        try:
            values[name] = _parsed(parameter, given)
        except ValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise RefusedError(f"{declared.name}: {'; '.join(problems)}")
    return values


def _parsed(parameter: Parameter, given: object) -> object:
    if parameter.kind is bool:
        return _boolean(given)
    if parameter.kind is int:
        return _whole(given)
    if not isinstance(given, str):
        raise ValueError(f"must be text, not {given!r}")  # noqa: TRY004 - collected as a problem
    if parameter.choices and given not in parameter.choices:
        raise ValueError(f"must be one of {', '.join(parameter.choices)}, not {given!r}")
    return given


def _boolean(given: object) -> bool:
    if isinstance(given, bool):
        return given
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(given, str) and given.lower() in words:
        return words[given.lower()]
    raise ValueError(f"must be true or false, not {given!r}")


def _whole(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ValueError(f"must be a whole number, not {given!r}")  # noqa: TRY004 - collected as a problem
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"must be a whole number, not {given!r}") from None


def _parameters(function: Callable[..., object], texts: Mapping[str, str], bare: str) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function)
    found = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kind, choices = _kind(hints[name])
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        found.append(Parameter(name, kind, choices, required, default, texts.get(name, ""), bare=name == bare))
    return tuple(found)


def _kind(hint: Any) -> tuple[type, tuple[str, ...]]:
    """(type, choices) of a hint: str, int, bool, Literal of texts, each with or without None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return str, tuple(typing.get_args(hint))
    return hint, ()
