"""What tests share in which the master falls: a cluster on which one failover follows the other."""

import psycopg

from handyrep.model.status import Health
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.shell import LabError


def fresh(ground: Lab) -> LabCluster:
    """A new cluster, once its services have started for good. One whose PostgreSQL is killed before that is starting for another minute."""
    made = ground.cluster(15, disk_mb=1000)
    for host in made.hosts:
        host.inside("systemctl", "start", made.layout.unit)
    return made


def stands(cluster: LabCluster) -> bool:
    """Whether one is master and all others follow it; that one is the cluster's first host from then on."""
    try:
        cluster.hosts[:] = sorted(cluster.hosts, key=lambda host: cluster.in_recovery(host.name))
        cluster.wait_until_streaming(cluster.names[0], len(cluster.hosts) - 1, 10)
    except (psycopg.Error, LabError):
        return False
    return True


async def green(handyrep: Watched, old: str) -> None:
    """The old master is a replica of the new one, and all is well."""
    await handyrep.until(lambda: old not in handyrep.on.engine.cluster.deposed, f"{old} back as a replica")
    await handyrep.healthy()


def stays(handyrep: Watched, old: str) -> None:
    """Nobody else is master, and nobody was ordered to be."""
    assert handyrep.master == old, handyrep.story()
    assert not any(run.new_master for run, _, _ in handyrep.on.engine.journal.runs()), handyrep.story()


def stop(cluster: LabCluster, name: str) -> None:
    """An administrator's clean stop."""
    host = cluster.host(name)
    pg_ctl = (f"{cluster.layout.bin_dir}/pg_ctl", "-D", cluster.layout.pgdata, "-m", "fast", "-w", "stop")
    host.inside("runuser", "-u", "postgres", "--", *pg_ctl)
    assert "shut down" in control_file(cluster, host)


def promote(cluster: LabCluster, name: str) -> None:
    """An administrator promotes by hand."""
    pg_ctl = (f"{cluster.layout.bin_dir}/pg_ctl", "-D", cluster.layout.pgdata, "-w", "promote")
    cluster.host(name).inside("runuser", "-u", "postgres", "--", *pg_ctl)
    faults.until(lambda: not cluster.in_recovery(name), f"{name} a master")


def control_file(cluster: LabCluster, host: Host) -> str:
    """What pg_controldata says."""
    return host.inside(f"{cluster.layout.bin_dir}/pg_controldata", "-D", cluster.layout.pgdata)


def start(cluster: LabCluster, name: str) -> None:
    """Start the service, and wait until it lets clients in."""
    cluster.host(name).inside("systemctl", "restart", cluster.layout.unit)
    faults.until(lambda: _lets_in(cluster, name), f"{name} up")


def _lets_in(cluster: LabCluster, name: str) -> bool:
    try:
        return bool(cluster.value(name, "select true"))
    except psycopg.OperationalError:
        return False


def ill(handyrep: Watched, name: str, words: str) -> bool:
    """Whether HandyRep is not content with a server, and says these words."""
    status = handyrep.on.engine.cluster.members[name].status
    return status.health is not Health.HEALTHY and words in status.reason
