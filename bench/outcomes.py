"""What a fault leads to with each of the ready configurations: `make outcomes` (root) breaks real clusters and writes the tables.

A row is fault, outcome, seconds without writes, acknowledged rows lost. The directives are those of examples/ready; only addresses,
passwords and the version's paths are the lab's. With --write the tables in docs/ready.md are made anew.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from configobj import ConfigObj
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched, watching
from tests.lab.lab import Lab
from tests.lab.proxy import LabProxy
from tests.lab.test_proxies import directives
from tests.lab.writer import Writer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ready.md"
PATIENCE_S = 50.0
FAULTS: dict[str, Callable[[LabCluster, str], None]] = {
    "PostgreSQL crashes (kill -9)": faults.crash,
    "PostgreSQL hangs": faults.hang,
    "stopped by hand": faults.stop_immediate,
    "the host is off": faults.power_off,
    "the host is cut off from everything": faults.link_down,
    "HandyRep alone is cut off from the master": faults.cut_off_from_manager,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One of examples/ready, and the cluster that it is for."""

    name: str
    replicas: int
    synchronous: bool
    proxies: int = 0

    @property
    def failover(self) -> str:
        """The lines of its section [failover] that the lab does not set itself."""
        section = ConfigObj(str(ROOT / "examples" / "ready" / f"{self.name}.conf"))["failover"]
        own = {key: value for key, value in section.items() if key not in ("auto_failover", "poll_method")}
        return "\n".join(
            f"{key} = {', '.join(value) if isinstance(value, list) else value}" for key, value in own.items()
        )


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
    cluster = await asyncio.to_thread(lab.cluster, 16, replicas=layout.replicas, synchronous=layout.synchronous)
    old = cluster.names[0]
    sections = {"failover": layout.failover}
    proxies = await asyncio.to_thread(lab.proxies, cluster, layout.proxies) if layout.proxies else []
    with tempfile.TemporaryDirectory() as folder:
        if proxies:
            (Path(folder) / "templates").mkdir()
            proxied = {**directives(proxies), "handyrep": f"templates_dir = {folder}/templates"}
            sections = {**proxied, "failover": layout.failover}
        async with watching(cluster.handyrep_conf(Path(folder), **sections)) as handyrep:
            await handyrep.settled(cluster)
            await _managed(handyrep, Path(folder), proxies)
            await handyrep.healthy()
            async with ThroughProxies(cluster, proxies) if proxies else Writer(cluster) as writer:
                await asyncio.sleep(3)
                await asyncio.to_thread(FAULTS[fault], cluster, old)
                outcome = await _outcome(handyrep, old)
                told = "until it is over | 0"
                if outcome == "failed over" or await _goes_on(writer):
                    await asyncio.to_thread(writer.wait_for, 50)
                    lost = writer.lost(handyrep.master) if outcome == "failed over" else ()
                    told = f"{writer.longest_gap_s():.1f} | {len(lost)}"
    lab.remove_hosts()
    return f"| {fault} | {outcome} | {told} |"


class ThroughProxies(Writer):
    """A client that knows no way but the pgbouncers."""

    def __init__(self, cluster: LabCluster, proxies: list[LabProxy]) -> None:
        super().__init__(cluster)
        self._proxies = proxies

    def _seek(self) -> psycopg.Connection[tuple[Any, ...]] | None:
        for proxy in self._proxies:
            with contextlib.suppress(psycopg.Error):
                return proxy.connect()
        return None


async def _managed(handyrep: Watched, folder: Path, proxies: list[LabProxy]) -> None:
    """The pgbouncers' own files become HandyRep's templates, as the docs tell it."""
    if proxies:
        foreign = await handyrep.call("connection_proxy_init")
        (folder / "templates" / "pgbouncer.ini.j2").write_text(foreign["template"])
        done = await handyrep.call("connection_proxy_init")
        assert done["result"] == "SUCCESS", done["details"]


async def _goes_on(writer: Writer) -> bool:
    """Whether clients can write although nothing was done."""
    before = len(writer.acknowledged)
    await asyncio.sleep(2)
    return len(writer.acknowledged) > before


async def _outcome(handyrep: Watched, old: str) -> str:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < end:
        if handyrep.master not in ("", old) and handyrep.on.engine.journal.open_run() is None:
            return "failed over"
        await asyncio.sleep(0.1)
    return f"no failover. {handyrep.rule}: {handyrep.said}".replace("|", "/")


if __name__ == "__main__":
    main()
