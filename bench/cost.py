"""What HandyRep costs: `make cost` (root). Time of a look, CPU, memory, connections and queries, for clusters of 3 to 100 servers.

One real master and one real replica, and a real sshd, in a network namespace of their own; each further server is the same replica at an
address of its own, so that HandyRep holds connections to as many servers as it is told of. CPU is that of HandyRep and the programs it starts.
ARGS: --json, --write (docs/benchmarks.md), --servers N (repeatable).
"""

import argparse
import asyncio
import dataclasses
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.adapters.silent import silent_server
from tests.adapters.sshd import ACCOUNT, Sshd, running_sshd
from tests.plugins.pair import OURS, REPLICATION, SUPER, Node, estate, owner

from bench import book
from handyrep.app import running
from handyrep.operations.declare import Running

_INSIDE = "HANDYREP_COST_INSIDE"
_SIZES = (3, 5, 10, 30, 100)
_LOOKS, _FULL_LOOKS, _WATCHED_S, _SETTLE_S = 20, 3, 20.0, 120.0
_CONF = """
[handyrep]
cluster_name = cost
state_dir = {folder}/state
[passwords]
handyrep_db_pass = "{ours}"
superuser_pass = "{superuser}"
replication_pass = "{replication}"
[failover]
poll_interval = 1
[server_defaults]
port = {port}
ssh_user = {login}
postgres_os_user = {account}
ssh_port = {ssh_port}
ssh_key = {sshd}/id
known_hosts = {folder}/known_hosts
pgdata = {data}
pgconf = {conf}
bin_dir = {bin_dir}
[servers]
{servers}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--servers", type=int, action="append", default=[])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("A network namespace needs root.")
    if _INSIDE not in os.environ:
        inside = ('ip link set lo up && exec "$0" -m bench.cost "$@"', sys.executable, *sys.argv[1:])
        os.execvpe("unshare", ["unshare", "-n", "sh", "-c", *inside], {**os.environ, _INSIDE: "1"})
    rows = []
    with estate() as house, tempfile.TemporaryDirectory() as folder, running_sshd(Path(folder), "0.0.0.0") as sshd:
        everywhere = ("listen_addresses = '*'", "max_connections = 400", "max_wal_senders = 120")
        master = house.master("m1", *everywhere)
        replica = house.replica("r1", master, *everywhere)
        for size in options.servers or _SIZES:
            rows.append(asyncio.run(_measured(master, replica, sshd, size)))
            print(
                json.dumps(rows[-1]) if options.json else "  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True
            )
    if options.write:
        book.write_table("cost", rows)


async def _measured(master: Node, replica: Node, sshd: Sshd, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        conf = _configured(Path(name), master, replica, sshd, size)
        async with running(conf) as on:
            await _settled(on)
            light_s = await _timed(lambda: on.check.rounds.look(verified=False), _LOOKS)
            hung_s = await _beside_a_hung_one(on, name_of(size - 1))
            before = _queries(master)
            cpu = await _cpu(on)
            queries = (_queries(master) - before) / _WATCHED_S
            held = _connections(replica) / (size - 1)
            # Last: here all its work is one host's, which is busy with the end of it for seconds.
            full_s = await _timed(on.engine.observer.verify, _FULL_LOOKS)
    return {
        "servers": size, "light_look_s": round(light_s, 3), "full_look_s": round(full_s, 3), "light_look_with_a_hung_one_s": round(hung_s, 3),
        "cpu_percent": round(cpu * 100, 2), "memory_mb": round(_memory_mb(), 1), "connections_per_server": round(held, 1), "master_queries_per_s": round(queries, 1),
    }  # fmt: skip


def name_of(number: int) -> str:
    """Of the server with that number; 0 is the master."""
    return f"s{number}"


def _configured(folder: Path, master: Node, replica: Node, sshd: Sshd, size: int) -> Path:
    kind, key = (sshd.folder / "host.pub").read_text().split()[:2]
    addresses = [f"127.0.{1 + number // 200}.{1 + number % 200}" for number in range(size)]
    (folder / "known_hosts").write_text("".join(f"[{address}]:{sshd.port} {kind} {key}\n" for address in addresses))
    listed = [
        f"[[{name_of(0)}]]\nhostname = {addresses[0]}\nrole = master\nport = {master.port}\npgdata = {master.data}\npgconf = {master.conf}\n"
    ]
    listed += [
        f"[[{name_of(number)}]]\nhostname = {address}\nrole = replica\n"
        for number, address in enumerate(addresses)
        if number
    ]
    conf = folder / "handyrep.conf"
    conf.write_text(
        _CONF.format(
            folder=folder, ours=OURS, superuser=SUPER.replace("\\", "\\\\"), replication=REPLICATION.replace("\\", "\\\\"), port=replica.port, account=owner(), login=ACCOUNT,
            ssh_port=sshd.port, sshd=sshd.folder, data=replica.data, conf=replica.conf, bin_dir=replica.programs, servers="".join(listed),
        )
    )  # fmt: skip
    conf.chmod(0o600)
    return conf


async def _settled(on: Running) -> None:
    """Once HandyRep is logged in everywhere and a light look hears every server in time."""
    end = time.monotonic() + _SETTLE_S
    await on.engine.observer.verify()
    while len((await on.check.rounds.look(verified=False)).seen) < len(on.engine.cluster.enabled):
        if time.monotonic() > end:
            raise TimeoutError(f"not every server answers in time within {_SETTLE_S:g} s")


async def _timed(look: Callable[[], Awaitable[Any]], times: int) -> float:
    """The median of so many."""
    took_s = []
    for _ in range(times):
        began = time.monotonic()
        await look()
        took_s.append(time.monotonic() - began)
    return statistics.median(took_s)


async def _beside_a_hung_one(on: Running, name: str) -> float:
    """A light look while one server takes connections and says nothing."""
    member = on.engine.cluster.members[name]
    async with silent_server() as port:
        hung = dataclasses.replace(member, server=dataclasses.replace(member.server, hostname="127.0.0.1", port=port))
        on.engine.state.update(on.engine.cluster.with_member(hung))
        await on.check.rounds.look(verified=False)
        hung_s = await _timed(lambda: on.check.rounds.look(verified=False), _LOOKS)
        on.engine.state.update(on.engine.cluster.with_member(member))
    return hung_s


async def _cpu(on: Running) -> float:
    """Of one core, while it watches."""
    task = asyncio.create_task(on.monitor.run())
    await asyncio.sleep(2)
    began = _cpu_s()
    await asyncio.sleep(_WATCHED_S)
    used_s = _cpu_s() - began
    task.cancel()
    return used_s / _WATCHED_S


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _connections(replica: Node) -> int:
    return int(replica.value("(select count(*) from pg_stat_activity where application_name = 'handyrep')"))


def _queries(master: Node) -> int:
    """Transactions so far: HandyRep's statements are one each."""
    master.value("pg_stat_clear_snapshot()")
    return int(master.value("(select sum(xact_commit) from pg_stat_database)"))


if __name__ == "__main__":
    main()
