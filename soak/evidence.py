"""What is kept of a round in which something was wrong, and how to see it again."""

import shutil
from contextlib import suppress
from pathlib import Path

from tests.lab.shell import LabError

from soak.ground import Ground
from soak.rounds import Round

_EVENTS = 10_000
_LOGS = (
    "sh",
    "-c",
    'tail -n 400 /var/log/postgresql/*.log 2>/dev/null; journalctl -q --no-pager -n 400 -u "$0" 2>/dev/null; true',
)


def kept(ground: Ground, one: Round, keep: Path) -> str:
    """Copy HandyRep's journal, history and state, the clients' history and the servers' logs; where they are, for people."""
    place = keep / f"{one.seed}-{one.version}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(
        ground.folder / "state", place, ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns("*.sock", "*.lock")
    )
    for name in ("history.jsonl", "clients.err"):
        shutil.copy(ground.folder / name, place)
    events = ground.handyrep.on.history.newest(_EVENTS)
    (place / "handyrep.log").write_text("".join(f"{event['at']} {event['text']}\n" for event in events))
    (place / "round.txt").write_text(f"{one}\n")
    for host in ground.cluster.hosts:
        with suppress(LabError):
            (place / f"{host.name}.log").write_text(host.inside(*_LOGS[:3], ground.cluster.layout.unit))
    again = f'make soak N=1 ARGS="--seed {one.seed} --version {one.version}"'
    return f"      kept: {place}   again: {again}"
