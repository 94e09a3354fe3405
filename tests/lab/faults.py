"""Faults as verbs. Each shows that it is in effect before it returns, so that no test passes because nothing happened."""

import time
from collections.abc import Callable

from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.shell import LabError, run


def _until(holds: Callable[[], bool], what: str, patience_s: float = 15.0) -> None:
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"within {patience_s:g} s: not {what}")
        time.sleep(0.01)


def postmaster(cluster: LabCluster, host: Host) -> int:
    """Its process number inside the host."""
    return int(host.inside("head", "-n", "1", f"{cluster.layout.pgdata}/postmaster.pid"))


def _alive(host: Host, process: int) -> bool:
    state = host.inside("sh", "-c", f"cut -d' ' -f3 /proc/{process}/stat 2>/dev/null || echo X").strip()
    return state not in ("X", "Z")


def _accepts(host: Host) -> bool:
    return "accepting" in run("pg_isready", "-h", host.address, "-t", "1", check=False).split()


def crash(cluster: LabCluster, name: str) -> None:
    """kill -9 of the postmaster."""
    host = cluster.host(name)
    process = postmaster(cluster, host)
    host.inside("kill", "-9", str(process))
    _until(lambda: not _alive(host, process), f"the postmaster of {name} dead")


def stop_immediate(cluster: LabCluster, name: str) -> None:
    """An administrator's pg_ctl -m immediate."""
    host = cluster.host(name)
    host.inside(
        "runuser",
        "-u",
        "postgres",
        "--",
        f"{cluster.layout.bin_dir}/pg_ctl",
        "-D",
        cluster.layout.pgdata,
        "-m",
        "immediate",
        "-w",
        "stop",
    )
    _until(lambda: not _accepts(host), f"{name} stopped")


def hang(cluster: LabCluster, name: str) -> None:
    """SIGSTOP of the postmaster: sessions that exist go on."""
    host = cluster.host(name)
    process = postmaster(cluster, host)
    host.inside("kill", "-STOP", str(process))
    _until(
        lambda: "T" in host.inside("cut", "-d", " ", "-f3", f"/proc/{process}/stat"),
        f"the postmaster of {name} stopped in its tracks",
    )


def power_off(cluster: LabCluster, name: str) -> None:
    """Pull the plug."""
    host = cluster.host(name)
    host.power_off()
    _until(lambda: not _pings(host), f"{name} off")


def power_on(cluster: LabCluster, name: str) -> None:
    """Plug it in again, with what stood on its disk."""
    host = cluster.host(name)
    host.power_on()
    host.wait_until_up()
    _until(lambda: _pings(host), f"{name} on")


def stop_sshd(cluster: LabCluster, name: str) -> None:
    host = cluster.host(name)
    host.inside("systemctl", "stop", "ssh")
    host.inside("sh", "-c", "for p in $(pgrep -x sshd); do kill -9 $p; done; true")
    _until(lambda: not _open(host, 22), f"sshd of {name} stopped")


def start_sshd(cluster: LabCluster, name: str) -> None:
    host = cluster.host(name)
    host.inside("systemctl", "start", "ssh")
    _until(lambda: _open(host, 22), f"sshd of {name} started")


def cut_off_from_manager(cluster: LabCluster, name: str) -> None:
    """HandyRep and the host lose each other; everybody else still sees it."""
    host = cluster.host(name)
    host.place.partition(host.place.net.manager, host.place.net.manager_v6)
    _until(lambda: not _pings(host), f"{name} cut off")


def heal(cluster: LabCluster, name: str) -> None:
    """Remove all partitions of a host."""
    host = cluster.host(name)
    host.place.heal()
    host.place.link_up()
    _until(lambda: _pings(host), f"{name} reachable")


def _pings(host: Host) -> bool:
    return "1 received" in run("ping", "-c", "1", "-W", "1", host.address, check=False)


def _open(host: Host, port: int) -> bool:
    return bool(host.inside("sh", "-c", f"ss -Hltn 'sport = :{port}'").strip())
