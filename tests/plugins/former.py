"""Former masters on loopback, with and without WAL of their own, and rejoin_rewind called on them."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._replication import conf_line
from handyrep.ports import Command
from tests.plugins.pair import REPLICATION, Estate, Node, estate, eventually, own, plugins, programs, run, until

NAME = "rejoin_rewind"
OWN_ROWS = "insert into t select generate_series(-40000, -1)"


@contextlib.contextmanager
def small_estate() -> Iterator[Estate]:
    """Without a database that nobody needs: each test copies it twice."""
    with estate() as made:
        made.template.start()
        made.template.sql("alter database template0 is_template false")
        made.template.sql("drop database template0")
        made.template.stop()
        yield made


def replica_of(house: Estate, old: Node) -> Node:
    """As a copy of what the master began with: that is faster than pg_basebackup."""
    new = house.node("r1")
    subprocess.run(["cp", "-a", str(house.template.data), str(new.data)], check=True)
    source = make_conninfo("", host="127.0.0.1", port=old.port, user="replication", password=REPLICATION)
    (new.data / "postgresql.auto.conf").write_text(conf_line("primary_conninfo", source))
    (new.data / "standby.signal").touch()
    own(new.data / "standby.signal")
    new.start()
    until(lambda: new.value("(select status from pg_stat_wal_receiver)") == "streaming", new)
    return new


@contextlib.contextmanager
def pair_of(house: Estate) -> Iterator[tuple[Node, Node]]:
    """A master and its replica."""
    old = house.master("m1")
    new = replica_of(house, old)
    yield old, new
    for node in (old, new):
        node.stop("immediate")
        shutil.rmtree(node.data)


def received(old: Node, new: Node) -> None:
    end = old.value("pg_current_wal_flush_lsn()::text")
    until(lambda: new.value(f"pg_last_wal_replay_lsn() >= '{end}'"))


def failover(old: Node, new: Node, mode: str = "fast") -> tuple[Node, Node]:
    """The former master ends with all that it wrote received."""
    received(old, new)
    old.stop(mode)
    promote(new)
    return old, new


def part(old: Node, new: Node, mode: str = "fast") -> tuple[Node, Node]:
    """The former master writes what nobody receives."""
    received(old, new)
    new.stop()
    with (new.data / "postgresql.auto.conf").open("a") as conf:
        conf.write("primary_conninfo = ''\n")
    old.sql(OWN_ROWS)
    if mode:
        old.stop(mode)
    new.start()
    promote(new)
    return old, new


def promote(new: Node) -> None:
    new.sql("select pg_promote()")
    new.sql("insert into t values (1)")


async def rejoin(
    old: Node,
    new: Node,
    method: str = "run",
    *,
    hosts: Any = None,
    deadline_s: float = 60.0,
    newmaster: str = "",
    **known: Any,
) -> Result:
    servers = (old.server("replica", **known.pop("changes", {})), new.server("master"))
    async with plugins(*servers, hosts=hosts, **known) as called:
        arguments = {"servername": old.name, "newmaster": newmaster or new.name}
        return await called.caller.call(
            Kind.REJOIN, NAME, method, arguments, cluster=called.cluster, deadline_s=deadline_s
        )


async def follows(old: Node, new: Node) -> None:
    """It streams on the new master's timeline and has the same rows."""
    tli = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
    on = f"(select received_tli = {new.value(tli)} and status = 'streaming' from pg_stat_wal_receiver)"
    await eventually(lambda: old.value(on))
    new.sql("insert into t values (2)")
    rows = "(select string_agg(x::text, ',' order by x) from t)"
    wanted = new.value(rows)
    await eventually(lambda: old.value(rows) == wanted)
    assert old.value("pg_is_in_recovery()")


def never_comes_up_as_a_master(old: Node) -> None:
    """Whoever starts it by hand gets a replica, or nothing."""
    assert not old.runs
    assert not started_by_hand(old) or old.value("pg_is_in_recovery()")
    old.stop()


def started_by_hand(old: Node) -> bool:
    options = ("-o", f"-c config_file={old.conf}", "-l", str(old.folder / "log"))
    return run("pg_ctl", "start", "-w", "-t", "20", "-D", str(old.data), *options, check=False).returncode == 0


def tools(node: Node, instead: str = "", program: str = "pg_rewind") -> dict[str, str]:
    """A folder of the programs with one of our own, or none; $real is the real one."""
    folder = node.folder / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for real in programs().iterdir():
        (folder / real.name).symlink_to(real)
    (folder / program).unlink()
    if instead:
        (folder / program).write_text(f"#!/bin/sh\nreal={programs()}/{program}\ncd {node.folder}\n{instead}\n")
        (folder / program).chmod(0o755)
    own(node.folder)
    return {"bin_dir": str(folder)}


def kept(old: Node) -> list[Path]:
    return list(old.folder.glob("data.handyrep-kept-*"))


def lost(word: str) -> Callable[[Command], bool]:
    return lambda command: word in command.argv
