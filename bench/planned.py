"""Switchovers under load: `make switchovers` (root). 64 clients of pgbench come through two pgbouncers in transaction mode while the master changes.

Some connect anew for each transaction; some use prepared statements, where this pgbouncer can carry them. Every transaction is one row, so
what was acknowledged can be counted. Prints what clients saw: errors, rows lost, how long nobody could write, how long a client waited.
ARGS: --n N (default 50), --json, --write (docs/benchmarks.md), --version V.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.lab.conftest import Watched, watching
from tests.lab.databases import PASSWORDS
from tests.lab.lab import Lab
from tests.lab.proxy import PORT, LabProxy

from bench import book
from bench.cases import MODES, TIMINGS
from bench.ground import ready

_PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"
_SCRIPT = "\\set n :n + 1\ninsert into planned values (:grp, :client_id, :n);\n\\sleep {pause_ms} ms\n"
_PAUSE_S, _PAUSE_ANEW_S = 0.05, 0.2
"""Between two transactions of a client. A login costs it and pgbouncer some milliseconds of processor each (SCRAM): those who log in each
time would else be all that this machine has time for."""
_End = tuple[float, str, float]
_PREPARED_SINCE = (1, 21)
"""The first pgbouncer that carries prepared statements in transaction mode."""
_BEFORE_S, _AFTER_S = 3.0, 2.0
_BACK_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--version", type=int, default=16, choices=[15, 16, 18])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    with Lab() as lab:
        row = asyncio.run(_measured(lab, options.version, options.n))
    if options.write:
        book.write_table("switchovers", [row])
    print(json.dumps(row) if options.json else "\n".join(f"{key:24} {value}" for key, value in row.items()))
    sys.exit(0 if row["client_errors"] == row["lost"] == row["failed"] == 0 else 1)


async def _measured(lab: Lab, version: int, count: int) -> dict[str, Any]:
    layout, timings = MODES["asynchronous, proxies"], TIMINGS["fast"]
    cluster, proxies = await asyncio.to_thread(layout.built, lab, version)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        conf = layout.conf(cluster, proxies, folder, profile=timings.profile, **timings.directives)
        async with watching(conf) as handyrep:
            await ready(handyrep, cluster, proxies, folder)
            with cluster.connect(cluster.names[0]) as session:
                session.execute("create table planned (grp int, client int, n int)")
            with _clients(proxies, folder) as clients:
                calm = await _calm()
                windows, failed = await _switched(handyrep, count)
            ends = sorted(_acknowledged(folder, [group.pause_s for group in _groups(proxies)]))
            told = _told(clients, ends, calm, windows)
            with cluster.connect(handyrep.master, user="postgres", password=PASSWORDS["postgres"]) as session:
                there = set(session.execute("select grp, client, n from planned").fetchall())
            lost = len(set(_rows_acknowledged(folder)) - there)
    return {"n": count, "version": version, "failed": failed, **told, "lost": lost}


async def _calm() -> tuple[float, float]:
    """A time in which nothing happens, as long as one in which the master changes: what a client waits for then is this machine's."""
    await asyncio.sleep(_BEFORE_S)
    return time.time() - _AFTER_S, time.time()


async def _switched(handyrep: Watched, count: int) -> tuple[list[tuple[float, float]], int]:
    """(when each began and was over for clients, how many did not succeed)."""
    windows, failed = [], 0
    for _ in range(count):
        began = time.time()
        done = await handyrep.call("manual_failover")
        await asyncio.sleep(_AFTER_S)
        windows.append((began, time.time()))
        if done["result"] != "SUCCESS":
            failed += 1
            print(done["details"], file=sys.stderr)
        await handyrep.until(lambda: not handyrep.on.engine.cluster.deposed, "the old master back", _BACK_S)
        await handyrep.healthy()
    return windows, failed


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    """The clients of one pgbench."""

    proxy: LabProxy
    clients: int
    pause_s: float = _PAUSE_S
    options: tuple[str, ...] = ()


def _groups(proxies: Sequence[LabProxy]) -> list[_Group]:
    first, second = proxies
    # A pgbench connects one client after the other: with a thread each, none of them waits for the logins of all.
    anew = _Group(second, 16, _PAUSE_ANEW_S, ("-C", "-j", "16"))
    prepared = ("-M", "prepared") if _carries_prepared(first) else ()
    return [_Group(first, 24), anew, _Group(second, 24, options=prepared)]


def _carries_prepared(proxy: LabProxy) -> bool:
    said = proxy.host.inside("/usr/sbin/pgbouncer", "--version")
    found = re.search(r"(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= _PREPARED_SINCE


@contextmanager
def _clients(proxies: Sequence[LabProxy], folder: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    """They write until the end, and then have said what they have to say."""
    started = []
    for number, group in enumerate(_groups(proxies)):
        script = folder / f"{number}.sql"
        script.write_text(_SCRIPT.format(pause_ms=int(group.pause_s * 1000)))
        given = ("-D", "n=0", "-D", f"grp={number}", *group.options)
        logged = ("-l", f"--log-prefix={folder}/{number}")
        command = (_PGBENCH, "-n", "-f", script, "-c", group.clients, "-T", 36_000, *logged, *given)
        where = ("-h", group.proxy.host.address, "-p", PORT, "-U", "handyrep", "postgres")
        words = [str(word) for word in (*command, *where)]
        env = {**os.environ, "PGPASSWORD": PASSWORDS["handyrep"]}
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env))
    try:
        yield started
    finally:
        for process in started:
            process.terminate()


def _told(
    clients: Sequence["subprocess.Popen[str]"],
    ends: Sequence[_End],
    calm: tuple[float, float],
    windows: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """What clients saw. A transaction's line in the log stands for an acknowledgement."""
    errors = [
        line
        for client in clients
        for line in client.communicate()[0].splitlines()
        if "error" in line or "aborted" in line
    ]
    for line in errors[:5]:
        print(line, file=sys.stderr)
    gaps = [_longest_gap(ends, window) for window in windows]
    stalls = [stall for window in windows for stall in _stalls(ends, window)]
    return {
        "clients": 64,
        "acknowledged": len(ends),
        "client_errors": len(errors),
        "write_gap_median_s": round(statistics.median(gaps), 3),
        "write_gap_max_s": round(max(gaps), 3),
        "calm_stall_p99_s": _p99(_stalls(ends, calm)),
        "stall_median_s": round(statistics.median(stalls), 3),
        "stall_p99_s": _p99(stalls),
        "stall_max_s": round(max(stalls), 3),
    }


def _p99(stalls: Sequence[float]) -> float:
    return round(sorted(stalls)[int(len(stalls) * 0.99)], 3)


def _acknowledged(folder: Path, pauses_s: Sequence[float]) -> Iterator[_End]:
    """(when, which client, how long it waited) of every transaction."""
    for file in folder.glob("*.[0-9]*"):
        pause_s = pauses_s[int(file.name.partition(".")[0])]
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) >= 6:
                yield float(f"{words[4]}.{int(words[5]):06}"), f"{file.name}-{words[0]}", int(words[2]) / 1e6 - pause_s


def _rows_acknowledged(folder: Path) -> Iterator[tuple[int, int, int]]:
    """The rows that the logs tell of; each client counts its own. What pgbench had not written to its log when it ended is not judged."""
    for file in folder.glob("*.[0-9]*"):
        seen: dict[int, int] = {}
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) >= 6:
                client = int(words[0])
                seen[client] = seen.get(client, 0) + 1
                yield int(file.name.partition(".")[0]), client, seen[client]


def _longest_gap(ends: Sequence[_End], window: tuple[float, float]) -> float:
    """For so long nobody wrote. The pause of a client comes after its row, so it is the same for all."""
    times = [at for at, _, _ in ends if window[0] <= at <= window[1]]
    return max((after - before for before, after in pairwise(times)), default=window[1] - window[0])


def _stalls(ends: Sequence[_End], window: tuple[float, float]) -> list[float]:
    """The longest that each client waited for one transaction."""
    longest: dict[str, float] = {}
    for at, client, waited_s in ends:
        if window[0] <= at <= window[1]:
            longest[client] = max(longest.get(client, 0.0), waited_s)
    return list(longest.values())


if __name__ == "__main__":
    main()
