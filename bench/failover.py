"""How long clients cannot write when the postmaster is killed: measured in the lab, over SSH, from acknowledgement to acknowledgement.

`make bench` (root). ARGS: --json, --n N (default 10), --version V. Every row names n, median, p95, max, and what was lost.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab import faults
from tests.lab.conftest import watching
from tests.lab.lab import Lab
from tests.lab.writer import Writer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--version", type=int, action="append", default=[])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    with Lab() as lab:
        for version in options.version or [15, 16, 18]:
            row = asyncio.run(_measured(lab, version, options.n))
            print(json.dumps(row) if options.json else _text(row), flush=True)
    if not options.json:
        print(
            f"machine: {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}; fsync on; load {os.getloadavg()[0]:.1f}"
        )


async def _measured(lab: Lab, version: int, count: int) -> dict[str, Any]:
    gaps_s, lost = [], 0
    for _ in range(count):
        gap_s, rows_lost = await _one(lab, version)
        gaps_s.append(gap_s)
        lost += rows_lost
        lab.remove_hosts()
    ordered = sorted(gaps_s)
    return {
        "fault": "crash", "mode": f"PostgreSQL {version}, strict sync, profile fast, seed plugins", "n": count,
        "median_s": round(statistics.median(ordered), 3), "p95_s": round(ordered[min(int(count * 0.95), count - 1)], 3),
        "max_s": round(ordered[-1], 3), "lost": lost,
    }  # fmt: skip


async def _one(lab: Lab, version: int) -> tuple[float, int]:
    cluster = await asyncio.to_thread(lab.cluster, version)
    old = cluster.names[0]
    with tempfile.TemporaryDirectory() as folder:
        async with watching(cluster.handyrep_conf(Path(folder))) as handyrep:
            await handyrep.healthy()
            await handyrep.settled(cluster)
            async with Writer(cluster) as writer:
                await asyncio.to_thread(writer.wait_for, 100)
                await asyncio.to_thread(faults.crash, cluster, old)
                new = await handyrep.failed_over(old)
                await asyncio.to_thread(writer.wait_for, 100)
                gap_s = writer.longest_gap_s()
            return gap_s, len(writer.lost(new))


def _text(row: dict[str, Any]) -> str:
    return (
        f"{row['fault']:8} {row['mode']:55} n {row['n']:3}  median {row['median_s']:6.3f} s  p95 {row['p95_s']:6.3f} s  "
        f"max {row['max_s']:6.3f} s  lost {row['lost']}"
    )


if __name__ == "__main__":
    main()
