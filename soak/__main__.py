"""`python -m soak [-n N] [--seed S] [--version V] [--control NAME]` (root): see docs/soak.md. `make soak` and `make soak N=10`.

0: nothing was wrong, or a control failed as it must; 1: something was wrong, or a control did not fail; 130: Ctrl-C.
"""

import argparse
import asyncio
import itertools
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.lab.databases import LAYOUTS
from tests.lab.lab import Lab

from soak.controls import CONTROLS, shown
from soak.evidence import kept
from soak.ground import Terms, prepared
from soak.report import last_line, line_of, summary, table
from soak.rounds import Round, play

_ROUNDS, _LONGEST_BLOCK = 200, 10
_KEPT = Path(tempfile.gettempdir()) / "handyrep-soak"


def main(arguments: Sequence[str]) -> int:
    """Play, and print."""
    options = parsed(arguments)
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    try:
        with Lab() as lab:
            return run(lab, options)
    except KeyboardInterrupt:
        print("Stopped; the lab is gone.")
        return 130


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m soak", description="Real failovers in the lab, judged from what clients were told."
    )
    parser.add_argument("-n", type=int, default=_ROUNDS, help="how many failovers (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round; the next has the next")
    parser.add_argument("--version", type=int, action="append", choices=list(LAYOUTS), help="of PostgreSQL; repeatable")
    parser.add_argument("--control", choices=list(CONTROLS), help="a run that must fail: 0 when it did")
    parser.add_argument("--keep", type=Path, default=_KEPT, help="where the evidence of a bad round goes (%(default)s)")
    return parser.parse_args(arguments)


def run(lab: Lab, options: argparse.Namespace) -> int:
    """In this lab: 0 when all is as it must be."""
    if options.control:
        return shown(lab, options.control, (options.version or [16])[0], options.n)
    began = time.monotonic()
    blocks = _played(lab, options)
    print(table([one for block in blocks for one in block]))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    counts = summary(blocks, options.seed)
    last = options.seed + sum(map(len, blocks)) - 1
    print(
        f"n {options.n}, seeds {options.seed} to {last}, PostgreSQL {counts['versions']}, {time.monotonic() - began:.0f} s, {machine}"
    )
    print(last_line(counts))
    return int(any(one.wrong for block in blocks for one in block))


def _played(lab: Lab, options: argparse.Namespace) -> list[list[Round]]:
    """Blocks of rounds, each on a cluster of its own; a round in which something was wrong is the last of its block."""
    versions = options.version or list(LAYOUTS)
    share = min(_LONGEST_BLOCK, math.ceil(options.n / len(versions)))
    seeds = itertools.count(options.seed)
    blocks: list[list[Round]] = []
    while (left := options.n - _counted(one for block in blocks for one in block)) > 0:
        version = versions[len(blocks) % len(versions)]
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            blocks.append(asyncio.run(_block(lab, version, Path(folder), seeds, min(share, left), options.keep)))
    return blocks


async def _block(lab: Lab, version: int, folder: Path, seeds: Iterator[int], failovers: int, keep: Path) -> list[Round]:
    rounds: list[Round] = []
    async with prepared(lab, version, folder, Terms()) as ground:
        while _counted(rounds) < failovers:
            rounds.append(await play(ground, next(seeds)))
            print(line_of(rounds[-1]), flush=True)
            if rounds[-1].wrong:
                print(kept(ground, rounds[-1], keep), flush=True)
                break
    return rounds


def _counted(rounds: Iterable[Round]) -> int:
    """Those that count: what was rightly held is beside the number that was asked for."""
    return sum(one.failovers > 0 or bool(one.wrong) for one in rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
