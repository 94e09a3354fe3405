"""follow_conninfo: a real replica goes over to another master without a restart, and no name or password can say more than itself."""

import asyncio
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from handyrep.adapters.postgres import RealDatabases
from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import FakeWorld, babbling, example_cluster, refusing
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Row
from tests.adapters.ports import free_port
from tests.factories import make_settings
from tests.plugins.pair import REPLICATION, SUPER, Estate, Node, Silent, eventually, own, plugins, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "follow_conninfo"
ODD = "o'Neil \\ x=1 host=evil"


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    return house.master()


@pytest.fixture(scope="module")
def r2(house: Estate, m1: Node) -> Node:
    """Where a replica may go to: it hands on what it receives."""
    return house.replica("r2", m1)


@pytest.fixture(scope="module")
def r1(house: Estate, m1: Node, r2: Node) -> Node:
    return house.replica("r1", m1)


async def follow(replica: Node, master: Node, method: str = "run", *, hosts: Any = None, **known: Any) -> Result:
    changes = known.pop("changes", {})
    servers = (replica.server("replica", **changes), master.server("master"))
    async with plugins(*servers, hosts=hosts, **known) as called:
        arguments = {} if method == "test" else {"servername": replica.name, "newmaster": master.name}
        return await called.call(Kind.FOLLOW, NAME, method, **arguments)


async def told_to(replica: Node, method: str, *, hosts: Any = None, **changes: Any) -> Result:
    """halt or resume."""
    async with plugins(replica.server("replica", **changes), hosts=hosts) as called:
        return await called.call(Kind.FOLLOW, NAME, method, servername=replica.name)


async def receives_from(replica: Node, master: Node) -> None:
    """By what both ends say: a walreceiver calls itself streaming before the master has agreed."""
    here = f"(select status = 'streaming' and sender_port = {master.port} from pg_stat_wal_receiver)"
    there = (
        f"exists (select from pg_stat_replication where application_name = '{replica.name}' and state = 'streaming')"
    )
    await eventually(lambda: replica.value(here) and master.value(there))


def kept(replica: Node) -> dict[str, str]:
    return {k: str(v) for k, v in conninfo_to_dict(replica.value("current_setting('primary_conninfo')")).items()}


async def test_it_goes_over_and_back_without_a_restart(r1: Node, r2: Node, m1: Node) -> None:
    before = r1.value("pg_postmaster_start_time()")
    for master in (r2, m1, r2):
        told = await follow(r1, master)
        assert (told.outcome, told.details) == (SUCCESS, f"r1 was told to receive from {master.name}")
        await receives_from(r1, master)
        m1.sql("insert into t values (7)")
        end = m1.value("pg_current_wal_flush_lsn()::text")
        await eventually(functools.partial(r1.value, f"pg_last_wal_replay_lsn() >= '{end}'"))
    assert r1.value("pg_postmaster_start_time()") == before


async def test_it_goes_along_to_the_timeline_of_a_promoted_master(house: Estate) -> None:
    old = house.master("m7")
    new, other = house.replica("r7", old), house.replica("r8", old)
    other.sql("alter system set recovery_target_timeline = 'current'")
    old.stop("immediate")
    new.sql("select pg_promote()")
    assert (await follow(other, new)).outcome is SUCCESS
    assert other.value("current_setting('recovery_target_timeline')") == "latest"
    await receives_from(other, new)
    new.sql("insert into t values (77)")
    await eventually(lambda: other.value("exists (select from t where x = 77)"))


async def test_a_replica_that_just_tried_the_old_way_in_vain_does_not_wait_out_its_pause(
    house: Estate, m1: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reload came at the moment of that attempt: as if it had not come."""
    other = house.replica("r9", m1)
    other.sql("alter system set wal_retrieve_retry_interval = '10min'")
    other.sql("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
    other.sql("select pg_reload_conf()")
    await eventually(lambda: "port 1 failed" in other.log())
    real, reloads = RealDatabases.query, 0

    async def query(self: RealDatabases, to: Any, statement: str, *values: Any, **how: Any) -> Any:
        nonlocal reloads
        reloads += "pg_reload_conf" in statement
        lost = "pg_reload_conf" in statement and reloads == 1
        return () if lost else await real(self, to, statement, *values, **how)

    monkeypatch.setattr(RealDatabases, "query", query)
    assert (await follow(other, m1)).outcome is SUCCESS
    await receives_from(other, m1)
    assert reloads > 1
    other.stop("immediate")


async def test_told_twice_it_is_as_told_once(r1: Node, r2: Node) -> None:
    assert [(await follow(r1, r2)).outcome for _ in range(2)] == [SUCCESS, SUCCESS]
    await receives_from(r1, r2)
    lines = (r1.data / "postgresql.auto.conf").read_text().splitlines()
    assert len([line for line in lines if line.startswith("primary_conninfo")]) == 1


async def test_a_setting_that_stands_in_the_file_and_is_not_in_force_deceives_nobody(r1: Node, r2: Node) -> None:
    """HandyRep was killed between its ALTER SYSTEM and the reload; what is in force is right, and would be so no more after a reload."""
    assert (await follow(r1, r2)).outcome is SUCCESS
    r1.sql("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
    assert (await follow(r1, r2)).outcome is SUCCESS
    await receives_from(r1, r2)
    assert f"port={r2.port}" in (r1.data / "postgresql.auto.conf").read_text()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent from now on."""
    statements: list[str] = []
    real = RealDatabases.query

    async def query(self: RealDatabases, to: Any, statement: str, *values: Any, **how: Any) -> Any:
        statements.append(statement)
        return await real(self, to, statement, *values, **how)

    monkeypatch.setattr(RealDatabases, "query", query)
    return statements


async def test_what_is_so_already_is_not_set_again(r1: Node, r2: Node, sent: list[str]) -> None:
    assert (await follow(r1, r2)).outcome is SUCCESS
    del sent[:]
    assert (await follow(r1, r2)).outcome is SUCCESS
    assert sent
    assert not [statement for statement in sent if "alter system" in statement]


async def test_hastened_it_sets_what_must_change_and_asks_for_nothing_else(r1: Node, r2: Node, sent: list[str]) -> None:
    """Clients wait for it."""
    assert (await follow(r1, r2, "hasten")).outcome is SUCCESS
    assert [statement.split()[:4] for statement in sent[1:]] == [
        ["alter", "system", "set", '"primary_conninfo"'], ["select", "pg_reload_conf()"],
    ]  # fmt: skip
    await receives_from(r1, r2)


async def test_hastened_it_sets_the_rest_too_where_that_is_otherwise(r1: Node, r2: Node, sent: list[str]) -> None:
    r1.sql("alter system set recovery_target_timeline = 'current'")
    r1.stop()
    r1.start()
    assert (await follow(r1, r2, "hasten")).outcome is SUCCESS
    changed = {statement.split()[3] for statement in sent if statement.startswith("alter system")}
    assert '"recovery_target_timeline"' in changed
    r1.sql("alter system set recovery_target_timeline = 'latest'")
    r1.stop()
    r1.start()
    await receives_from(r1, r2)


async def test_hastened_it_follows_one_that_is_about_to_be_promoted_and_on_after_that(house: Estate) -> None:
    old = house.master("m8")
    new, other = house.replica("n8", old), house.replica("o8", old)
    old.stop("immediate")
    told = await follow(other, new, "hasten")
    assert (told.outcome, told.details) == (SUCCESS, "o8 was told to receive from n8")
    await receives_from(other, new)
    new.sql("select pg_promote()")
    new.sql("insert into t values (78)")
    await eventually(lambda: other.value("exists (select from t where x = 78)"))
    for node in (new, other):
        node.stop("immediate")


async def test_hastened_it_gives_up_no_slot(r5: Node, r2: Node, m1: Node) -> None:
    """A slot may only not be there yet: it is made before the others follow."""
    told = await follow(r5, r2, "hasten")
    assert (told.outcome, told.details) == (FAIL, "nothing was sent: r2 does not have it")
    await receives_from(r5, m1)
    assert r5.value("current_setting('primary_slot_name')") == "of_r5"


async def test_hastened_it_leaves_a_master_and_a_server_that_does_not_run_alone(m1: Node, r1: Node) -> None:
    told = await follow(m1, r1, "hasten")
    assert (told.outcome, told.details) == (
        FAIL, "nothing was sent: m1 is not in recovery: it is a master and is left alone",
    )  # fmt: skip
    assert (await follow(Node("r9", m1.folder, free_port()), m1, "hasten")).outcome is UNCERTAIN


@pytest.fixture
def r5(house: Estate, m1: Node) -> Iterator[Node]:
    """One that receives through a slot."""
    m1.sql("select pg_create_physical_replication_slot('of_r5')")
    replica = house.replica("r5", m1)
    replica.sql("alter system set primary_slot_name = 'of_r5'")
    replica.sql("select pg_reload_conf()")
    until(lambda: m1.value("(select active from pg_replication_slots)"))
    yield replica
    replica.stop("immediate")
    until(lambda: not m1.value("(select active from pg_replication_slots)"))
    m1.sql("select pg_drop_replication_slot('of_r5')")


async def test_a_slot_that_only_the_old_master_has_does_not_hold_it_back(r5: Node, r2: Node) -> None:
    told = await follow(r5, r2)
    assert (told.outcome, told.extra["warnings"]) == (
        SUCCESS,
        ["r5 receives without its slot of_r5 now: r2 does not have it"],
    )
    await receives_from(r5, r2)
    assert r5.value("current_setting('primary_slot_name')") == ""


async def test_a_slot_that_the_new_master_has_too_is_kept(r5: Node, r2: Node, m1: Node) -> None:
    r2.sql("select pg_create_physical_replication_slot('of_r5', true)")
    for master in (r2, r2, m1):
        told = await follow(r5, master)
        assert (told.outcome, told.extra["warnings"]) == (SUCCESS, [])
        await receives_from(r5, master)
        assert master.value("(select active from pg_replication_slots)")
    r2.sql("select pg_drop_replication_slot('of_r5')")


async def test_a_slot_that_another_one_receives_through_is_left_to_it(r5: Node, r1: Node, m1: Node) -> None:
    r1.sql("alter system set primary_slot_name = 'of_r5'")
    r1.sql("select pg_reload_conf()")
    told = await follow(r1, m1)
    assert (told.outcome, told.extra["warnings"]) == (
        SUCCESS,
        ["r1 receives without its slot of_r5 now: r5 receives through it"],
    )
    await receives_from(r1, m1)


async def test_a_halted_replica_receives_from_nobody_and_its_position_stands_still(
    r1: Node, r2: Node, m1: Node
) -> None:
    assert (await follow(r1, m1)).outcome is SUCCESS
    await receives_from(r1, m1)
    before = kept(r1)
    halted = [await told_to(r1, "halt") for _ in range(2)]
    assert [one.outcome for one in halted] == [SUCCESS, SUCCESS]
    m1.sql("insert into t values (5)")
    assert r1.value("greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text") == halted[0].extra["lsn"]
    assert r1.value("not exists (select from pg_stat_wal_receiver)")
    assert (await told_to(r1, "resume")).outcome is SUCCESS
    await receives_from(r1, m1)
    assert kept(r1) == before
    assert not (r1.data / "handyrep.starved").exists()
    assert (await told_to(r1, "resume")).outcome is SUCCESS, "there is nothing to put back any more"


async def test_a_halted_replica_stays_halted_after_a_restart_and_can_follow_another(
    r1: Node, r2: Node, m1: Node
) -> None:
    assert (await told_to(r1, "halt")).outcome is SUCCESS
    r1.stop()
    r1.start()
    assert r1.value("current_setting('primary_conninfo')") == ""
    assert (await follow(r1, r2)).outcome is SUCCESS
    await receives_from(r1, r2)
    assert not (r1.data / "handyrep.starved").exists()


async def test_a_halt_leaves_a_master_alone(m1: Node) -> None:
    refused = await told_to(m1, "halt")
    assert (refused.outcome, refused.details) == (FAIL, "nothing was sent: it is not in recovery")


async def test_a_halt_of_which_nothing_is_heard_is_uncertain(r1: Node, m1: Node) -> None:
    assert (await follow(r1, m1)).outcome is SUCCESS
    await receives_from(r1, m1)
    lost = Silent(lambda _: True)
    assert (await told_to(r1, "halt", hosts=lost)).outcome is UNCERTAIN
    assert (await told_to(r1, "resume")).outcome is SUCCESS
    await receives_from(r1, m1)


async def test_names_and_passwords_are_only_themselves(r1: Node, r2: Node, m1: Node) -> None:
    with psycopg.connect(
        f"host={m1.folder} port={m1.port} user=postgres dbname=postgres", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as sql:  # fmt: skip
        name = psycopg.sql.Identifier(ODD)
        sql.execute(psycopg.sql.SQL("create role {} login replication password {}").format(name, ODD))
    end = m1.value("pg_current_wal_flush_lsn()::text")
    await eventually(lambda: r2.value(f"pg_last_wal_replay_lsn() >= '{end}'"))
    told = await follow(r1, r2, replication_user=ODD, replication_pass=ODD)
    assert told.outcome is SUCCESS
    known = {"host": "127.0.0.1", "port": str(r2.port), "user": ODD, "password": ODD, "application_name": "r1"}
    assert kept(r1) == {**known, "dbname": "postgres"}
    await receives_from(r1, r2)
    assert r2.sql("select 1 from pg_stat_replication where usename = %(name)s", name=ODD)


@pytest.mark.parametrize("bad", ["x\nhost=evil", "x\rhost=evil", "x\0host=evil"])
@pytest.mark.parametrize("where", ["replication_user", "replication_pass"])
@pytest.mark.parametrize("replica_conf", [False, True])
async def test_a_line_break_is_refused_and_nothing_is_changed(
    r1: Node, m1: Node, where: str, bad: str, replica_conf: bool
) -> None:
    file = own_file(r1) if replica_conf else r1.data / "postgresql.auto.conf"
    before = file.read_text()
    told = await follow(r1, m1, changes={"replica_conf": str(file) if replica_conf else ""}, **{where: bad})
    assert told.outcome is FAIL
    assert "line break" in told.details
    assert "evil" not in told.details
    assert file.read_text() == before


def own_file(node: Node) -> Any:
    file = node.folder / "replica.conf"
    file.write_text("# mine\nprimary_conninfo = 'host=old'\nhot_standby_feedback = on\n")
    return own(file)


async def test_with_replica_conf_that_file_alone_is_written_and_is_its_owners_alone(house: Estate, m1: Node, r2: Node) -> None:  # fmt: skip
    replica = house.replica("r6", m1)
    file = own_file(replica)
    auto = replica.data / "postgresql.auto.conf"
    auto.write_text("")
    replica.configure(f"include_if_exists = '{file}'")
    told = await follow(replica, r2, changes={"replica_conf": str(file)})
    assert told.outcome is SUCCESS
    await receives_from(replica, r2)
    assert auto.read_text() == ""
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert "hot_standby_feedback = on" in file.read_text()
    assert file.read_text().count("primary_conninfo") == 1
    assert (await told_to(replica, "halt", replica_conf=str(file))).outcome is SUCCESS
    assert (await follow(replica, m1, changes={"replica_conf": str(file)})).outcome is SUCCESS
    await receives_from(replica, m1)
    assert "primary_conninfo" not in auto.read_text(), "what halt() has set would win over the file"


async def test_a_replica_conf_that_cannot_be_written_is_a_plain_no(r1: Node, m1: Node) -> None:
    told = await follow(r1, m1, changes={"replica_conf": "/nowhere/replica.conf"})
    assert told.outcome is FAIL
    assert "/nowhere/replica.conf could not be written" in told.details


async def test_it_cannot_follow_itself_and_is_not_even_asked(r1: Node) -> None:
    before = (r1.data / "postgresql.auto.conf").read_text()
    told = await follow(r1, r1)
    assert (told.outcome, told.details) == (FAIL, "r1 cannot follow itself")
    assert (r1.data / "postgresql.auto.conf").read_text() == before


async def test_a_master_is_left_alone(m1: Node, r1: Node) -> None:
    before = (m1.data / "postgresql.auto.conf").read_text()
    told = await follow(m1, r1)
    assert told.outcome is FAIL
    assert "is a master and is left alone" in told.details
    assert (m1.data / "postgresql.auto.conf").read_text() == before


async def test_c10_one_of_another_cluster_is_left_alone(m1: Node, r1: Node) -> None:
    before = (r1.data / "postgresql.auto.conf").read_text()
    async with plugins(r1.server("replica"), m1.server("master")) as called:
        called.cluster = dataclasses.replace(called.cluster, system_identifier="1")
        told = await called.call(Kind.FOLLOW, NAME, servername="r1", newmaster="m1")
    assert (told.outcome, "another cluster" in told.details) == (FAIL, True)
    assert (r1.data / "postgresql.auto.conf").read_text() == before


async def test_one_that_does_not_run_was_sent_nothing(m1: Node) -> None:
    told = await follow(Node("r9", m1.folder, free_port()), m1)
    assert told.outcome is FAIL
    assert told.details.startswith("nothing was sent: ")


async def test_no_password_is_told(r1: Node, m1: Node, house: Estate) -> None:
    results = [await follow(r1, m1), await follow(m1, r1), await follow(Node("r9", m1.folder, free_port()), m1)]
    results += [await follow(r1, m1, changes={"replica_conf": "/nowhere/x"})]
    assert not any(secret in repr(result) for result in results for secret in (REPLICATION, SUPER, "canary"))


async def test_when_the_answer_to_the_file_never_comes_it_is_uncertain(r1: Node, m1: Node) -> None:
    file = own_file(r1)
    hosts = Silent(lambda _: True)
    told = await follow(r1, m1, changes={"replica_conf": str(file)}, hosts=hosts)
    assert told.outcome is UNCERTAIN
    assert f"port={m1.port}" in file.read_text()


@pytest.mark.parametrize(
    "lost", ['set "primary_slot_name"', "primary_conninfo", 'set "recovery_target_timeline"', "pg_reload_conf"]
)
@pytest.mark.parametrize("how", ["breaks", "hangs"])
async def test_after_an_order_without_an_answer_it_is_uncertain(lost: str, how: str) -> None:
    sent: list[str] = []

    async def query(server: Server, statement: str, _: object, deadline_s: float) -> tuple[Row, ...]:
        sent.append(statement)
        if lost in statement:
            await asyncio.sleep(deadline_s if how == "hangs" else 0)
            raise NoAnswerError("the line is dead", server=server.name)
        return () if "wanted" in statement else ({"in_recovery": True, "identifier": "1", "slot": ""},)

    world = FakeWorld(refusing().on_command, query).world(make_settings())
    arguments = {"servername": "r1", "newmaster": "m1"}
    result = await Caller(Registry(), world).call(
        Kind.FOLLOW, NAME, "run", arguments, cluster=example_cluster(), deadline_s=0.5
    )
    assert result.outcome is UNCERTAIN
    assert "may have been told" in result.details
    assert lost in sent[-1]


async def test_its_test_finds_what_would_refuse_it(r1: Node, m1: Node) -> None:
    assert (await follow(r1, m1, "test")).outcome is SUCCESS
    refused = await follow(Node("r9", m1.folder, free_port()), m1, "test")
    assert refused.outcome is FAIL
    assert refused.details.startswith("r9: ")


@pytest.mark.parametrize(("replica_conf", "outcome"), [("", FAIL), ("/etc/replica.conf", SUCCESS)])
def test_without_alter_system_its_test_asks_for_replica_conf(replica_conf: str, outcome: Outcome) -> None:
    cluster = example_cluster(replica_conf=replica_conf)
    result = try_plugin(NAME, Kind.FOLLOW, "test", {}, world=babbling({"setting": "off"}), cluster=cluster)
    assert isinstance(result, Result)
    assert result.outcome is outcome


async def test_a_replica_that_went_another_way_is_told_as_parted_with_the_next_command(house: Estate) -> None:
    """Somebody promoted p2 while p1 was still given more by the old master."""
    old = house.master("p0")
    ahead, promoted = house.replica("p1", old), house.replica("p2", old)
    try:
        promoted.stop("fast")
        old.sql("insert into t select generate_series(1, 1000)")
        end = old.value("pg_current_wal_flush_lsn()::text")
        await eventually(lambda: ahead.value(f"pg_last_wal_replay_lsn() >= '{end}'"))
        old.stop("immediate")
        promoted.start()
        promoted.sql("select pg_promote()")
        before = ahead.value("current_setting('primary_conninfo')")
        told = await follow(ahead, promoted)
        assert told.outcome is FAIL
        assert "p1 has parted from p2: it replayed WAL of timeline 1 to" in told.details
        assert told.details.endswith("handyrep shutdown p1, then handyrep remaster p1")
        assert ahead.value("current_setting('primary_conninfo')") == before
    finally:
        for node in (old, ahead, promoted):
            node.stop("immediate")
