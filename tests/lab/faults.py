"""Faults as verbs. Each shows that it is in effect before it returns, so that no test passes because nothing happened; so does its removal.

They work from outside the network (signals, cables, firewalls of a host): no fault hinders another, or the lab.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.network import answers
from tests.lab.shell import LabError, run

_BALLAST = "ballast-of-the-lab"
_MOST_SEGMENTS = 100
_CRASH = """
read -r process < "$1" && kill -9 "$process" || exit 1
try=0
while [ $((try += 1)) -le 1000 ]; do
    read -r line 2>/dev/null < "/proc/$process/stat" || exit 0
    case ${line##*) } in [XZ]*) exit 0;; esac
    sleep 0.01
done
exit 1
"""
"""One program: whatever the fault itself starts takes time from whoever is to notice it."""


def until(holds: Callable[[], bool], what: str, patience_s: float = 15.0) -> None:
    """Wait for an effect. Raises LabError."""
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"within {patience_s:g} s: not {what}")
        time.sleep(0.01)


def postmaster(cluster: LabCluster, host: Host) -> int:
    """Its process number inside the host."""
    return int(host.inside("head", "-n", "1", f"{cluster.layout.pgdata}/postmaster.pid"))


def _state(host: Host, process: int) -> str:
    """The letter that ps shows for it; X when there is none."""
    said = host.inside("sh", "-c", f"cut -d')' -f2- /proc/{process}/stat 2>/dev/null || echo X").split()
    return said[0]


def _accepts(host: Host) -> bool:
    return "accepting" in run("pg_isready", "-h", host.address, "-t", "1", check=False).split()


def crash(cluster: LabCluster, name: str) -> None:
    """kill -9 of the postmaster."""
    cluster.host(name).inside("sh", "-c", _CRASH, "crash", f"{cluster.layout.pgdata}/postmaster.pid")


def stop_immediate(cluster: LabCluster, name: str) -> None:
    """An administrator's pg_ctl -m immediate."""
    _pg_ctl_stop(cluster, name, "immediate")


def stop_clean(cluster: LabCluster, name: str) -> None:
    """An administrator's pg_ctl -m fast: sessions end, and the last WAL is sent."""
    _pg_ctl_stop(cluster, name, "fast")


def _pg_ctl_stop(cluster: LabCluster, name: str, mode: str) -> None:
    host = cluster.host(name)
    pg_ctl = (f"{cluster.layout.bin_dir}/pg_ctl", "-D", cluster.layout.pgdata, "-m", mode, "-w", "stop")
    host.inside("runuser", "-u", "postgres", "--", *pg_ctl)
    until(lambda: not _accepts(host), f"{name} stopped")


def hang(cluster: LabCluster, name: str) -> None:
    """SIGSTOP of the postmaster: sessions that exist go on, new ones get no answer."""
    host = cluster.host(name)
    process = postmaster(cluster, host)
    host.inside("kill", "-STOP", str(process))
    until(lambda: _state(host, process) == "T", f"the postmaster of {name} stopped in its tracks")


def unhang(cluster: LabCluster, name: str) -> None:
    """SIGCONT of a hung postmaster."""
    host = cluster.host(name)
    host.inside("kill", "-CONT", str(postmaster(cluster, host)))
    until(lambda: _accepts(host), f"{name} accepting connections again")


def power_off(cluster: LabCluster, name: str) -> None:
    """Pull the plug."""
    host = cluster.host(name)
    host.power_off()
    if host.init_pid() or _reachable(host):
        raise LabError(f"{name} still runs without power")


def power_on(cluster: LabCluster, name: str) -> None:
    """Plug it in again, with what stood on its disk."""
    host = cluster.host(name)
    host.power_on()
    host.wait_until_up()
    until(lambda: _reachable(host), f"{name} on")


def stop_sshd(cluster: LabCluster, name: str) -> None:
    """No sshd, and no session that it had begun."""
    host = cluster.host(name)
    host.inside("systemctl", "stop", "ssh")
    until(lambda: _rid_of_sshd(host), f"sshd of {name} stopped")


def _rid_of_sshd(host: Host) -> bool:
    """Asked until it holds: a session that was just beginning forks while its parent is killed."""
    host.inside("pkill", "-9", "-x", "sshd", check=False)
    return not host.inside("pgrep", "-x", "sshd", check=False) and not _open(host)


def start_sshd(cluster: LabCluster, name: str) -> None:
    host = cluster.host(name)
    host.inside("systemctl", "start", "ssh")
    until(lambda: _open(host), f"sshd of {name} started")


def link_down(cluster: LabCluster, name: str) -> None:
    """Pull the network cable: the host goes on, alone."""
    host = cluster.host(name)
    host.place.link_down()
    until(lambda: not _reachable(host), f"{name} without network")


def link_up(cluster: LabCluster, name: str) -> None:
    host = cluster.host(name)
    host.place.link_up()
    until(lambda: _reachable(host), f"{name} on the network")


def partition(cluster: LabCluster, name: str, other: str) -> None:
    """Two hosts of the cluster lose each other; everybody else still sees both."""
    host, peer = cluster.host(name), cluster.host(other)
    host.place.partition(peer.place.address, peer.place.address_v6)
    until(lambda: not host.place.reaches(peer.address, peer.ssh_port), f"{name} and {other} apart")


def cut_off_from_manager(cluster: LabCluster, name: str) -> None:
    """HandyRep and the host lose each other; everybody else still sees it."""
    host = cluster.host(name)
    host.place.partition(host.place.net.manager, host.place.net.manager_v6)
    until(lambda: not _reachable(host), f"{name} cut off")


def heal(cluster: LabCluster, name: str) -> None:
    """Remove all partitions that were made at this host, and plug its cable in."""
    host = cluster.host(name)
    host.place.heal()
    host.place.link_up()
    others = [other for other in cluster.hosts if other is not host and other.init_pid()]
    until(lambda: _reachable(host), f"{name} reachable")
    for other in others:
        until(functools.partial(_reaches, host, other), f"{name} reaching {other.name}")


def _reaches(host: Host, other: Host) -> bool:
    """A neighbour that was given up while the cable was out is asked again after a second; who connects before that is told that there is no way."""
    return all(host.place.reaches(address, other.ssh_port, 4.0) for address in (other.address, other.place.address_v6))


@contextmanager
def exhausted_connections(cluster: LabCluster, name: str) -> Iterator[None]:
    """While inside, every connection that is not reserved for superusers is taken by a client."""
    host = cluster.host(name)
    with cluster.connect(name) as boss:
        boss.execute(
            "do $$ begin create role greedy login password 'greedy'; exception when duplicate_object then end $$"
        )
    with ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(_greedy(host))
        try:
            _greedy(host).close()
        except psycopg.OperationalError as error:
            if "remaining connection slots" not in str(error) and "too many clients" not in str(error):
                raise
        else:
            raise LabError(f"{name} still has connections to give")
        yield
    until(lambda: _lets_in(host), f"{name} letting clients in again")


def _greedy(host: Host) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        "", host=host.address, user="greedy", password="greedy", dbname="postgres", connect_timeout=3
    )


def _lets_in(host: Host) -> bool:
    with suppress(psycopg.OperationalError):
        _greedy(host).close()
        return True
    return False


def fill_disk(cluster: LabCluster, name: str) -> None:
    """Not a byte is left where the data directory is. Only for clusters with disk_mb."""
    host = cluster.host(name)
    disk = str(Path(cluster.layout.pgdata).parent)
    if host.inside("mountpoint", disk, check=False).strip() != f"{disk} is a mountpoint":
        raise LabError(f"{name} has no disk of its own to fill: make the cluster with disk_mb")
    # A block at a time at the end: what a big block leaves is enough for another page of a table.
    for block in ("1M", "4k"):
        host.inside("sh", "-c", f"dd if=/dev/zero bs={block} >> {disk}/{_BALLAST}", check=False)
    if _free_kb(host, disk):
        raise LabError(f"{name} still has space")


def use_up_wal(cluster: LabCluster, name: str) -> None:
    """Its disk being full, go from one file of WAL to the next until there is none left, which no PostgreSQL survives."""
    host = cluster.host(name)
    end = time.monotonic() + 30
    while _accepts(host):
        if time.monotonic() > end:
            raise LabError(f"{name} still finds a place for its WAL")
        with suppress(psycopg.Error), cluster.connect(name, options="-c synchronous_commit=local") as connection:
            for _ in range(_MOST_SEGMENTS):
                connection.execute("select pg_switch_wal(), txid_current()")


def free_disk(cluster: LabCluster, name: str) -> None:
    """Take away what filled the disk, if anything did."""
    host = cluster.host(name)
    disk = str(Path(cluster.layout.pgdata).parent)
    host.inside("rm", "-f", f"{disk}/{_BALLAST}")
    if _free_kb(host, disk) < 1024:
        raise LabError(f"{name} has no space yet")


def _free_kb(host: Host, disk: str) -> int:
    return int(host.inside("df", "--output=avail", "-k", disk).split()[-1])


def _reachable(host: Host) -> bool:
    return answers(host.address, host.ssh_port) or answers(host.address, 5432)


def _open(host: Host) -> bool:
    return bool(host.inside("ss", "-Hltn", f"sport = :{host.ssh_port}").strip())
