"""The rules of the house hold everywhere, and each rule can fail."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import rules

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src/handyrep").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOAK = sorted((ROOT / "soak").glob("*.py"))
Rule = Callable[[str, str], list[str]]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def broken(rule: Rule, files: list[Path]) -> list[str]:
    return [problem for path in files for problem in rule(named(path), path.read_text(encoding="utf-8"))]


EVERYWHERE: list[Rule] = [
    rules.too_long,
    rules.without_text,
    rules.left_open,
    rules.commented_out,
    rules.too_many_methods,
]


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_in_all_of_the_source(rule: Rule) -> None:
    assert broken(rule, [*SOURCE, *SOAK]) == []


def test_functions_are_seen_at_a_glance() -> None:
    assert (
        rules.median_function_lines([path.read_text(encoding="utf-8") for path in SOURCE]) < rules.MEDIAN_FUNCTION_LINES
    )


def test_no_module_owns_nothing_in_particular() -> None:
    assert [problem for path in SOURCE for problem in rules.bad_name(named(path))] == []


def test_the_engine_has_no_way_of_its_own_to_a_server() -> None:
    inner = [path for path in SOURCE if path.parts[-2] in ("engine", "decide", "operations")]
    assert broken(rules.own_ways, inner) == []


def test_time_comes_through_the_clock_port() -> None:
    inner = [path for path in SOURCE if path.parts[-2] in ("engine", "decide", "model", "operations", "plugins")]
    assert broken(rules.telling_time, inner) == []


def test_nothing_prints_but_the_surfaces() -> None:
    quiet = [path for path in SOURCE if not {"surfaces", "sandbox"} & set(path.parts)]
    assert broken(rules.printing, quiet) == []


def test_no_test_is_skipped_by_itself() -> None:
    others = [path for path in TESTS if path.parts[-2] != "house" and path.name != "conftest.py"]
    assert broken(rules.skipping, others) == []


def test_no_place_of_one_machine_is_named() -> None:
    ours = [*SOURCE, *TESTS, *SOAK, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").glob("*")]
    assert broken(rules.foreign_words, [path for path in ours if path.parts[-2] != "house"]) == []


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (rules.too_long, "x = 1\n" * 301),
        (rules.too_long, "def f():\n" + "    x = 1\n" * 41),
        (rules.without_text, "x = 1\n"),
        (rules.left_open, "x = 1  # " + "TO" + "DO later\n"),
        (rules.commented_out, "# return x\n"),
        (rules.too_many_methods, "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(11))),
        (rules.printing, "print('x')\n"),
        (rules.own_ways, "q = 'select 1'\n"),
        (rules.own_ways, "q = ['sudo', 'x']\n"),
        (rules.own_ways, "q = '/etc/passwd'\n"),
        (rules.telling_time, "import time\ntime.sleep(1)\n"),
        (rules.skipping, "@pytest.mark.skip\n"),
        (rules.foreign_words, "see /work/x\n"),
    ],
)
def test_each_rule_can_fail(rule: Rule, bad: str) -> None:
    assert rule("bad.py", bad)


@pytest.mark.parametrize("kind", ["Answer.YES", "Outcome.FAIL", "result.fail('x')"])
def test_mypy_speaks_when_a_result_is_tested_for_truth(kind: str, tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        f"from handyrep.model import result\nfrom handyrep.model.answer import Answer, Outcome\nx = {kind}\nif x:\n    pass\n"
    )
    config = str(ROOT / "pyproject.toml")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, str(snippet)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert "truthy-bool" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"])
def test_the_pages_of_the_house_are_there(page: str) -> None:
    assert (ROOT / page).stat().st_size > 200
