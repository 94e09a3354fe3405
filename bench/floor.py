"""The least that a change of master can take on this machine, by a script that proves nothing: never fail over like this.

notice: a killed postmaster is seen on a held connection. promote: from pg_promote to a write. redirect: clients of a pgbouncer are led elsewhere.
"""

import dataclasses
import select
import time
from collections.abc import Callable

import psycopg
from tests.lab import faults
from tests.lab.cluster import LabCluster
from tests.lab.proxy import ADMIN, LabProxy

_PATIENCE_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Floor:
    """Seconds each."""

    notice_s: float
    promote_s: float
    redirect_s: float

    def of(self, fault: str) -> float:
        """A master that is silent is noticed by nobody: there the floor is that of somebody who knows. In a switchover nothing is to be noticed."""
        return (self.notice_s if fault == "crash" else 0.0) + self.promote_s + self.redirect_s


def floor(cluster: LabCluster, proxies: list[LabProxy]) -> Floor:
    """Measured once, on a cluster that is of no use afterwards."""
    old, new = cluster.names[:2]
    with cluster.connect(old) as held, cluster.connect(new) as replica:
        replica.execute("alter system set synchronous_standby_names = ''")
        replica.execute("select pg_reload_conf()")
        began = time.monotonic()
        faults.crash(cluster, old)
        notice_s = _seconds(lambda: bool(select.select([held], [], [], 0.0005)[0]), began)
        began = time.monotonic()
        replica.execute("select pg_promote(wait := false)")
        promote_s = _seconds(lambda: _writes(replica), began)
    return Floor(notice_s, promote_s, _redirected(cluster, proxies[0], new) if proxies else 0.0)


def _writes(replica: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        replica.execute("insert into written (n) values (-1)")
    except psycopg.Error:
        return False
    return True


def _redirected(cluster: LabCluster, proxy: LabProxy, new: str) -> float:
    """From KILL to the first answer from the new master."""
    address, ini = cluster.host(new).address, proxy.host.root / "etc/pgbouncer/pgbouncer.ini"
    text = (
        ini.read_text()
        .replace(cluster.hosts[0].address, address)
        .replace("[pgbouncer]", "[pgbouncer]\nserver_login_retry = 0", 1)
    )
    with proxy.connect("pgbouncer", ADMIN) as console:
        began = time.monotonic()
        console.execute("kill postgres")
        ini.write_text(text)
        console.execute("reload")
        console.execute("resume postgres")
        return _seconds(lambda: _answers(proxy, address), began)


def _answers(proxy: LabProxy, address: str) -> bool:
    try:
        return proxy.leads_to() == address
    except psycopg.Error:
        return False


def _seconds(holds: Callable[[], bool], began: float) -> float:
    while not holds():
        if time.monotonic() > began + _PATIENCE_S:
            raise TimeoutError(f"the floor could not be measured within {_PATIENCE_S:g} s")
    return time.monotonic() - began
