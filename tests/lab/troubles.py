"""Faults of a server that lives on, each a with-block: inside it the fault was shown to be in effect, after it to be gone.

What a server must be dead, cut off or out of power for stands in tests.lab.faults.
"""

import asyncio
import datetime as dt
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import psycopg

from tests.lab import cgroups, faults
from tests.lab.cluster import LabCluster
from tests.lab.databases import PASSWORDS
from tests.lab.host import Host
from tests.lab.network import answers
from tests.lab.shell import LabError

Shown = TypeVar("Shown")


@asynccontextmanager
async def during(fault: AbstractContextManager[Shown]) -> AsyncIterator[Shown]:
    """A with-block of the lab around part of a test in which HandyRep goes on working."""
    shown = await asyncio.to_thread(fault.__enter__)
    try:
        yield shown
    finally:
        await asyncio.to_thread(fault.__exit__, None, None, None)


def login_error(cluster: LabCluster, name: str, **parameters: str) -> str:
    """What a client who logs in as HandyRep does is told; '' when it is let in."""
    try:
        cluster.connect(name, **{"user": "handyrep", "password": PASSWORDS["handyrep"], **parameters}).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def _until_told(cluster: LabCluster, name: str, words: str, **parameters: str) -> None:
    faults.until(lambda: words in login_error(cluster, name, **parameters), f"{name} answering: {words}")


def _until_let_in(cluster: LabCluster, name: str) -> None:
    faults.until(lambda: login_error(cluster, name) == "", f"{name} letting HandyRep in")


def sessions(cluster: LabCluster, name: str) -> dict[int, int]:
    """HandyRep's sessions at a server: process and the port that each comes from."""
    asked = "select pid, client_port from pg_stat_activity where usename = 'handyrep' and application_name like 'handyrep%%'"
    with cluster.connect(name) as boss:
        return dict(boss.execute(asked).fetchall())


def end_sessions(cluster: LabCluster, name: str) -> None:
    """End every session of HandyRep's role at a server."""
    with cluster.connect(name) as boss:
        boss.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'handyrep'")


@contextmanager
def full_disk(cluster: LabCluster, name: str) -> Iterator[None]:
    """Not a byte is left where the data directory is. Only for clusters with disk_mb."""
    faults.fill_disk(cluster, name)
    yield
    faults.free_disk(cluster, name)


@contextmanager
def unreadable_pgdata(cluster: LabCluster, name: str) -> Iterator[None]:
    """PGDATA with mode 000 under a running server."""
    host, place = cluster.host(name), cluster.layout.pgdata
    host.inside("chmod", "000", place)
    end_sessions_unseen(host)
    _until_told(cluster, name, "Permission denied")
    yield
    host.inside("chmod", "700", place)
    _until_let_in(cluster, name)


def end_sessions_unseen(host: Host) -> None:
    """The same without logging in: HandyRep's sessions are killed by SIGTERM from inside the host."""
    host.inside("pkill", "-TERM", "-f", "^postgres: .*handyrep ", check=False)


@contextmanager
def no_connection_left(cluster: LabCluster, name: str) -> Iterator[None]:
    """Not even those that are reserved for superusers, of whom HandyRep's role is one in the lab."""
    with ExitStack() as held:
        held.enter_context(faults.exhausted_connections(cluster, name))
        end_sessions(cluster, name)
        end = time.monotonic() + 30
        while "too many clients" not in login_error(cluster, name):
            with suppress(psycopg.OperationalError):
                held.enter_context(cluster.connect(name))
            if time.monotonic() > end:
                raise LabError(f"{name} still has connections to give")
        end_sessions_unseen(cluster.host(name))
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(cluster.connect(name))
        _until_told(cluster, name, "too many clients")
        yield
    _until_let_in(cluster, name)


@contextmanager
def rotated_password(cluster: LabCluster) -> Iterator[None]:
    """HandyRep's password was changed, and nobody told it."""
    master = cluster.names[0]
    with cluster.connect(master) as boss:
        boss.execute("alter role handyrep password 'rotated'")
    for name in cluster.names:
        _until_told(cluster, name, "password authentication failed")
        end_sessions(cluster, name)
    yield
    with cluster.connect(master) as boss:
        boss.execute(f"alter role handyrep password '{PASSWORDS['handyrep']}'".encode())
    for name in cluster.names:
        _until_let_in(cluster, name)


@contextmanager
def rejected_by_hba(cluster: LabCluster, name: str) -> Iterator[None]:
    """pg_hba.conf of this server rejects HandyRep."""
    host, file = cluster.host(name), f"{cluster.layout.conf_dir}/pg_hba.conf"
    host.inside("sed", "-i", "1i host all handyrep all reject", file)
    cluster.value(name, "select pg_reload_conf()")
    _until_told(cluster, name, "pg_hba.conf rejects")
    end_sessions(cluster, name)
    yield
    host.inside("sed", "-i", "1d", file)
    cluster.value(name, "select pg_reload_conf()")
    _until_let_in(cluster, name)


@contextmanager
def expired_certificate(cluster: LabCluster, name: str) -> Iterator[None]:
    """The server's certificate ended yesterday. For clusters with TLS (version 15)."""
    host = cluster.host(name)
    addresses = (host.place.address, host.place.address_v6)
    checked = {"sslmode": "verify-full", "sslrootcert": str(host.image.root_certificate)}
    host.image.certify(host.root, name, addresses, dt.timedelta(days=-1))
    cluster.value(name, "select pg_reload_conf()")
    _until_told(cluster, name, "certificate verify failed", **checked)
    end_sessions(cluster, name)
    yield
    host.image.certify(host.root, name, addresses)
    cluster.value(name, "select pg_reload_conf()")
    faults.until(lambda: login_error(cluster, name, **checked) == "", f"{name} with a certificate that is good")


@contextmanager
def held_recovery(cluster: LabCluster, name: str) -> Iterator[None]:
    """A backend died by kill -9, and the crash recovery that follows does not come to its end: new clients hear 57P03."""
    host = cluster.host(name)
    with cluster.connect(name) as boss:
        boss.execute("checkpoint; create table bulk as select generate_series(1, 400000) n; drop table bulk")
    with cluster.connect(name) as victim:
        catch = 'kill -9 "$0"; for n in $(seq 1 3000); do pkill -STOP -f "^postgres: .*startup" && exit; done; exit 1'
        host.inside("sh", "-c", catch, str(victim.info.backend_pid))
    _until_told(cluster, name, "the database system is")
    yield
    host.inside("pkill", "-CONT", "-f", "^postgres: .*startup")
    _until_let_in(cluster, name)


def kill_a_backend(cluster: LabCluster, name: str) -> None:
    """As the kernel does when memory runs out: every session ends, and the server recovers by itself."""
    with cluster.connect(name) as victim, cluster.connect(name) as witness:
        cluster.host(name).inside("kill", "-9", str(victim.info.backend_pid))
        with suppress(psycopg.OperationalError):
            while True:
                witness.execute("select 1")
                time.sleep(0.005)


@contextmanager
def without_sql(cluster: LabCluster, name: str) -> Iterator[None]:
    """A replica that takes no logins: hot_standby is off."""
    host, file = cluster.host(name), f"{cluster.layout.pgdata}/postgresql.auto.conf"
    host.inside("sed", "-i", "$ a hot_standby = off", file)
    host.inside("systemctl", "restart", cluster.layout.unit)
    _until_told(cluster, name, "Hot standby mode is disabled")
    yield
    host.inside("sed", "-i", "$ d", file)
    host.inside("systemctl", "restart", cluster.layout.unit)
    _until_let_in(cluster, name)


@contextmanager
def missing_program(cluster: LabCluster, name: str, program: str) -> Iterator[None]:
    """A program of PostgreSQL is not where it was."""
    host, path = cluster.host(name), f"{cluster.layout.bin_dir}/{program}"
    host.inside("mv", path, f"{path}.gone")
    if "gone" not in host.inside("sh", "-c", f"test -e {path} && echo there || echo gone"):
        raise LabError(f"{program} is still there")
    yield
    host.inside("mv", f"{path}.gone", path)


@contextmanager
def needed_wal_gone(cluster: LabCluster, name: str) -> Iterator[None]:
    """A replica was away for so long that its master has removed what it needs. What is there stays so: it has to be copied anew."""
    host, master = cluster.host(name), cluster.names[0]
    host.inside("systemctl", "stop", cluster.layout.unit)
    with cluster.connect(master) as boss:
        boss.execute("alter system set wal_keep_size = 0")
        boss.execute("select pg_reload_conf()")
        for _ in range(3):
            boss.execute("select pg_logical_emit_message(true, 'x', 'x')")
            boss.execute("select pg_switch_wal()")
            boss.execute("checkpoint")
    host.inside("systemctl", "start", cluster.layout.unit)
    log = "grep -l 'has already been removed' /var/log/postgresql/*.log || true"
    faults.until(lambda: bool(host.inside("sh", "-c", log)), f"{name} asking for WAL that is gone")
    yield
    with cluster.connect(master) as boss:
        boss.execute("alter system reset wal_keep_size")
        boss.execute("select pg_reload_conf()")


@contextmanager
def starved_of_cpu(cluster: LabCluster, name: str) -> Iterator[None]:
    """All processes of the host have the processors for a tenth of the time, as under a small quota."""
    host = cluster.host(name)
    over = threading.Event()
    thread = threading.Thread(target=_starve, args=(f"{host.group}/payload", over), daemon=True)
    thread.start()
    try:
        # More than once: a login may fall into the moments in which all run.
        faults.until(lambda: _login_s(cluster, name) > 0.2, f"{name} slow")
        yield
    finally:
        over.set()
        thread.join()
    _until_let_in(cluster, name)


def _login_s(cluster: LabCluster, name: str) -> float:
    began = time.monotonic()
    login_error(cluster, name)
    return time.monotonic() - began


def _starve(group: str, over: threading.Event) -> None:
    while not over.is_set():
        for sign, pause_s in ((signal.SIGSTOP, 0.27), (signal.SIGCONT, 0.03)):
            for process in cgroups.processes(group):
                with suppress(ProcessLookupError):
                    os.kill(process, sign)
            over.wait(pause_s)
    for process in cgroups.processes(group):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


@contextmanager
def manager_cut_off(cluster: LabCluster) -> Iterator[None]:
    """HandyRep's own cable is out."""
    net = cluster.hosts[0].place.net
    net.manager_link("down")
    faults.until(lambda: not any(answers(host.address, host.ssh_port) for host in cluster.hosts), "HandyRep alone")
    yield
    net.manager_link("up")
    faults.until(lambda: all(answers(host.address, host.ssh_port) for host in cluster.hosts), "HandyRep on the network")


@contextmanager
def lossy(cluster: LabCluster, name: str, share: float) -> Iterator[None]:
    """This share of all packets from HandyRep to the server is lost."""
    place = cluster.host(name).place
    place.drop("-s", place.net.manager, "-m", "statistic", "--mode", "random", "--probability", str(share))
    yield
    if not place.dropped():
        raise LabError("no packet was lost")
    faults.heal(cluster, name)


@contextmanager
def idle_flows_dropped(cluster: LabCluster, name: str) -> Iterator[set[int]]:
    """A firewall between HandyRep and the server forgot the connections that exist, and says nothing; new ones pass. HandyRep's sessions then."""
    place = cluster.host(name).place
    held = sessions(cluster, name)
    if not held:
        raise LabError(f"HandyRep has no session at {name}")
    for port in held.values():
        place.drop("-s", place.net.manager, "-p", "tcp", "--sport", str(port))
    faults.until(lambda: place.dropped() > 0, "a packet of an old connection dropped")
    yield set(held)
    faults.heal(cluster, name)


def reset_connections(cluster: LabCluster, name: str) -> set[int]:
    """A TCP reset for each of HandyRep's connections to PostgreSQL; the sessions that ended by it."""
    host = cluster.host(name)
    held = set(sessions(cluster, name))
    host.inside("ss", "-K", "dst", host.place.net.manager, "sport", "=", ":5432")
    faults.until(lambda: not held & set(sessions(cluster, name)), "the sessions ended")
    if not held:
        raise LabError(f"HandyRep had no session at {name}")
    return held


@contextmanager
def stranger_at_the_address(cluster: LabCluster, name: str) -> Iterator[int]:
    """Another cluster's server answers in the place of this one, with the same roles and passwords; its system identifier."""
    host, place = cluster.host(name), cluster.layout.pgdata
    ours = cluster.value(name, "select system_identifier from pg_control_system()")
    host.inside("systemctl", "stop", cluster.layout.unit)
    host.inside("mv", place, f"{place}.ours")
    host.inside("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", place)
    as_postgres = ("runuser", "-u", "postgres", "--")
    options = ("-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync", "--no-instructions")
    host.inside(*as_postgres, f"{cluster.layout.bin_dir}/initdb", "-D", place, *options)
    # HandyRep's role, of the superuser's rights as in the lab's own clusters, by the file that lets everybody in locally.
    single = (f"{cluster.layout.bin_dir}/postgres", "--single", "-D", place, "-c", "synchronous_standby_names=")
    conf = ("-c", f"config_file={cluster.layout.conf_dir}/postgresql.conf", "postgres")
    host.inside(*as_postgres, *single, *(conf if cluster.layout.pgconf else conf[2:]), stdin=_ROLES_OF_A_STRANGER)
    if not cluster.layout.pgconf:
        host.inside("sh", "-c", f"cp -p {place}.ours/pg_hba.conf {place}.ours/postgresql.conf {place}/")
    host.inside("systemctl", "start", cluster.layout.unit)
    _until_let_in(cluster, name)
    other = cluster.value(name, "select system_identifier from pg_control_system()")
    if other == ours:
        raise LabError("it is no stranger")
    yield int(other)
    host.inside("systemctl", "stop", cluster.layout.unit)
    host.inside("rm", "-rf", place)
    host.inside("mv", f"{place}.ours", place)
    host.inside("systemctl", "start", cluster.layout.unit)
    _until_let_in(cluster, name)


_ROLES_OF_A_STRANGER = f"""create role handyrep superuser login password '{PASSWORDS["handyrep"]}'
create role replication replication login password '{PASSWORDS["replication"]}'
alter role postgres password '{PASSWORDS["postgres"]}'
"""
