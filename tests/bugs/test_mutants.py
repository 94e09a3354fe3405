"""Every mutant of scripts/mutants.py still finds its place: one that does not is caught by nobody."""

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
