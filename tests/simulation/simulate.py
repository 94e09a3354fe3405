"""`python -m tests.simulation.simulate --failovers N [--seed S] [--json]`: lives, one seed after the other, until N failovers were begun.

A violation is told with its seed, its story and the command that makes it happen again. The last line is one JSON object.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool

from tests.simulation.life import Ending, run_seed
from tests.simulation.two import run_two

PROCESSES = 2
FAILOVERS_OF_A_LIFE = 4
TWO_EVERY = 25
"""So many of the clusters have two HandyReps."""
LIVES_AT_ONCE = 100
TELL_EVERY_S = 5.0
SHOWN = 3
COUNTED = ("failovers", "violations", "seed", "finished", "abandoned", "asked", "waiting", "misled")

Tell = Callable[[str], None]


def ending_of(seed: int) -> Ending:
    """How the life with this seed ends."""
    return run_two(seed) if seed % TWO_EVERY == TWO_EVERY - 1 else run_seed(seed)


def endings(pool: Pool, seed: int, failovers: int) -> Iterator[Ending]:
    """Lives from this seed on, until so many failovers were begun."""
    begun = 0
    while begun < failovers:
        lives = max(min((failovers - begun) // FAILOVERS_OF_A_LIFE, LIVES_AT_ONCE), 1)
        for ending in pool.imap(ending_of, range(seed, seed + lives), chunksize=max(lives // (PROCESSES * 4), 1)):
            begun += ending.counts["failovers"]
            yield ending
        seed += lives


def story_of(ending: Ending, *, whole: bool) -> str:
    """What went wrong, and, when `whole`, all that happened before it in its order."""
    told = "\n".join(f"  {line}" for line in ending.story) if whole else "  (its story is told when it is seen again)"
    again = f"python -m tests.simulation.simulate --failovers 1 --seed {ending.seed}"
    return f"VIOLATION with seed {ending.seed}: {ending.violation}\n{told}\nSee it again: {again}"


def simulate(failovers: int, seed: int, tell: Tell) -> tuple[Counter[str], list[Ending]]:
    """(how many of what, the lives in which something was wrong)."""
    counts: Counter[str] = Counter()
    wrong: list[Ending] = []
    began_s = told_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for ending in endings(pool, seed, failovers):
            counts += ending.counts
            if ending.violation:
                wrong.append(ending)
            if time.monotonic() - told_s > TELL_EVERY_S:
                told_s = time.monotonic()
                tell(f"{counts['failovers']} failovers, {len(wrong)} violations, {told_s - began_s:.0f} s")
    return counts, wrong


def main(arguments: list[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.simulate", description=__doc__)
    parser.add_argument("--failovers", type=int, default=50_000, help="how many failovers are begun at least")
    parser.add_argument("--seed", type=int, default=0, help="the first life's seed")
    parser.add_argument("--json", action="store_true", help="only the last line, and what went wrong")
    given = parser.parse_args(arguments)

    def tell(line: str) -> None:
        if not given.json:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    counts, wrong = simulate(given.failovers, given.seed, tell)
    for number, ending in enumerate(wrong):
        sys.stdout.write(f"{story_of(ending, whole=number < SHOWN)}\n")
    summary = {**counts, "violations": len(wrong), "seed": given.seed}
    sys.stdout.write(json.dumps({name: summary.get(name, 0) for name in COUNTED}) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
