"""clone_basebackup: real copies become replicas that stream, and what stood there outlives every copy that did not come."""

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Command
from tests.plugins.pair import Estate, Node, Silent, eventually, newest_programs, own, plugins, programs, run

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "clone_basebackup"


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    master = house.master()
    master.sql("insert into t select generate_series(1, 40000)")
    return master


@pytest.fixture
def r1(house: Estate) -> Iterator[Node]:
    """A place without data."""
    node = house.node("r1")
    yield node
    if (node.data / "PG_VERSION").exists():
        node.stop("immediate")


@pytest.fixture
def filled(r1: Node, house: Estate) -> Node:
    """One with an older copy of the same cluster, in which something lies that is dear to somebody."""
    subprocess.run(["cp", "-a", str(house.template.data), str(r1.data)], check=True)
    (r1.data / "dear").write_text("kept")
    return r1


async def clone(
    target: Node, source: Node, *, reclone: bool = False, hosts: Any = None, deadline_s: float = 60.0, **known: Any
) -> Result:
    changes, role, options = known.pop("changes", {}), known.pop("role", "replica"), known.pop("options", {})
    servers = {node.name: node.server("master") for node in (source,)}
    servers[target.name] = target.server(role, **changes)
    async with plugins(*servers.values(), hosts=hosts, options={NAME: options}, **known) as called:
        arguments = {"servername": target.name, "clonefrom": source.name, "reclone": reclone}
        return await called.caller.call(
            Kind.CLONE, NAME, "run", arguments, cluster=called.cluster, deadline_s=deadline_s
        )


def backup(node: Node, text: str) -> dict[str, str]:
    """The options for a pg_basebackup of our own; $real is the real one."""
    file = node.folder / "pg_basebackup"
    file.write_text(f"#!/bin/sh\nreal={programs()}/pg_basebackup\ncd {node.folder}\n{text}\n")
    own(file).chmod(0o755)
    return {"basebackup_path": str(file)}


def all_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file, by what changes when somebody touches it."""
    found = {}
    for path in folder.rglob("*"):
        seen = path.lstat()
        found[str(path.relative_to(folder))] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return found


async def is_a_replica(replica: Node, master: Node) -> None:
    """It streams, and has what the master has, and nothing is left of the work."""
    assert replica.value("pg_is_in_recovery()")
    master.sql("insert into t values (-1)")
    wanted = master.value("(select count(*) from t)")
    await eventually(lambda: replica.value("(select count(*) from t)") == wanted)
    there = f"(select state from pg_stat_replication where application_name = '{replica.name}')"
    assert master.value(there) == "streaming"
    assert not replica.beside("new").exists()
    assert not replica.beside("old").exists()
    assert not (replica.data / "handyrep.cloning").exists()


def lost(word: str) -> Callable[[Command], bool]:
    return lambda command: word in command.argv


@pytest.mark.parametrize("there", ["missing", "empty"])
@pytest.mark.parametrize("reclone", [False, True])
async def test_a_copy_streams_and_has_the_rows(r1: Node, m1: Node, there: str, *, reclone: bool) -> None:
    if there == "empty":
        r1.data.mkdir()
        own(r1.data)
    told = await clone(r1, m1, reclone=reclone)
    assert (told.outcome, told.details) == (SUCCESS, "r1 is a replica of m1 and streams")
    await is_a_replica(r1, m1)
    assert oct(r1.data.stat().st_mode & 0o777) == "0o700"


async def test_what_is_filled_is_overwritten_only_with_reclone(filled: Node, m1: Node) -> None:
    before = all_of(filled.folder)
    told = await clone(filled, m1)
    assert told.outcome is FAIL
    assert "is not empty; say --reclone" in told.details
    assert all_of(filled.folder) == before
    assert (await clone(filled, m1, reclone=True)).outcome is SUCCESS
    await is_a_replica(filled, m1)
    assert not (filled.data / "dear").exists()


async def test_h1_a_master_and_the_source_itself_are_refused(filled: Node, m1: Node) -> None:
    before = all_of(filled.folder)
    for told in (await clone(filled, m1, reclone=True, role="master"), await clone(m1, m1, reclone=True)):
        assert told.outcome is FAIL
        assert "is the master or the source itself: nothing was touched" in told.details
    assert all_of(filled.folder) == before
    assert m1.runs


async def test_h1_a_running_postgresql_is_refused(filled: Node, m1: Node) -> None:
    filled.start()
    started = filled.value("pg_postmaster_start_time()")
    told = await clone(filled, m1, reclone=True)
    assert told.outcome is FAIL
    assert f"PostgreSQL runs in {filled.data}" in told.details
    assert filled.value("pg_postmaster_start_time()") == started
    assert (filled.data / "dear").exists()


async def test_one_that_was_started_while_the_copy_was_made_keeps_its_place(filled: Node, m1: Node) -> None:
    start = f'{programs()}/pg_ctl start -w -D data -l log -o "-c config_file={filled.conf}" >/dev/null 2>&1 </dev/null'
    told = await clone(filled, m1, reclone=True, options=backup(filled, f'"$real" "$@" && {start} 9<&-'))
    assert told.outcome is FAIL
    assert f"PostgreSQL runs in {filled.data}" in told.details
    assert filled.runs
    assert (filled.data / "dear").exists()


async def test_a_folder_that_is_no_data_directory_is_refused(r1: Node, m1: Node) -> None:
    r1.data.mkdir()
    (r1.data / "photographs").write_text("dear")
    before = all_of(r1.folder)
    told = await clone(r1, m1, reclone=True)
    assert told.outcome is FAIL
    assert "holds something that is no data directory" in told.details
    assert all_of(r1.folder) == before


async def test_c10_h1_another_clusters_data_is_refused(r1: Node, m1: Node) -> None:
    run("initdb", "-N", "-U", "postgres", "--locale", "C", "-D", str(r1.data))
    before = all_of(r1.folder)
    told = await clone(r1, m1, reclone=True)
    assert told.outcome is FAIL
    assert f"belongs to another cluster (system identifier {r1.control('Database system identifier')})" in told.details
    assert all_of(r1.folder) == before


@pytest.mark.parametrize("end", ["", "/"])
async def test_h4_a_symbolic_link_is_refused(filled: Node, m1: Node, end: str) -> None:
    link = filled.folder / "link"
    link.symlink_to(filled.data)
    before = all_of(filled.folder)
    told = await clone(filled, m1, reclone=True, changes={"pgdata": f"{link}{end}"})
    assert told.outcome is FAIL
    assert "is a symbolic link" in told.details
    assert all_of(filled.folder) == before


@pytest.mark.parametrize("path", ["", "/", "/data", "/data/", "data", "some/data"])
async def test_a_path_that_is_none_for_a_data_directory_is_refused(filled: Node, m1: Node, path: str) -> None:
    told = await clone(filled, m1, reclone=True, changes={"pgdata": path})
    assert told.outcome is FAIL
    assert f"{path.rstrip('/')} is no path for a data directory" in told.details


async def test_h4_tablespaces_must_be_mapped(house: Estate, r1: Node) -> None:
    source = house.master("m2")
    there, here = (node.folder / "space" for node in (source, r1))
    for folder in (there, here):
        folder.mkdir()
        own(folder)
    source.sql(f"create tablespace elsewhere location '{there}'")
    source.sql("create table far (x int) tablespace elsewhere")
    source.sql("insert into far values (42)")
    told = await clone(r1, source)
    assert told.outcome is FAIL
    assert "map them with extra_parameters" in told.details
    assert list(here.iterdir()) == []
    assert not r1.data.exists()
    told = await clone(r1, source, options={"extra_parameters": (f"--tablespace-mapping={there}={here}",)})
    assert told.outcome is SUCCESS, told.details
    await is_a_replica(r1, source)
    assert r1.value("(select x from far)") == 42
    assert list(here.iterdir())


ROOM = 'trap "" XFSZ; ulimit -f 2048; exec "$real" "$@"'


@pytest.mark.parametrize("why", ["password", "room", "program"])
async def test_h3_a_copy_that_does_not_come_leaves_all_as_it_was_and_a_repeat_succeeds(filled: Node, m1: Node, why: str) -> None:  # fmt: skip
    options = {"basebackup_path": "/nowhere/pg_basebackup"} if why == "program" else backup(filled, ROOM)
    known = {"replication_pass": "canary-wrong"} if why == "password" else {"options": options}
    before = all_of(filled.data)
    told = await clone(filled, m1, reclone=True, **known)
    assert told.outcome is FAIL
    assert told.details.startswith("the copy was not made: ")
    expected = {"password": "authentication failed", "room": "File too large", "program": "set basebackup_path"}
    assert expected[why] in told.details
    assert "canary" not in repr(told)
    assert all_of(filled.data) == before
    assert not filled.beside("new").exists()
    assert (await clone(filled, m1, reclone=True)).outcome is SUCCESS
    await is_a_replica(filled, m1)


async def test_h3_at_its_deadline_it_is_uncertain_and_a_repeat_succeeds(filled: Node, m1: Node) -> None:
    before = all_of(filled.data)
    slowly = backup(filled, 'echo $$ > pid; exec "$real" "$@" --max-rate=32')
    told = await clone(filled, m1, reclone=True, options=slowly, deadline_s=2.0)
    assert told.outcome is UNCERTAIN
    assert filled.beside("new").exists()
    assert all_of(filled.data) == before
    stop_at_once(filled)
    assert (await clone(filled, m1, reclone=True)).outcome is SUCCESS
    await is_a_replica(filled, m1)


def stop_at_once(node: Node) -> None:
    """End the pg_basebackup that wrote `pid`, and those that it started."""
    process = int((node.folder / "pid").read_text())
    children = Path(f"/proc/{process}/task/{process}/children")
    for one in (*(children.read_text().split() if children.exists() else ()), process):
        try:
            os.kill(int(one), signal.SIGKILL)
        except ProcessLookupError:
            continue


async def test_while_an_earlier_copy_is_under_way_another_is_refused_and_does_it_no_harm(r1: Node, m1: Node) -> None:
    first = backup(r1, 'echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done; exec "$real" "$@"')
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(clone(r1, m1, options=first))
        await eventually((r1.folder / "pid").exists)
        other = await clone(r1, m1)
        (r1.folder / "go").touch()
    assert other.outcome is FAIL
    assert "another copy" in other.details
    assert one.result().outcome is SUCCESS
    await is_a_replica(r1, m1)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("word", ["clone", "set_following"])
async def test_a_lost_answer_before_the_start_is_uncertain_and_a_repeat_succeeds(filled: Node, m1: Node, word: str, *, sent: bool) -> None:  # fmt: skip
    told = await clone(filled, m1, reclone=True, hosts=Silent(lost(word), sent=sent))
    assert told.outcome is UNCERTAIN
    moved = word == "set_following" or sent
    assert ((filled.beside("old") if moved else filled.data) / "dear").read_text() == "kept"
    assert not moved or (filled.data / "standby.signal").exists()
    again = await clone(filled, m1, reclone=not moved)
    assert again.outcome is SUCCESS, again.details
    await is_a_replica(filled, m1)


async def test_a_lost_answer_to_the_start_is_uncertain_and_what_stood_there_is_kept(filled: Node, m1: Node) -> None:
    told = await clone(filled, m1, reclone=True, hosts=Silent(lost("start")))
    assert told.outcome is UNCERTAIN
    assert (filled.beside("old") / "dear").exists()
    again = await clone(filled, m1, reclone=True)
    assert again.outcome is FAIL
    assert "PostgreSQL runs" in again.details
    assert (filled.beside("old") / "dear").exists()


async def test_a_lost_answer_to_the_last_step_is_no_success(filled: Node, m1: Node) -> None:
    told = await clone(filled, m1, reclone=True, hosts=Silent(lost("discard_old")))
    assert told.outcome is UNCERTAIN
    await is_a_replica(filled, m1)


async def test_what_stood_there_is_deleted_only_after_the_new_one_streams(filled: Node, m1: Node) -> None:
    unread = {"replica_conf": str(filled.folder / "no_file_includes_this.conf")}
    told = await clone(filled, m1, reclone=True, deadline_s=4.0, changes=unread)
    assert told.outcome is UNCERTAIN
    assert filled.runs
    assert (filled.beside("old") / "dear").exists()
    filled.stop()
    filled.configure("max_connections = 5")
    looks = backup(filled, 'ls data.handyrep-old/dear > seen; exec "$real" "$@"')
    told = await clone(filled, m1, reclone=True, options=looks)
    assert told.outcome is UNCERTAIN
    assert "starting it" in told.details
    assert (filled.folder / "seen").read_text() == "data.handyrep-old/dear\n"
    assert (filled.beside("old") / "dear").exists()
    filled.configure()
    assert (await clone(filled, m1)).outcome is SUCCESS
    await is_a_replica(filled, m1)


async def test_c9_a_copy_that_has_been_a_master_since_is_overwritten_only_with_reclone(r1: Node, m1: Node) -> None:
    assert (await clone(r1, m1, hosts=Silent(lost("discard_old"), sent=False))).outcome is UNCERTAIN
    r1.sql("select pg_promote()")
    r1.sql("create table dear ()")
    r1.stop()
    told = await clone(r1, m1)
    assert told.outcome is FAIL
    assert "say --reclone" in told.details
    r1.start()
    assert r1.value("to_regclass('dear')::text") == "dear"


async def test_a_copy_without_its_settings_cannot_come_up_as_a_second_master(r1: Node, m1: Node) -> None:
    told = await clone(r1, m1, changes={"replica_conf": "/nowhere/replica.conf"})
    assert told.outcome is FAIL
    assert "its settings could not be written" in told.details
    r1.start()
    assert r1.value("pg_is_in_recovery()")


ALONE = uuid.uuid4().hex
SECRET = f"{ALONE} 'p:\\s"


def left_in_tmp() -> list[str]:
    """Files directly in /tmp in which the password stands."""
    found = []
    for file in Path("/tmp").iterdir():
        try:
            if file.is_file() and ALONE.encode() in file.read_bytes():
                found.append(file.name)
        except (FileNotFoundError, PermissionError):
            continue
    return found


@pytest.fixture
def careful(m1: Node) -> dict[str, Any]:
    """A role of its own, so that nobody else's passwords are seen."""
    with psycopg.connect(f"host={m1.folder} port={m1.port} user=postgres dbname=postgres", autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:  # fmt: skip
        connection.execute("drop role if exists careful")
        connection.execute(sql.SQL("create role careful login replication password {}").format(SECRET))
    return {"replication_user": "careful", "replication_pass": SECRET}


async def test_no_password_is_in_an_argument_or_a_result_or_stays_behind(
    r1: Node, m1: Node, careful: dict[str, Any]
) -> None:
    looks = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' > seen; "
    failed = await clone(r1, m1, options=backup(r1, f"{looks} exit 3"), **careful)
    assert failed.outcome is FAIL
    assert left_in_tmp() == []
    made = await clone(r1, m1, options=backup(r1, f'{looks} exec "$real" "$@"'), **careful)
    assert made.outcome is SUCCESS
    seen = (r1.folder / "seen").read_text()
    assert "--label=HandyRep clone" in seen
    assert ALONE not in seen + repr(failed) + repr(made)
    assert left_in_tmp() == []


async def test_no_password_stays_behind_when_it_is_ended_in_the_midst(
    r1: Node, m1: Node, careful: dict[str, Any]
) -> None:
    held = backup(r1, "echo $$ > pid; exec sleep 60")
    told = await clone(r1, m1, options=held, deadline_s=1.5, **careful)
    assert told.outcome is UNCERTAIN
    assert left_in_tmp() == []
    stop_at_once(r1)


@pytest.mark.parametrize("bad", ["x\ny", "x\ry", "x\0y"])
async def test_a_password_that_no_file_can_hold_is_refused_before_anything_is_touched(filled: Node, m1: Node, bad: str) -> None:  # fmt: skip
    before = all_of(filled.folder)
    told = await clone(filled, m1, reclone=True, replication_pass=bad)
    assert told.outcome is FAIL
    assert "line break" in told.details
    assert all_of(filled.folder) == before


async def test_without_the_source_nothing_is_touched(filled: Node, house: Estate) -> None:
    before = all_of(filled.folder)
    told = await clone(filled, house.node("m9"), reclone=True)
    assert told.outcome is not SUCCESS
    assert all_of(filled.folder) == before


@pytest.mark.parametrize(("options", "outcome"), [({}, SUCCESS), ({"basebackup_path": "/nowhere/x"}, FAIL)])
async def test_its_test_finds_that_the_program_is_missing(r1: Node, m1: Node, options: dict[str, str], outcome: Outcome) -> None:  # fmt: skip
    async with plugins(m1.server("master"), r1.server("replica"), options={NAME: options}) as called:
        told = await called.call(Kind.CLONE, NAME, "test", servername="r1")
    assert told.outcome is outcome
    assert "pg_basebackup is" in told.details


@pytest.mark.parametrize("reclone", [False, True])
async def test_c15_a_server_of_another_major_version_is_not_copied_to(filled: Node, m1: Node, reclone: bool) -> None:
    """pg_basebackup of a newer version would make the copy, and nobody could start it."""
    before = all_of(filled.data)
    done = await clone(filled, m1, reclone=reclone, changes={"bin_dir": str(newest_programs())})
    assert done.outcome is FAIL
    assert "r1 has PostgreSQL 18, and m1 is of 15, so a copy could not be started there" in done.details
    assert all_of(filled.data) == before
    done = await clone(filled, m1, reclone=True)
    assert done.outcome is SUCCESS, done.details
