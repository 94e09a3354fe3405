"""The real process is killed before and after every record of the journal of a failover: `make killed` (root).

A line for each boundary; the last line is JSON: boundaries, killed, lost, promoted_by_hand, PostgreSQL's version.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.lab import killing
from tests.lab.lab import Lab
from tests.lab.writer import Writer


def main() -> None:
    """Play every boundary until one is not reached any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, default=16)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    with Lab() as lab, tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(_everywhere(lab, Path(folder), options.version))))


async def _everywhere(lab: Lab, folder: Path, version: int) -> dict[str, int]:
    cluster = await asyncio.to_thread(lab.cluster, version)
    conf = cluster.handyrep_conf(folder, failover=killing.ROUNDS)
    told = {"version": version, "boundaries": 0, "killed": 0, "lost": 0, "promoted_by_hand": 0}
    async with Writer(cluster) as writer:
        for number, when in ((number, when) for number in itertools.count(1) for when in ("before", "after")):
            played = await killing.play(cluster, conf, writer, when, number)
            print(f"{when} record {number}: {', '.join(played.closings)}; lost {len(played.lost)}", flush=True)
            told["boundaries"] += 1
            told["killed"] += played.killed
            told["lost"] = len(played.lost)
            told["promoted_by_hand"] += played.promoted_by_hand
            if not played.killed:
                return told
    raise AssertionError("a failover has an end")


if __name__ == "__main__":
    main()
