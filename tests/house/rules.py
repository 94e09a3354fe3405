"""The rules of the house as functions over source text. Each returns what is wrong, as sentences; nothing wrong is an empty list."""

import ast
import re
import statistics
import tokenize
from collections.abc import Iterator
from io import StringIO

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MEDIAN_FUNCTION_LINES = 10
MAX_PUBLIC_METHODS = 10
FORBIDDEN_NAMES = ("utils", "util", "helpers", "misc", "common")
_SQL = re.compile(r"\b(select|insert into|update \w+ set|delete from|alter system|create table)\b", re.IGNORECASE)
_SHELL = re.compile(r"\b(pg_ctl|sudo|systemctl|pg_basebackup|pg_rewind|kill -|rm -)\b")
_SERVER_PATH = re.compile(r"(^|[\s'\"])/(etc|var|usr|srv|opt|home)/")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function, methods included."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from its name to its end, the docstring left out."""
    has_text = ast.get_docstring(node) is not None
    first = node.body[0]
    text_lines = (first.end_lineno or first.lineno) - first.lineno + 1 if has_text else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - text_lines


def too_long(name: str, source: str) -> list[str]:
    """A file or a function that is longer than one idea."""
    found = [f"{name} has {lines} lines" for lines in [source.count("\n")] if lines > MAX_FILE_LINES]
    long = ((node.name, body_lines(node)) for node in functions(ast.parse(source)))
    return found + [f"{name}: {function}() has {lines} lines" for function, lines in long if lines > MAX_FUNCTION_LINES]


def too_many_methods(name: str, source: str) -> list[str]:
    """A class that does everything."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            public = [
                m.name
                for m in node.body
                if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef) and not m.name.startswith("_")
            ]
            if len(set(public)) > MAX_PUBLIC_METHODS:
                found.append(f"{name}: {node.name} has {len(set(public))} public methods")
    return found


def without_text(name: str, source: str) -> list[str]:
    """A module that does not say what it owns."""
    return [] if ast.get_docstring(ast.parse(source)) else [f"{name} has no docstring"]


def median_function_lines(sources: list[str]) -> float:
    """Over all functions of all sources."""
    return statistics.median(body_lines(node) for source in sources for node in functions(ast.parse(source)))


def bad_name(name: str) -> list[str]:
    """A module that owns nothing in particular."""
    parts = name.removesuffix(".py").split("/")
    return [f"{name} is named {part}" for part in parts if part in FORBIDDEN_NAMES]


def left_open(name: str, source: str) -> list[str]:
    """Marks of work not done."""
    return [
        f"{name}:{number} {line.strip()[:60]}"
        for number, line in enumerate(source.splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]


def commented_out(name: str, source: str) -> list[str]:
    """Code that was turned into a comment."""
    found = []
    for token in tokenize.generate_tokens(StringIO(source).readline):
        text = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and re.match(
            r"(def |class |import |from \w+ import|return\b|if .*:$|for .*:$|\w+ = \w+\()", text
        ):
            found.append(f"{name}:{token.start[0]} {token.string[:60]}")
    return found


def printing(name: str, source: str) -> list[str]:
    """print() where nobody reads."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        f"{name}:{node.lineno} print()" for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def own_ways(name: str, source: str) -> list[str]:
    """SQL, shell commands or server paths: only plugins and adapters may hold these."""
    found = []
    for line, text in _texts(ast.parse(source)):
        for what, pattern in (("SQL", _SQL), ("a shell command", _SHELL), ("a server path", _SERVER_PATH)):
            if pattern.search(text):
                found.append(f"{name}:{line} holds {what}: {text[:60]!r}")
    return found


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Text constants that are no docstrings, with their lines."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def telling_time(name: str, source: str) -> list[str]:
    """Clocks and sleep that do not come through the Clock port."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            if called in (
                "time.time",
                "time.monotonic",
                "time.sleep",
                "asyncio.sleep",
                "datetime.now",
                "random.random",
            ):
                found.append(f"{name}:{node.lineno} {called}")
    return found


def skipping(name: str, source: str) -> list[str]:
    """Tests that are never run. (One that cannot run here says why by pytest.skip(reason), and that fails in CI.)"""
    return [
        f"{name}:{number} {line.strip()[:60]}"
        for number, line in enumerate(source.splitlines(), 1)
        if re.search(r"pytest\.mark\.(skip|xfail)|pytest\.xfail|@unittest\.skip", line)
    ]


def foreign_words(name: str, text: str) -> list[str]:
    """Paths of one machine and names of places that no reader has."""
    return [
        f"{name}:{number} {line.strip()[:60]}"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"(?<![\w.])/(work|farm|root)/\w|\bpypi\.org\b|\bdeb\.debian\.org\b", line)
    ]
