"""Which changes are tried on a module's source, each one small enough to be a slip of the hand. Owns no running and no verdicts.

Not changed: docstrings, annotations, imports, decorators, and texts (see `_is_only_a_text`).
"""

import ast
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

SRC = Path(__file__).parents[2] / "src" / "handyrep"
OTHER = "something else"
SHOWN = 70

Enums = Mapping[str, Sequence[str]]
Change = tuple[ast.AST, str, ast.AST]
Node = TypeVar("Node", bound=ast.AST)

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
_CALCULATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_CALLS = {"any": "all", "all": "any", "min": "max", "max": "min"}
_ORDERINGS = ("sorted", "reversed", "set", "frozenset")


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change: in function or class `where`, on the quoted `line`, `change` in words; it concerns these line numbers.

    `at_import`: what it changes is read when the module is imported, so any test may see it.
    """

    where: str
    line: str
    change: str
    lines: range
    at_import: bool
    number: int


@dataclasses.dataclass(frozen=True)
class _Place:
    """A node, and what is needed to put another in its stead."""

    node: ast.AST
    parent: ast.AST
    field: str
    position: int | None
    owners: tuple[ast.AST, ...]

    def put(self, new: ast.AST) -> None:
        if self.position is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.position] = new


def enums_of(*folders: Path) -> dict[str, list[str]]:
    """The names of every enum's members, read from the source: nothing is imported."""
    classes = (n for f in folders for p in f.glob("*.py") for n in ast.parse(p.read_text(encoding="utf-8")).body)
    return {
        node.name: [
            one.targets[0].id for one in node.body if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        ]
        for node in classes
        if isinstance(node, ast.ClassDef) and _is_enum(node)
    }  # fmt: skip


def mutations(source: str) -> list[Mutation]:
    """Every change of this source, in its order."""
    quoted = source.splitlines()
    return [
        Mutation(
            ".".join(owner.name for owner in place.owners if isinstance(owner, ast.FunctionDef | ast.ClassDef)),
            quoted[getattr(at, "lineno", 1) - 1].strip(), change, _lines(place, at),
            not any(isinstance(owner, ast.FunctionDef | ast.Lambda) for owner in place.owners), number,
        )
        for number, (place, (at, change, _)) in enumerate(_all(ast.parse(source)))
    ]  # fmt: skip


def mutated(source: str, number: int) -> ast.Module:
    """The module with that change."""
    tree = ast.parse(source)
    place, (_, _, new) = next(found for at, found in enumerate(_all(tree)) if at == number)
    place.put(ast.copy_location(new, place.node))
    return ast.fix_missing_locations(tree)


def _all(tree: ast.Module) -> Iterator[tuple[_Place, Change]]:
    for place in _places(tree, ()):
        for change in _changes(place):
            yield place, change


def _places(parent: ast.AST, owners: tuple[ast.AST, ...]) -> Iterator[_Place]:
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list", "format_spec", "ctx", "bases"):
            continue
        for position, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not _is_left_alone(node):
                yield _Place(node, parent, field, position, owners)
                inside = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)
                yield from _places(node, (*owners, node) if inside else owners)


def _is_left_alone(node: ast.AST) -> bool:
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or isinstance(node, ast.Import | ast.ImportFrom)


def _lines(place: _Place, at: ast.AST) -> range:
    """Of what is changed; a test that goes through any of them may notice."""
    node: Any = place.node if not isinstance(place.node, ast.If) else place.node.test
    first = min(getattr(node, "lineno", 1), getattr(at, "lineno", 1))
    return range(first, getattr(node, "end_lineno", first) + 1)


def _changes(place: _Place) -> Iterator[Change]:
    node = place.node
    for change in _OF_A_KIND:
        yield from change(place)
    yield from _enum_member(node)
    yield from _condition(place)


def _becomes(node: Any, new: Any) -> Change:
    return node, f"{_shown(node)} becomes {_shown(new)}", new


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return f"`{text}`" if len(text) <= SHOWN else f"`{text[: SHOWN - 2]} …`"


def _but(node: Node, **changed: Any) -> Node:
    """A copy of the node with other fields."""
    fields = {name: getattr(node, name, None) for name in node._fields}
    return ast.copy_location(type(node)(**{**fields, **changed}), node)


def _comparison(place: _Place) -> Iterator[Change]:
    node = place.node
    if not isinstance(node, ast.Compare):
        return
    for at, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield _becomes(node, _but(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]]))
        if isinstance(op, ast.Is | ast.IsNot) and _answer(node.comparators[at]) in ("YES", "NO"):
            opposite = ast.Name({"YES": "NO", "NO": "YES"}[_answer(node.comparators[at])], ast.Load())
            right = node.comparators[at]
            told = _but(right, attr=opposite.id) if isinstance(right, ast.Attribute) else opposite
            other = ast.IsNot if isinstance(op, ast.Is) else ast.Is
            yield _becomes(node, _but(node, ops=[other()], comparators=[told]))


def _answer(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Answer":
        return node.attr
    return node.id if isinstance(node, ast.Name) and node.id in ENUMS["Answer"] else ""


def _logic(place: _Place) -> Iterator[Change]:
    node = place.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _becomes(node, node.operand)
    if isinstance(node, ast.BoolOp):
        yield _becomes(node, _but(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
        for at, value in enumerate(node.values):
            rest = [*node.values[:at], *node.values[at + 1 :]]
            yield (
                value,
                f"{_shown(node)} without {_shown(value)}",
                rest[0] if len(rest) == 1 else _but(node, values=rest),
            )


def _condition(place: _Place) -> Iterator[Change]:
    """What decides is taken for true, and for false."""
    node, parent = place.node, place.parent
    decides = place.field in ("test", "ifs") or (isinstance(parent, ast.Lambda) and place.field == "body")
    if decides and not isinstance(node, ast.Constant):
        yield _becomes(node, ast.Constant(True))
        if place.field != "ifs":
            yield _becomes(node, ast.Constant(False))


def _constant(place: _Place) -> Iterator[Change]:
    node = place.node
    if isinstance(node, ast.JoinedStr) and not _is_only_a_text(place):
        yield _becomes(node, ast.Constant(""))
    if not isinstance(node, ast.Constant) or isinstance(place.parent, ast.JoinedStr):
        return
    value = node.value
    if isinstance(value, bool):
        yield _becomes(node, ast.Constant(not value))
    elif isinstance(value, int | float):
        yield _becomes(node, ast.Constant(value + 1))
        yield _becomes(node, ast.Constant(value - 1))
    elif isinstance(value, str) and not (" " in value and _is_only_a_text(place)):
        yield _becomes(node, ast.Constant("" if value else OTHER))


def _is_only_a_text(place: _Place) -> bool:
    """A sentence that a noun or an error is made with, or that an enum's member is: nothing is decided by its words."""
    if any(isinstance(owner, ast.ClassDef) and _is_enum(owner) for owner in place.owners):
        return True
    call = place.parent if isinstance(place.parent, ast.Call) else None
    name = getattr(call.func, "attr", getattr(call.func, "id", "")) if call is not None else ""
    return name[:1].isupper() or (isinstance(place.parent, ast.keyword) and place.parent.arg == "remedy")


def _is_enum(node: ast.ClassDef) -> bool:
    return any("Enum" in ast.unparse(base) for base in node.bases)


def _calculation(place: _Place) -> Iterator[Change]:
    node = place.node
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _CALCULATIONS:
        yield _becomes(node, _but(node, op=_CALCULATIONS[type(node.op)]()))


def _enum_member(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ENUMS["Answer"]:
        yield from (_becomes(node, ast.Name(other, ast.Load())) for other in ENUMS["Answer"] if other != node.id)
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in ENUMS.get(node.value.id, ())
    ):
        members = ENUMS[node.value.id]
        at = members.index(node.attr)
        for other in sorted({members[at - 1], members[(at + 1) % len(members)]} - {node.attr}):
            yield _becomes(node, _but(node, attr=other))


def _call(place: _Place) -> Iterator[Change]:
    node = place.node
    if not isinstance(node, ast.Call):
        return
    for keyword in node.keywords:
        if keyword.arg is not None:
            rest = [one for one in node.keywords if one is not keyword]
            yield keyword, f"without {_shown(keyword)}", _but(node, keywords=rest)
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in _CALLS:
        yield _becomes(node, _but(node, func=ast.Name(_CALLS[name], ast.Load())))
    if name in ("min", "max") and len(node.args) > 1:
        yield from (_becomes(node, one) for one in node.args)
    if name in _ORDERINGS and node.args:
        yield _becomes(node, node.args[0])
    if isinstance(node.func, ast.Attribute):
        of = ast.unparse(node.func)
        if of == "dict.fromkeys" and len(node.args) == 1:
            yield _becomes(node, node.args[0])
        if node.func.attr in ("strip", "lower", "replace", "removeprefix") and of != "dataclasses.replace":
            yield _becomes(node, node.func.value)


def _collection(place: _Place) -> Iterator[Change]:
    """An element is missing, or two have changed places."""
    node = place.node
    if isinstance(node, ast.Dict):
        for at, key in enumerate(node.keys):
            keys, values = ([*all_[:at], *all_[at + 1 :]] for all_ in (node.keys, node.values))
            if key is not None:
                yield key, f"without {_shown(key)}", _but(node, keys=keys, values=values)
    if not isinstance(node, ast.Tuple | ast.List | ast.Set) or isinstance(getattr(node, "ctx", None), ast.Store):
        return
    for at, one in enumerate(node.elts):
        yield one, f"without {_shown(one)}", _but(node, elts=[*node.elts[:at], *node.elts[at + 1 :]])
    for at, (one, two) in enumerate(zip(node.elts, node.elts[1:], strict=False)):
        if ast.dump(one) != ast.dump(two) and not isinstance(node, ast.Set) and not _is_asked_for_members(place):
            swapped = [*node.elts[:at], two, one, *node.elts[at + 2 :]]
            yield two, f"{_shown(one)} and {_shown(two)} change places", _but(node, elts=swapped)


def _is_asked_for_members(place: _Place) -> bool:
    """`x in (a, b)`: there the order is of no account."""
    return isinstance(place.parent, ast.Compare) and isinstance(place.parent.ops[0], ast.In | ast.NotIn)


def _returned(place: _Place) -> Iterator[Change]:
    node = place.node
    if not isinstance(node, ast.Return) or node.value is None:
        return
    function = next(owner for owner in reversed(place.owners) if isinstance(owner, ast.FunctionDef))
    says = ast.unparse(function.returns) if function.returns is not None else ""
    others = {"bool": ("True", "False"), "str": ("''",)}.get(says, ("()",) if says.startswith("tuple") else ("None",))
    for other in others:
        if ast.unparse(node.value) != other:
            yield _becomes(node, _but(node, value=ast.parse(other, mode="eval").body))


def _statement(place: _Place) -> Iterator[Change]:
    """It is not there."""
    node = place.node
    owner = place.owners[-1] if place.owners else None
    again = isinstance(node, ast.Assign) and isinstance(owner, ast.FunctionDef) and _is_known_already(node, owner)
    if again or isinstance(node, ast.Expr | ast.AugAssign | ast.Continue | ast.Raise):
        yield node, f"without {_shown(node)}", ast.Pass()


def _is_known_already(node: ast.Assign, function: ast.FunctionDef) -> bool:
    """Whether what is assigned has a value without this statement, too."""
    names = {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    before = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    earlier = (n for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return names <= before | {one.id for one in earlier if one.lineno < node.lineno}


_OF_A_KIND = (_comparison, _logic, _constant, _calculation, _call, _collection, _returned, _statement)
ENUMS = enums_of(SRC / "model", SRC / "decide")
