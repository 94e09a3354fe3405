"""Is this tree quicker than another commit? `make paired ARGS="COMMIT --only 'crash fast'"`, as root, on a machine that is not always as quick.

Both are measured in turns, so that what slows the machine slows both. A line a row: the medians, and by how much they differ.
ARGS: COMMIT, --only WORDS (as `make bench` has it), --turns N (default 5), --n N (rounds a turn, default 3), --json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_TURN_S = 3600.0
Medians = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--only", default="crash fast")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--n", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    found: Medians = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as name:
        other = Path(name) / "other"
        _git("worktree", "add", "--detach", str(other), options.commit)
        try:
            for turn in range(options.turns):
                trees = {"this": ROOT, "other": other}
                for which in sorted(trees, reverse=turn % 2 == 0):
                    _measure(trees[which], which, options.only, options.n, found)
        finally:
            _git("worktree", "remove", "--force", str(other))
    for row, medians in found.items():
        compared = _compared(row, medians, options.n)
        print(json.dumps(compared) if options.json else _text(compared))


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, stdout=subprocess.DEVNULL, timeout=60)


def _measure(tree: Path, which: str, only: str, count: int, found: Medians) -> None:
    argv = [sys.executable, "-m", "bench.failover", "--only", only, "--n", str(count), "--json"]
    path = os.pathsep.join((str(tree / "src"), str(tree)))
    ran = subprocess.run(
        argv, cwd=tree, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.PIPE, timeout=_TURN_S
    )
    for line in ran.stdout.splitlines():
        row = json.loads(line)
        found[f"{row['fault']}, {row['mode']}"][which].append(row["median_s"])


def _compared(row: str, medians: dict[str, list[float]], count: int) -> dict[str, Any]:
    this_s, other_s = (statistics.median(medians[which]) for which in ("this", "other"))
    return {
        "row": row, "n": count * len(medians["this"]), "other_median_s": round(other_s, 3), "this_median_s": round(this_s, 3),
        "change_percent": round((this_s / other_s - 1) * 100, 1),
    }  # fmt: skip


def _text(row: dict[str, Any]) -> str:
    return (
        f"{row['row']:45} n {row['n']:3}  other {row['other_median_s']:6.3f} s  this {row['this_median_s']:6.3f} s  "
        f"{row['change_percent']:+.1f} %"
    )


if __name__ == "__main__":
    main()
