"""What a fault leads to with each of the ready configurations: `make outcomes` (root) breaks real clusters and writes the tables.

A row is fault, outcome, seconds without writes, acknowledged rows lost. The directives are those of examples/ready; only addresses,
passwords and the version's paths are the lab's. With --write the tables in docs/ready.md are made anew.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched, watching
from tests.lab.databases import PASSWORDS
from tests.lab.lab import Lab
from tests.lab.writer import written_on

from bench.apart import Apart
from bench.ground import Layout, client, ready

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ready.md"
PATIENCE_S = 90.0
FAULTS: dict[str, Callable[[LabCluster, str], None]] = {
    "PostgreSQL crashes (kill -9)": faults.crash,
    "PostgreSQL hangs": faults.hang,
    "stopped by hand": faults.stop_immediate,
    "the host is off": faults.power_off,
    "the host is cut off from everything": faults.link_down,
    "HandyRep alone is cut off from the master": faults.cut_off_from_manager,
}


LAYOUTS = (
    Layout("one-and-one", 1, synchronous=False),
    Layout("behind-pgbouncers", 2, synchronous=False, proxies=2),
    Layout("strictly-synchronous", 2, synchronous=True),
)


def main() -> None:
    """Break them all, print the tables, and write them down when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--layout", action="append", default=[])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    with Lab() as lab:
        for layout in LAYOUTS:
            if not options.layout or layout.name in options.layout:
                rows = [asyncio.run(_row(lab, layout, fault)) for fault in FAULTS]
                table = "\n".join(
                    ["| fault | outcome | seconds without writes | rows lost |", "|---|---|---|---|", *rows]
                )
                print(f"{layout.name}\n{table}", flush=True)
                if options.write:
                    _write(layout.name, table)


def _write(name: str, table: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


async def _row(lab: Lab, layout: Layout, fault: str) -> str:
    cluster, proxies = await asyncio.to_thread(layout.built, lab, 16)
    old = cluster.names[0]
    with tempfile.TemporaryDirectory() as folder:
        conf = layout.conf(cluster, proxies, Path(folder), profile="normal")
        async with watching(conf) as handyrep:
            await ready(handyrep, cluster, proxies, Path(folder))
            async with client(cluster, proxies) as writer:
                await asyncio.sleep(3)
                await asyncio.to_thread(FAULTS[fault], cluster, old)
                outcome = await _outcome(handyrep, old)
                told = "until it is over | 0"
                if outcome == "failed over" or await _goes_on(writer):
                    heard = await writer.heard_after(50)
                    there = written_on(cluster, handyrep.master) if outcome == "failed over" else heard.acknowledged
                    told = f"{heard.longest_gap_s():.1f} | {len(set(heard.acknowledged) - set(there))}"
                elif await asyncio.to_thread(_writes_from_elsewhere, cluster, old):
                    told = "none, but for clients on HandyRep's own host | 0"
    lab.remove_hosts()
    return f"| {fault} | {outcome} | {told} |"


async def _goes_on(writer: Apart) -> bool:
    """Whether clients can write although nothing was done."""
    before = await writer.heard_after(0)
    await asyncio.sleep(2)
    return len((await writer.heard_after(0)).acknowledged) > len(before.acknowledged)


def _writes_from_elsewhere(cluster: LabCluster, master: str) -> bool:
    """A direct client of these tables has the address of HandyRep, and is cut off with it. One on a replica's host is not."""
    where = f"host={cluster.host(master).address} user=handyrep dbname=postgres connect_timeout=5"
    insert = "insert into written (n) values (-1) returning 'written'"
    psql = (f"{cluster.layout.bin_dir}/psql", "-X", "-q", "-A", "-t", "-c", insert, where)
    argv = ("env", f"PGPASSWORD={PASSWORDS['handyrep']}", "timeout", "10", *psql)
    return cluster.host(cluster.names[1]).inside(*argv, check=False).strip() == "written"


async def _outcome(handyrep: Watched, old: str) -> str:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < end:
        if handyrep.master not in ("", old) and handyrep.on.engine.journal.open_run() is None:
            return "failed over"
        await asyncio.sleep(0.1)
    return f"no failover. {handyrep.rule}: {handyrep.said}".replace("|", "/")


if __name__ == "__main__":
    main()
