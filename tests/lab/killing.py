"""Rounds in which the real process is killed in the middle of a failover, and another one goes on from its files."""

import asyncio
import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched, watching
from tests.lab.writer import Writer

PATIENCE_S = 60.0
ROUNDS = "failover_cooldown = 0\nrejoin_up_to = reclone\nverify_frequency = 4"


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """How one ended: whether the process was killed there, how runs were closed, what was lost, who takes writes.

    `promoted_by_hand`: HandyRep had written down that it would promote, died before it did, and never does it twice: a person did.
    """

    killed: bool
    promoted_by_hand: bool
    closings: tuple[str, ...]
    lost: frozenset[int]
    writers: tuple[str, ...]


async def play(cluster: LabCluster, conf: Path, writer: Writer, when: str, number: int) -> Round:
    """The master crashes under a process that dies at that record; then a HandyRep is started that is not killed."""
    async with watching(conf) as handyrep:
        await handyrep.healthy()
        old, begun = handyrep.master, len(handyrep.on.engine.journal.runs())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.lab.mortal", when, str(number), "-c", str(conf), "serve", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    try:
        await asyncio.sleep(1)
        await asyncio.to_thread(faults.crash, cluster, old)
        killed = await _killed(process, writer)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    async with watching(conf) as handyrep:
        promoted_by_hand = await _promoted_by_hand(cluster, handyrep, old)
        await handyrep.until(lambda: handyrep.master not in ("", old), f"a master other than {old}", PATIENCE_S)
        await asyncio.to_thread(writer.wait_for, 20)
        await handyrep.healthy()
        runs = handyrep.on.engine.journal.runs()[begun:]
        master = handyrep.master
    writers = tuple(name for name in cluster.names if not cluster.in_recovery(name))
    assert writers == (master,), f"recorded is {master}"
    return Round(killed, promoted_by_hand, tuple(how for _, how, _ in runs), frozenset(writer.lost(master)), writers)


async def _promoted_by_hand(cluster: LabCluster, handyrep: Watched, old: str) -> bool:
    """Do what HandyRep asks a person for, if it does."""

    def waits() -> bool:
        return any("promote it by hand" in event["text"] for event in handyrep.on.history.newest(3))

    await handyrep.until(lambda: handyrep.master not in ("", old) or waits(), "a new master, or a request", PATIENCE_S)
    run = handyrep.on.engine.journal.open_run()
    if not waits() or run is None:
        return False
    await asyncio.to_thread(cluster.value, run.new_master, "select pg_promote()")
    return True


async def _killed(process: asyncio.subprocess.Process, writer: Writer) -> bool:
    """Wait until it is dead, or until its failover is over and it lives."""
    over = asyncio.create_task(asyncio.to_thread(writer.wait_for, 20))
    dead = asyncio.create_task(process.wait())
    await asyncio.wait({over, dead}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
    if not dead.done():
        await asyncio.sleep(1)
    killed = process.returncode == -signal.SIGKILL
    if process.returncode is None:
        process.terminate()
    await dead
    if not over.done():
        over.cancel()
    return killed
