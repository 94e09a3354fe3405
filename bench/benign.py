"""Events in the lab that are no reason to fail over: `make benign` (root). 1,000 imagined ones: `python -m tests.simulation.benign`.

One cluster for each profile, and one with what docs/benchmarks.md recommends to be fast; on each, round after round, every event in turn. A
flap is shorter than the profile's detection window. Whatever HandyRep then does to a server is told. ARGS: -n N (default 24). The last line
is one JSON object.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.lab import faults, troubles
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched, watching
from tests.lab.lab import Lab

from bench.cases import TIMINGS
from bench.ground import Layout, ready
from handyrep.config.profiles import PROFILES

_LAYOUT = Layout("strictly-synchronous", 2, synchronous=True)
_AS_RECOMMENDED = "recommended"
_PROFILES = {"normal": "normal", "fast": "fast", _AS_RECOMMENDED: TIMINGS["fast"].profile}
_SHARE_OF_A_WINDOW = 0.7
_LASTS_S, _AFTERWARDS_S = 5.0, 3.0


@contextmanager
def _flap(cluster: LabCluster, window_s: float) -> Iterator[float]:
    """The master's cable is out for less than the window."""
    faults.link_down(cluster, cluster.names[0])
    try:
        yield window_s * _SHARE_OF_A_WINDOW
    finally:
        faults.link_up(cluster, cluster.names[0])


@contextmanager
def _no_sshd(cluster: LabCluster) -> Iterator[None]:
    faults.stop_sshd(cluster, cluster.names[0])
    try:
        yield
    finally:
        faults.start_sshd(cluster, cluster.names[0])


@contextmanager
def _apart(cluster: LabCluster) -> Iterator[None]:
    faults.cut_off_from_manager(cluster, cluster.names[0])
    try:
        yield
    finally:
        faults.heal(cluster, cluster.names[0])


EVENTS: dict[str, Callable[[LabCluster], AbstractContextManager[object]]] = {
    "30 % of the packets are lost": lambda c: troubles.lossy(c, c.names[0], 0.3),
    "no connection is left": lambda c: troubles.no_connection_left(c, c.names[0]),
    "no sshd": _no_sshd,
    "HandyRep is cut off": troubles.manager_cut_off,
    "HandyRep and the master lose each other": _apart,
    "the master has no CPU": lambda c: troubles.starved_of_cpu(c, c.names[0]),
}
FLAP = "the master's cable flaps"


def main() -> None:
    """Bring them about, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=24)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The lab needs root.")
    failovers = 0
    with Lab() as lab:
        for settings in _PROFILES:
            failovers += asyncio.run(_played(lab, settings, -(-options.n // len(_PROFILES))))
            lab.remove_hosts()
    print(json.dumps({"events": options.n, "failovers": failovers}))
    sys.exit(1 if failovers else 0)


async def _played(lab: Lab, settings: str, count: int) -> int:
    profile = _PROFILES[settings]
    own = TIMINGS["fast"].directives if settings == _AS_RECOMMENDED else {}
    cluster, proxies = await asyncio.to_thread(_LAYOUT.built, lab, 16)
    failovers = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with watching(_LAYOUT.conf(cluster, proxies, folder, profile=profile, **own)) as handyrep:
            await ready(handyrep, cluster, proxies, folder)
            for event in itertools.islice(itertools.cycle((FLAP, *EVENTS)), count):
                acted = await _one(handyrep, cluster, event, PROFILES[profile].detection_window_s)
                failovers += bool(acted)
                print(f"{settings:11} {event:45} {'; '.join(acted) or 'nothing was done'}", flush=True)
    return failovers


async def _one(handyrep: Watched, cluster: LabCluster, event: str, window_s: float) -> list[str]:
    """What HandyRep did about it, and in the calm afterwards."""
    before = len(handyrep.on.engine.journal.runs())
    if event == FLAP:
        await asyncio.to_thread(_short, cluster, window_s)
    else:
        async with troubles.during(EVENTS[event](cluster)):
            await asyncio.sleep(_LASTS_S)
    await asyncio.sleep(_AFTERWARDS_S)
    runs = handyrep.on.engine.journal.runs()[before:]
    if not runs:
        await handyrep.healthy()
    return [run.reason for run, _, _ in runs]


def _short(cluster: LabCluster, window_s: float) -> None:
    with _flap(cluster, window_s) as lasts_s:
        time.sleep(lasts_s)


if __name__ == "__main__":
    main()
