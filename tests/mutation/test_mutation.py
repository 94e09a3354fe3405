"""The tool can fail: what is planted is caught, what nobody tests is told, and every explanation still finds its place."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation import explained
from tests.mutation.__main__ import FIGURES, NOT_TRIED, modules, source, survivor
from tests.mutation.explained import Survivor, balance, explanations
from tests.mutation.operators import SRC, mutated, mutations

ROOT = Path(__file__).parents[2]
HERE = Survivor("quorum", "f", "x = 1", "`1` becomes `2`")
ON_QUORUM = """
import json, sys
from tests.mutation import __main__ as tool, trial
tool.TESTS = ("tests/decide/test_quorum.py",)
"""


def changes(source: str) -> list[str]:
    return [one.change for one in mutations(source)]


def driven(script: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: one that has not imported decide/ yet."""
    argv = [sys.executable, "-c", ON_QUORUM + script]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = a < b", "`a < b` becomes `a <= b`"),
        ("x = a is b", "`a is b` becomes `a is not b`"),
        ("x = a is YES", "`a is YES` becomes `a is not NO`"),
        ("x = a is not Answer.NO", "`a is not Answer.NO` becomes `a is Answer.YES`"),
        ("x = a and b", "`a and b` becomes `a or b`"),
        ("x = a and b", "`a and b` without `b`"),
        ("x = not a", "`not a` becomes `a`"),
        ("x = 1 + 2", "`1 + 2` becomes `1 - 2`"),
        ("x = 1", "`1` becomes `2`"),
        ("x = True", "`True` becomes `False`"),
        ("x = ''", "`''` becomes `'something else'`"),
        ("x = 'id'", "`'id'` becomes `''`"),
        ("x = f'{a} of it'", "`f'{a} of it'` becomes `''`"),
        ("x = (a, b)", "without `a`"),
        ("x = (a, b)", "`a` and `b` change places"),
        ("x = {a: b}", "without `a`"),
        ("x = f(a=b)", "without `a=b`"),
        ("x = max(a, 0)", "`max(a, 0)` becomes `a`"),
        ("x = any(a)", "`any(a)` becomes `all(a)`"),
        ("x = Health.DOWN", "`Health.DOWN` becomes `Health.UNKNOWN`"),
        ("x = [a for a in b if c]", "`c` becomes `True`"),
        ("x = lambda: a", "`a` becomes `False`"),
        ("if a:\n    b()", "`a` becomes `True`"),
        ("if a:\n    b()", "without `b()`"),
        ("def f() -> bool:\n    return a", "`return a` becomes `return True`"),
        ("def f():\n    return a", "`return a` becomes `return None`"),
        ("def f(a):\n    a = b(a)", "without `a = b(a)`"),
    ],
)
def test_each_kind_of_change_is_tried(source: str, change: str) -> None:
    assert change in changes(source)


@pytest.mark.parametrize(
    "source",
    ['"""x"""', "import a", "x: 'a'", "@f(1)\ndef g(): ...", "x = Rule('a sentence')", "raise E(f'{a} sentence')"],
)
def test_documentation_types_and_texts_are_left_alone(source: str) -> None:
    assert [change for change in changes(source) if not change.startswith("without `raise")] == []


def test_nothing_is_decided_by_the_words_of_a_text() -> None:
    """So the texts that are left alone are only texts. One place looks whether a reason holds a verdict's sentence, whatever its words."""
    decided = re.compile(
        r"\.(sentence|reason|proof|said|why|details|missing)( [!=]=| (not )?in |\.(startswith|endswith|find|split))|in [\w.]+\.(sentence|reason|proof|said|why)\b(?!s)"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in SRC.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if decided.search(line)
    ]
    assert len([line for line in found if not line.startswith("hindsight.py: return kept")]) == 0, found


def test_every_change_of_decide_is_python_and_another_text() -> None:
    text = source("estimate")
    for one in mutations(text):
        compile(mutated(text, one.number), one.line, "exec")
        assert ast.dump(mutated(text, one.number)) != ast.dump(ast.parse(text))


def test_what_is_planted_is_caught_and_what_is_the_same_is_not() -> None:
    ran = driven("""
known = trial.baseline(tool.TESTS)
trial.warm_up(known.imported)
trial.START_CPU_S = 1
text = tool.source("quorum")
try:
    trial.baseline(["tests/decide/no_such_test.py"])
except trial.NothingTriedError as refused:
    print(refused)
def caught(changed, tests):
    return trial.caught_by("handyrep.decide.quorum", compile(changed, "planted", "exec"), tests, known)
every, one = list(known.took_s), min(known.took_s, key=known.took_s.get)
planted = text.replace("+ self.needed >", "+ self.needed >=")
print(json.dumps([caught(planted, every), caught(text + "while True: pass", [one]), caught(text + "1 / 0", [one]), caught(text, every[-30:])]))
""")
    assert ran.returncode == 0, ran.stderr
    refused, ended = ran.stdout.splitlines()[-2:]
    assert "do not pass on the unchanged code" in refused, "tests that fail already prove nothing"
    caught, endless, broken, same = json.loads(ended)
    assert caught.startswith("tests/decide/test_quorum.py::test_")
    assert "no end" in endless
    assert "when it was imported" in broken
    assert same == ""


def test_what_nobody_tests_is_told_and_the_end_says_so() -> None:
    ran = driven("""
real = tool.source
tool.source = lambda module: real(module) + "PLANTED = 1"
sys.exit(tool.main(["--module", "quorum", "--line", "PLANTED"], print))
""")
    assert ran.returncode == 1, ran.stderr
    assert "line = 'PLANTED = 1'\nchange = '`1` becomes `2`'\nwhy = \"\"" in ran.stdout
    assert json.loads(ran.stdout.splitlines()[-1]) == {"mutants": 2, "caught": 0, "survived": 2, "explained": 0}


def test_a_survivor_without_a_reason_and_a_reason_without_a_survivor_are_told() -> None:
    other = Survivor("quorum", "g", "y = ''", "`''` becomes `'x'`")
    assert balance([HERE, HERE], [HERE]) == explained.Balance((), ())
    assert balance([HERE], [other]) == explained.Balance((HERE,), (other,))


def test_what_is_told_of_a_survivor_can_be_put_into_the_file(tmp_path: Path) -> None:
    quoting = Survivor("quorum", "g", """x = '"' + "'" """, "`''` becomes `'x'`")
    file = tmp_path / "survivors.toml"
    file.write_text(HERE.entry + quoting.entry)
    assert set(explanations(file)) == {HERE, quoting}


def test_every_explanation_still_finds_its_place_and_says_why() -> None:
    there = {survivor((module, one)) for module in modules() for one in mutations(source(module))}
    given = explanations()
    assert [one for one in given if one not in there] == []
    assert [one for one, why in given.items() if len(why.split()) < 4] == []


def test_every_module_that_decides_is_tried() -> None:
    every = {path.stem for path in (SRC / "decide").glob("*.py")}
    assert every - set(modules()) == set(NOT_TRIED)


def test_the_figures_that_are_told_leave_nothing_unexplained() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert set(figures) <= set(modules())
    assert [module for module, of in figures.items() if of["caught"] + of["explained"] != of["mutants"]] == []
