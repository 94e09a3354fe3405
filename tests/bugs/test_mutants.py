"""Every mutant of scripts/mutants.py still finds its place and its test: one that does not is caught by nobody."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS: tuple[Any, ...] = runpy.run_path(str(ROOT / "scripts/mutants.py"))["MUTANTS"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.id}-{mutant.fault}"[:40])
def test_a_mutant_finds_its_place(mutant: Any) -> None:
    assert mutant.old in (ROOT / "src/handyrep" / mutant.file).read_text(encoding="utf-8")
    assert mutant.new != mutant.old


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.id}-{mutant.test}"[:40])
def test_the_test_that_catches_a_mutant_is_there(mutant: Any) -> None:
    file, test = mutant.test.split("::", 1)
    name, _, story = test.rstrip("]").partition("[")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    assert not story or f"story: {story}\n" in (ROOT / "tests/scenarios/failover.txt").read_text(encoding="utf-8")
