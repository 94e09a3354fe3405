"""The last chapter of docs/safety.md: which rules are broken on purpose, and by which test each is noticed. `make docs` writes it."""

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.mutation.__main__ import FIGURES, added

SCRIPT = Path(__file__).parents[2] / "scripts/mutants.py"

_TEXT = """\
## How it is known that the tests notice

`make mutants` breaks the rules below on purpose, one at a time, and the named test fails each time.
{measured}

| broken on purpose | noticed by |
| --- | --- |
{rows}
"""
_MEASURED = """
`make mutation` changes `src/handyrep/decide/` in every small way (a comparison turned round, an answer taken for another, a row of a
table left out). Of {mutants} changes (in {modules}), tests noticed {caught}; for each of the other {explained}, the
reason why it makes no difference stands in `tests/decide/survivors.toml`."""


def deliberate() -> Sequence[Any]:
    """The mutants of scripts/mutants.py."""
    mutants: Sequence[Any] = runpy.run_path(str(SCRIPT))["MUTANTS"]
    return mutants


def chapter() -> str:
    """The figures are those that the tool wrote last; the table is that of scripts/mutants.py."""
    rows = [f"| {one.id}: {one.fault} | `{one.test}` |" for one in deliberate()]
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    measured = _MEASURED.format(modules=", ".join(figures), **added(figures))
    return _TEXT.format(measured=measured, rows="\n".join(rows))
