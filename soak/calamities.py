"""What befalls a master, chosen by a seeded chance; and the one way in which all of it is taken away again.

Each says what HandyRep is to do: fail over, or hold still because the master is seen to live.
"""

import dataclasses
import enum
import random
from collections.abc import Callable
from pathlib import Path

from tests.lab import faults
from tests.lab.cluster import LabCluster

from soak.clients import Clients, wait_for

_BUSY = "select count(*) > 0 from pg_stat_activity where state = 'active' and query like '%generate_series(1, 4%' and pid <> pg_backend_pid()"
_PATIENCE_S = 30.0


class Expected(enum.StrEnum):
    """What is to come of it."""

    FAILOVER = "failover"
    HELD = "held"
    EITHER = "either"


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """The master of a round and what is around it. `switch` is the file without which the power switch does not work."""

    cluster: LabCluster
    clients: Clients
    master: str
    switch: Path

    @property
    def switched_on(self) -> Path:
        """There when HandyRep had the switch turn the power on again: it has given up, and the host is to boot."""
        return self.switch.with_name(f"{self.switch.name}.on")

    @property
    def replicas(self) -> list[str]:
        """All other servers."""
        return [name for name in self.cluster.names if name != self.master]


@dataclasses.dataclass(frozen=True, slots=True)
class Calamity:
    """`silent`: the master's host cannot be asked, so the proof must come from the power switch, or, where that is broken, from the replicas."""

    name: str
    expected: Expected
    strike: Callable[[Scene], None]
    silent: bool = False


def _kill(scene: Scene) -> None:
    """With a session that is busy: its backend outlives the postmaster."""
    scene.clients.busy(scene.master)
    wait_for(lambda: bool(scene.cluster.value(scene.master, _BUSY)), "a busy session", _PATIENCE_S)
    faults.crash(scene.cluster, scene.master)


def _hang(scene: Scene) -> None:
    faults.hang(scene.cluster, scene.master)


def _power_off(scene: Scene) -> None:
    faults.power_off(scene.cluster, scene.master)


def _cut_off(scene: Scene) -> None:
    faults.link_down(scene.cluster, scene.master)


def _cut_off_from_handyrep(scene: Scene) -> None:
    faults.cut_off_from_manager(scene.cluster, scene.master)


def _cut_off_from_replicas(scene: Scene) -> None:
    for name in scene.replicas:
        faults.partition(scene.cluster, scene.master, name)


def cut_off_but_for_clients(scene: Scene) -> None:
    """Neither HandyRep nor any replica reaches it, and clients do."""
    _cut_off_from_replicas(scene)
    _cut_off_from_handyrep(scene)


def _stop(scene: Scene) -> None:
    faults.stop_clean(scene.cluster, scene.master)


def _fill_disk(scene: Scene) -> None:
    faults.fill_disk(scene.cluster, scene.master)


def _fill_disk_with_wal(scene: Scene) -> None:
    faults.fill_disk(scene.cluster, scene.master)
    faults.use_up_wal(scene.cluster, scene.master)


CALAMITIES = (
    Calamity("kill -9, busy sessions", Expected.FAILOVER, _kill),
    Calamity("hang", Expected.FAILOVER, _hang),
    Calamity("power off", Expected.FAILOVER, _power_off, silent=True),
    Calamity("cut off from all", Expected.FAILOVER, _cut_off, silent=True),
    Calamity("cut off from HandyRep", Expected.HELD, _cut_off_from_handyrep),
    Calamity("cut off from replicas", Expected.HELD, _cut_off_from_replicas),
    Calamity("cut off but for clients", Expected.FAILOVER, cut_off_but_for_clients, silent=True),
    Calamity("clean stop", Expected.FAILOVER, _stop),
    Calamity("disk full", Expected.EITHER, _fill_disk),
    Calamity("disk full of WAL", Expected.FAILOVER, _fill_disk_with_wal),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Lot:
    """What a seed decides: the calamity, whether PostgreSQL comes back with its host, whether the switch works, how long one holds still."""

    calamity: Calamity
    autostart: bool
    switch_works: bool
    hold_s: float

    @property
    def name(self) -> str:
        """For people."""
        broken = "" if self.switch_works else ", no switch"
        return f"{self.calamity.name}{broken}{', autostart' if self.autostart and self.calamity.silent else ''}"


def drawn(seed: int) -> Lot:
    """The same for the same seed."""
    chance = random.Random(seed)
    calamity = chance.choice(CALAMITIES)
    broken = calamity.silent and chance.random() < 0.5
    return Lot(calamity, autostart=chance.random() < 0.5, switch_works=not broken, hold_s=chance.uniform(3.0, 6.0))


def strike(lot: Lot, scene: Scene) -> None:
    """Let it happen; it is in effect on return."""
    scene.cluster.start_with_hosts(lot.autostart)
    if not lot.switch_works:
        scene.switch.chmod(0o600)
    lot.calamity.strike(scene)


def take_away(scene: Scene) -> None:
    """Whatever it was: power, cables, firewalls, disks and the switch are as they were. PostgreSQL is left as it is."""
    host = scene.cluster.host(scene.master)
    scene.switch.chmod(0o700)
    scene.switched_on.unlink(missing_ok=True)
    host.place.heal()
    if not host.init_pid():
        host.power_off()
        faults.power_on(scene.cluster, scene.master)
    faults.heal(scene.cluster, scene.master)
    faults.free_disk(scene.cluster, scene.master)
