"""What only a former master has is kept and named before anything happens to it, on real servers; and no rewind that ended half-way is started."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handyrep.adapters.hosts import RealHosts
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Command, Ran
from tests.plugins.former import (
    follows,
    kept,
    lost,
    pair_of,
    part,
    promote,
    received,
    rejoin,
    small_estate,
    started_by_hand,
    tools,
)
from tests.plugins.pair import Estate, Node, Silent, own, plugins, run

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
HEADLINE = "1 transaction in 1 table (postgres.public.t: 40000 rows) was only on m1"


@pytest.fixture(scope="module")
def house() -> Iterator[Estate]:
    with small_estate() as made:
        yield made


@pytest.fixture
def two(house: Estate) -> Iterator[tuple[Node, Node]]:
    with pair_of(house) as made:
        yield made


class Cramped:
    """Hosts whose disks say that they are full."""

    def __init__(self) -> None:
        self._real = RealHosts()

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        argv = tuple(word.replace("stat -f -c '%a %S'", "echo 8 4096; :") for word in command.argv)
        return await self._real.run(server, dataclasses.replace(command, argv=argv), deadline_s=deadline_s)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        return await self._real.run_here(command, deadline_s=deadline_s)


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file but those of the fence, by what changes when somebody writes into it."""
    mine = ("standby.signal", "handyrep.fenced")
    files = (path for path in folder.rglob("*") if path.name not in mine and path.is_file())
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def inserts(wal: Path, relation: str) -> int:
    """Counted by pg_waldump, in WAL files that lie there alone."""
    names = sorted(file.name for file in wal.iterdir() if len(file.name) == 24)
    lines = run(
        "pg_waldump", "-p", str(wal), str(wal / names[0]), str(wal / names[-1]), check=False
    ).stdout.splitlines()
    return sum("INSERT" in line and f"rel {relation} " in line and "rmgr: Heap " in line for line in lines)


async def test_what_only_it_has_is_told_and_left_alone_by_follow_and_kept_by_run(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    file = str(new.value("(select '1663/' || (select oid from pg_database where datname = 'postgres') || '/' || pg_relation_filenode('t'))"))  # fmt: skip
    segments = {path.name: path.read_bytes() for path in (old.data / "pg_wal").iterdir() if len(path.name) == 24}
    before = everything(old.data)
    told = await rejoin(old, new, "follow")
    assert (told.outcome, told.extra["parted"]) == (FAIL, True)
    assert f"{HEADLINE}. m1 stays stopped; next: handyrep remaster m1" in told.details
    assert told.extra["diverged"]["rows"] == {"postgres.public.t": 40000}
    assert everything(old.data) == before
    assert (old.data / "standby.signal").exists()
    assert kept(old) == []

    gone, left = (old.folder / f"data.handyrep-kept-x-0-2020010{day}T000000Z" for day in (1, 2))
    for earlier in (gone, left):
        earlier.mkdir()
        (earlier / "report.json").touch()
        os.utime(own(earlier), (0, time.time() - (7200 if earlier is gone else 1800)))
    told = await rejoin(old, new, options={"rejoin_rewind": {"quarantine_keep": "1 h"}})
    assert told.outcome is SUCCESS, told.details
    assert not gone.exists(), "it is older than the operator wants"
    shutil.rmtree(left)
    (aside,) = kept(old)
    assert f"after pg_rewind; {HEADLINE}; kept in {aside}" in told.details
    assert (told.extra["diverged"]["transactions"], told.extra["diverged"]["kept"]) == (1, str(aside))
    assert aside.stat().st_mode & 0o777 == 0o700
    assert aside.stat().st_uid == old.data.stat().st_uid
    assert (aside / "report.txt").read_text().startswith(f"{HEADLINE}\n")
    report = json.loads((aside / "report.json").read_text())
    assert (report["transactions"], report["gap"], report["earlier"]) == (1, "", 0)
    assert report["bytes"] > 40000 * 60
    assert inserts(aside / "pg_wal", file) == 40000
    for path in (aside / "pg_wal").iterdir():
        assert path.name not in segments or path.read_bytes() == segments[path.name]
    await follows(old, new)
    assert (aside / "pg_control").exists()


async def test_one_that_wrote_but_committed_nothing_lost_nothing(two: tuple[Node, Node]) -> None:
    old, new = two
    received(old, new)
    new.stop()
    with (new.data / "postgresql.auto.conf").open("a") as conf:
        conf.write("primary_conninfo = ''\n")
    old.sql("checkpoint")
    old.stop()
    new.start()
    promote(new)
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert told.extra["rewound"] is True
    assert "no transaction was only on m1: nothing was lost" in told.details
    await follows(old, new)


async def test_without_room_to_keep_it_nothing_is_touched_and_another_folder_will_do(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    before = everything(old.data)
    told = await rejoin(old, new, hosts=Cramped())
    assert told.outcome is FAIL
    assert "there is no room to keep its own WAL" in told.details
    assert f"{old.data} is as it was. m1 stays stopped" in told.details
    for folder in ("/proc", str(old.folder / "nowhere")):
        told = await rejoin(old, new, options={"rejoin_rewind": {"quarantine_dir": folder}})
        assert told.outcome is FAIL
        assert f"{folder} is no folder that can be written" in told.details
    told = await rejoin(old, new, options={"rejoin_rewind": {"quarantine_dir": str(old.data)}})
    assert f"{old.data} lies in the data directory" in told.details, "pg_rewind would take it away"
    assert everything(old.data) == before
    assert kept(old) == []
    elsewhere = old.folder / "elsewhere"
    elsewhere.mkdir()
    own(elsewhere)
    told = await rejoin(old, new, options={"rejoin_rewind": {"quarantine_dir": str(elsewhere)}})
    assert told.outcome is SUCCESS, told.details
    (aside,) = elsewhere.iterdir()
    assert aside.name.startswith("m1.handyrep-kept-")
    assert kept(old) == []
    await follows(old, new)


async def test_a_second_own_history_in_the_same_epoch_is_kept_as_well(two: tuple[Node, Node]) -> None:
    """The first is not taken for it: a directory that has been started since is another one."""
    old, new = part(*two)
    assert (await rejoin(old, new, changes=tools(old))).outcome is FAIL
    assert (await rejoin(old, new, changes=tools(old))).outcome is FAIL
    (first,) = kept(old)
    os.utime(first, (0, 0))
    (old.data / "standby.signal").unlink()
    old.start()
    old.sql("insert into t values (-50000)")
    old.stop()
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert "2 transactions in 1 table (postgres.public.t: 40001 rows)" in told.details
    assert len(kept(old)) == 2, "and nothing is deleted by itself, however old"


async def test_two_that_were_promoted_to_the_same_timeline_are_not_taken_for_one(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    (old.data / "standby.signal").touch()
    own(old.data / "standby.signal")
    old.start()
    promote(old)
    old.stop()
    told = await rejoin(old, new)
    assert told.outcome is FAIL
    assert "both were promoted to timeline 2, each by itself" in told.details
    assert "2 transactions in 1 table (postgres.public.t: 40001 rows) were only on m1; kept in" in told.details
    assert (await rejoin(old, new, "follow")).extra["parted"] is True
    assert not old.runs


BREAKS = 'case "$*" in *--dry-run*) exec "$real" "$@";; esac; trap "" XFSZ; ulimit -f 2048; "$real" "$@"; kill -9 $PPID'
ENDS = 'case "$*" in *--dry-run*) exec "$real" "$@";; esac; "$real" "$@"; kill -9 $PPID'


async def test_wherever_it_is_killed_it_does_not_start_as_it_is_and_a_repeat_goes_on(two: tuple[Node, Node]) -> None:
    """In the lonely start of a crashed one, amid pg_rewind, and when that has ended but nobody heard of it."""
    old, new = two
    old.sql("insert into t select generate_series(10, 40000)")
    old, new = part(old, new, "immediate")
    for instead, program in (("kill -9 $PPID", "postgres"), (BREAKS, "pg_rewind"), (ENDS, "pg_rewind")):
        changes = tools(old, instead, program)
        told = await rejoin(old, new, hosts=Silent(lost("forbid"), sent=False), changes=changes)
        assert told.outcome is not SUCCESS, told.details
        assert not started_by_hand(old)
        assert "pg_rewind" in told.details or "no answer" in told.details or "under way" in told.details
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert HEADLINE in told.details
    await follows(old, new)
    assert old.value("(select count(*) from t where x < 0)") == 0
    assert old.value("current_setting('hba_file')") == f"{old.folder}/hba"


async def test_when_its_wal_is_gone_that_is_the_reason_and_the_report_says_at_least(two: tuple[Node, Node]) -> None:
    old, new = two
    old.configure("wal_keep_size = 0", "max_wal_size = 2MB")
    old.stop()
    old.start()
    part(old, new, "")
    for _ in range(4):
        old.sql("insert into t select generate_series(-1000, -1)")
        old.sql("select pg_switch_wal()")
        old.sql("checkpoint")
    old.stop()
    told = await rejoin(old, new)
    assert told.outcome is FAIL
    assert "pg_rewind could not take it back: pg_rewind: error: could not " in told.details
    assert "at least" in told.details
    assert "is not there any more" in told.details
    assert "next: handyrep clone m1 --reclone" in told.details
    assert len(kept(old)) == 1
    told = await reclone(old, new)
    assert told.outcome is SUCCESS, told.details
    assert "at least" in told.extra["diverged"]["headline"]
    assert len(kept(old)) == 1, "it had been kept before"
    assert not old.beside("old").exists()


async def reclone(old: Node, new: Node, hosts: Any = None) -> Result:
    async with plugins(old.server("replica"), new.server("master"), hosts=hosts) as called:
        return await called.call(Kind.CLONE, "clone_basebackup", servername="m1", clonefrom="r1", reclone=True)


async def test_what_is_overwritten_by_a_copy_is_kept_first_or_stays(two: tuple[Node, Node]) -> None:
    old, new = part(*two, "immediate")
    told = await reclone(old, new, hosts=Cramped())
    assert told.outcome is SUCCESS, told.details
    assert f"{old.beside('old')} is left there, since it may have what no other server has: there is no room" in told.details  # fmt: skip
    assert (old.beside("old") / "PG_VERSION").exists()
    await follows(old, new)
    old.stop()
    told = await reclone(old, new)
    assert told.outcome is SUCCESS, told.details
    (aside,) = kept(old)
    assert f"streams; {HEADLINE}; kept in {aside}" in told.details
    (table,) = (one for one in json.loads((aside / "report.json").read_text())["tables"] if one["of_users"])
    assert inserts(aside / "pg_wal", table["relation"]) == 40000
    assert sorted(path.name for path in old.folder.glob("data*")) == sorted(("data", aside.name))
    await follows(old, new)
