"""How long clients cannot write when the master is lost or asked to step down: `make bench` (root), in the lab, over SSH, fsync on.

A round is a fresh cluster, a client that writes row after row, and one fault; its figure is the longest time between two
acknowledgements. A row has n, median, p95, max, the floor of this machine in the same run and the ratio to it, and what clients lost or saw.
ARGS: --json (an object a row), --n N (default 20), --only WORDS (the rows with these words in their name), --version V, --write (docs/benchmarks.md).
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab.conftest import watching
from tests.lab.lab import Lab
from tests.lab.writer import written_on

from bench import book
from bench.cases import CASES, FAULTS, MODES, TIMINGS, Case
from bench.floor import Floor, floor
from bench.ground import client, ready

Row = dict[str, Any]
_FLOORS = 3
_CALM_S = 1.0
_CLIENT_S = 0.3
"""A client that waited longer for a dead server would be measured itself. One that comes through a proxy waits there."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--version", type=int, default=16, choices=[15, 16, 18])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    cases = [case for case in CASES if all(word in case.key for word in options.only.split())]
    with Lab() as lab:
        floors = {mode: _floor(lab, mode, options.version) for mode in {case.mode for case in cases}}
        rows = []
        for case in cases:
            rows.append(asyncio.run(_measured(lab, case, options.version, options.n, floors[case.mode])))
            print(json.dumps(rows[-1]) if options.json else _text(rows[-1]), flush=True)
    for worse in book.worse(rows):
        print(worse, file=sys.stderr)
    if options.write:
        book.write(rows, _machine())
    if not options.json:
        print(_machine())


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}; load {load:.1f} at the end"


def _floor(lab: Lab, mode: str, version: int) -> Floor:
    """The least of a few."""
    found = []
    for _ in range(_FLOORS):
        found.append(floor(*MODES[mode].built(lab, version)))
        lab.remove_hosts()
    return Floor(*(min(times) for times in zip(*((f.notice_s, f.promote_s, f.redirect_s) for f in found), strict=True)))


async def _measured(lab: Lab, case: Case, version: int, count: int, least: Floor) -> Row:
    rounds = []
    for _ in range(count):
        rounds.append(await _one(lab, case, version))
        lab.remove_hosts()
    gaps_s = sorted(one["gap_s"] for one in rounds)
    median_s, floor_s = statistics.median(gaps_s), least.of(case.fault)
    return {
        "fault": case.fault, "mode": f"{case.mode}, {case.timings}", "version": version, "n": count,
        "median_s": round(median_s, 3), "p95_s": round(gaps_s[math.ceil(count * 0.95) - 1], 3), "max_s": round(gaps_s[-1], 3),
        "floor_s": round(floor_s, 3), "ratio": round(median_s / floor_s, 1),
        **{key: sum(one[key] for one in rounds) for key in ("lost", "client_errors", "two_writable")},
    }  # fmt: skip


async def _one(lab: Lab, case: Case, version: int) -> Row:
    layout, timings = MODES[case.mode], TIMINGS[case.timings]
    cluster, proxies = await asyncio.to_thread(layout.built, lab, version)
    old = cluster.names[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        conf = layout.conf(cluster, proxies, folder, profile=timings.profile, **timings.directives)
        async with watching(conf) as handyrep:
            await ready(handyrep, cluster, proxies, folder)
            async with client(cluster, proxies, _CLIENT_S) as writer:
                await asyncio.sleep(_CALM_S)
                before = (await writer.heard_after(0)).errors
                fault = FAULTS[case.fault]
                if fault is None:
                    done = await handyrep.call("manual_failover")
                    assert done["result"] == "SUCCESS", done["details"]
                else:
                    await asyncio.to_thread(fault, cluster, old)
                new = await handyrep.failed_over(old)
                heard = await writer.heard_after(50)
            return {
                "gap_s": heard.longest_gap_s(),
                "lost": len(set(heard.acknowledged) - written_on(cluster, new)),
                "client_errors": len(heard.errors) - len(before),
                "two_writable": int(heard.two_wrote()),
            }


def _text(row: Row) -> str:
    return (
        f"{row['fault']:13} {row['mode']:32} n {row['n']:3}  median {row['median_s']:6.3f} s  p95 {row['p95_s']:6.3f} s  "
        f"max {row['max_s']:6.3f} s  floor {row['floor_s']:5.3f} s ({row['ratio']:g} times)  lost {row['lost']}  "
        f"errors {row['client_errors']}  two writable {row['two_writable']}"
    )


if __name__ == "__main__":
    main()
