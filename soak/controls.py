"""Control runs, which must fail: a soak that cannot see a lost row or two masters would prove nothing.

Both are asynchronous: with strict synchronous replication even a HandyRep that takes silence for death would do no harm here, since
it lets no replica receive from the old master before it promotes, and then nobody confirms what the old master is sent.
"""

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import faults
from tests.lab.lab import Lab

from soak import calamities
from soak.calamities import Scene
from soak.clients import wait_for
from soak.green import looked_at
from soak.ground import Ground, Terms, prepared
from soak.judge import Verdict
from soak.report import last_line

_MOST_TRIES = 5
_PATIENCE_S, _UNSEEN_S = 90.0, 0.5
_ANY_LOSS = "max_lost_wal = 100000\nestimate_lost_wal = True"
_BELIEVER = '''
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin


class unreachable_is_dead(handyrepplugin):
    """Takes silence for death, as no fence may."""

    kinds = (Kind.FENCE,)

    def run(self, servername):
        return self.success(proof=f"{servername} does not answer")

    def release(self, servername):
        return self.success()

    def test(self, servername=None):
        return self.success()
'''


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """`guilty` tells what must be found."""

    terms: Terms
    strike: Callable[[Scene], None]
    guilty: Callable[[Verdict], bool]


def _lose_the_tail(scene: Scene) -> None:
    """The power fails while the replicas are a little behind: they are made to be, so that it does not depend on luck."""
    for name in scene.replicas:
        faults.partition(scene.cluster, scene.master, name)
    time.sleep(_UNSEEN_S)
    faults.power_off(scene.cluster, scene.master)


CONTROLS = {
    "asynchronous": Control(
        Terms(synchronous=False, fences="fence_stop, fence_command", failover=_ANY_LOSS),
        _lose_the_tail,
        lambda verdict: bool(verdict.lost),
    ),
    "unreachable-is-dead": Control(
        Terms(False, "unreachable_is_dead,", _ANY_LOSS, (("unreachable_is_dead", _BELIEVER),)),
        calamities.cut_off_but_for_clients,
        lambda verdict: bool(verdict.two_writable or verdict.lost),
    ),
}  # fmt: skip


def shown(lab: Lab, name: str, version: int, tries: int) -> int:
    """Try until the control fails as it must, a few times at most: 0 then, else 1."""
    for number in range(min(tries, _MOST_TRIES)):
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            verdict, acknowledged = asyncio.run(_tried(lab, CONTROLS[name], version, Path(folder)))
        counts = {
            "lost": len(verdict.lost),
            "in_doubt": len(verdict.in_doubt),
            "two_writable": len(verdict.two_writable),
        }
        guilty = CONTROLS[name].guilty(verdict)
        print(f"control {name}, PostgreSQL {version}: {'it failed, as it must' if guilty else 'NOTHING WAS FOUND'}")
        print(last_line({"control": name, "failovers": number + 1, "acknowledged": acknowledged, **counts, "stuck": 0}))
        if guilty:
            return 0
    return 1


async def _tried(lab: Lab, control: Control, version: int, folder: Path) -> tuple[Verdict, int]:
    """(the verdict, rows acknowledged). Not until all is green: that would take what is looked for away."""
    async with prepared(lab, version, folder, control.terms) as ground:
        scene, began = ground.scene(), time.monotonic()
        await _until_written(ground, began, [scene.master, *ground.proxies])
        await asyncio.to_thread(control.strike, scene)
        new = await ground.handyrep.failed_over(scene.master)
        await _until_written(ground, time.monotonic(), [new])
        verdict, _ = await asyncio.to_thread(looked_at, ground, 0.0)
        return verdict, len(ground.clients.history.acks)


async def _until_written(ground: Ground, since: float, routes: list[str]) -> None:
    await asyncio.to_thread(
        wait_for, lambda: not ground.clients.idle_since(since, routes), "clients writing", _PATIENCE_S
    )
