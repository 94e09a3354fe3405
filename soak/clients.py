"""The clients' process as seen from the soak: started at a place of its own on the lab's network, and its history read.

At a place of its own, so that HandyRep may be cut off from a master that clients still reach.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.lab import Lab
from tests.lab.network import Place
from tests.lab.proxy import PORT, LabProxy
from tests.lab.shell import LabError

from soak.history import Ack, Reader

_NUMBER = 2
"""Its address: below those of the hosts, above the manager's."""
_USER = "handyrep"
_LAST_ANSWERS_S = 30.0


class Clients:
    """Writing as long as they are in use. `history` holds what was read of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", history: Reader, routes: Sequence[str]) -> None:
        self._process = process
        self.history = history
        self.routes = tuple(routes)

    def busy(self, route: str) -> None:
        """One more row there, by a statement that computes first."""
        if self._process.stdin is None:
            raise LabError("the clients hear nothing")
        self._process.stdin.write(f"{route}\n".encode())
        self._process.stdin.flush()

    def acks_since(self, moment: float) -> list[Ack]:
        """Rows that were both sent and acknowledged after a moment."""
        self.history.read()
        newest = itertools.takewhile(lambda ack: ack.heard > moment, reversed(self.history.acks))
        return [ack for ack in newest if ack.sent > moment]

    def idle_since(self, moment: float, routes: Sequence[str]) -> str:
        """The routes among these on which nothing was acknowledged since; '' when there is none."""
        heard = {ack.route for ack in self.acks_since(moment)}
        return " and ".join(route for route in routes if route not in heard)


@contextmanager
def writing(lab: Lab, cluster: LabCluster, proxies: Sequence[LabProxy], folder: Path) -> Iterator[Clients]:
    """Clients on every route: each server by its own address, each pgbouncer. They are gone afterwards, and their history is whole."""
    doors = [
        *((host.name, host.address, 5432) for host in cluster.hosts),
        *((p.name, p.host.address, PORT) for p in proxies),
    ]
    plan, history = folder / "routes.json", folder / "history.jsonl"
    plan.write_text(json.dumps([(*door, _USER, PASSWORDS[_USER]) for door in doors]))
    history.touch()
    place = Place("clients", _NUMBER, lab.net)
    place.plug_in()
    try:
        with _started(place, plan, history, folder / "clients.err") as process:
            yield Clients(process, Reader(history), [name for name, _, _ in doors])
    finally:
        place.unplug()


@contextmanager
def _started(place: Place, plan: Path, history: Path, errors: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """It ends when its standard input does, so also when this process is killed."""
    inside = ("ip", "netns", "exec", place.namespace)
    top = str(Path(__file__).parents[1])
    with errors.open("wb") as said:
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", "soak.routes", str(plan), str(history)],
            stdin=subprocess.PIPE, stderr=said, cwd=top, start_new_session=True, env={**os.environ, "PYTHONPATH": top},
        )  # fmt: skip
    try:
        yield process
    finally:
        _ended(process)


def _ended(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_LAST_ANSWERS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(holds: Callable[[], bool], what: str, patience_s: float) -> None:
    """Raises LabError."""
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"within {patience_s:g} s: not {what}")
        time.sleep(0.05)
