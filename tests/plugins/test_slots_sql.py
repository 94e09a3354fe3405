"""slots_sql: real replicas go on receiving through slots on a new master, and what it will not have is said before, and after."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import FakeWorld, example_cluster, refusing
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.testing import try_plugin
from handyrep.plugins._slots import following_by_slot
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Row
from tests.adapters.ports import free_port
from tests.factories import make_settings
from tests.plugins.bouncers import cluster_of
from tests.plugins.pair import Estate, Node, Plugins, estate, eventually, newest_programs, plugins, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "slots_sql"
SYNCED = ("wal_level = logical", "hot_standby_feedback = on")


def slots(node: Node, which: str = "true") -> list[str]:
    return [
        row["slot_name"] for row in node.sql(f"select slot_name from pg_replication_slots where {which} order by 1")
    ]


def streams_by_slot(replica: str, slot: str, master: Node) -> bool:
    sql = f"(select r.application_name from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid where s.slot_name = '{slot}')"
    return bool(master.value(sql) == replica)


def recorded(called: Plugins, master: Node, *replicas: Node) -> None:
    """HandyRep knows this one as the master from now on."""
    of = [node.server("replica", restart_method="restart_pg_ctl") for node in replicas]
    called.cluster = cluster_of(master.server("master"), *of)


async def ask(called: Plugins, method: str = "run", **arguments: str) -> Result:
    return await called.call(Kind.SLOTS, NAME, method, **arguments)


class Story:
    """A master whose replicas receive through slots, with logical slots: of version 18 one that is carried over."""

    def __init__(self, house: Estate, version: int) -> None:
        self.version = version
        self.carried = ["carried"] if version == 18 else []
        lines = (*SYNCED, *(["sync_replication_slots = on"] if version == 18 else []))
        self.m1 = house.master("m1", *lines)
        for name in ("r1", "r2"):
            self.m1.sql(f"select pg_create_physical_replication_slot('of_{name}', true)")
        self.m1.sql("select pg_create_logical_replication_slot('plain', 'pgoutput')")
        if version == 18:
            self.m1.sql("select pg_create_logical_replication_slot('carried', 'pgoutput', failover => true)")
        self.r1 = house.replica("r1", self.m1, *lines, "primary_slot_name = 'of_r1'")
        self.r2 = house.replica("r2", self.m1, *lines, "primary_slot_name = 'of_r2'")

    def synced(self, replica: Node, master: Node, *, at_once: bool = False) -> bool:
        """Whether it has a good copy of what can be carried. A slot is synced once somebody has read on in it.

        at_once: after an error PostgreSQL waits ten seconds before it syncs again by itself, unless it is asked to.
        """
        for slot in self.carried:
            master.sql("insert into t values (1)")
            master.sql("select pg_log_standby_snapshot()")
            master.sql(f"select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")
            if at_once:
                with contextlib.suppress(psycopg.errors.ObjectNotInPrerequisiteState):  # it is at it already
                    replica.sql("select pg_sync_replication_slots()")
        return self.carried == [] or slots(replica, "synced and not temporary") == self.carried


@pytest.fixture(params=[15, 18])
def story(request: pytest.FixtureRequest, house: Estate) -> Iterator[Story]:
    if request.param == 18:
        with estate(of=newest_programs()) as newest:
            yield Story(newest, 18)
        return
    made = Story(house, 15)
    yield made
    for node in (made.m1, made.r1, made.r2):
        node.stop("immediate")


async def test_a_failover_and_the_way_back(story: Story) -> None:
    m1, r1, r2 = story.m1, story.r1, story.r2
    why = "it is no failover slot" if story.carried else "PostgreSQL 15 does not carry logical slots over, 17 does"
    async with plugins(m1.server("master"), r1.server("replica"), r2.server("replica")) as called:
        await eventually(lambda: story.synced(r1, m1) and story.synced(r2, m1))
        before = await ask(called, "lost", newmaster="r1")
        assert (before.outcome, before.extra["lost"]) == (SUCCESS, [f"plain: {why}"])
        m1.stop("immediate")
        later = await ask(called, "lost", newmaster="r1")
        assert later.extra["lost"] == before.extra["lost"]
        assert re.search(r"of m1, as they were \d+ s ago$", later.details)

        r1.sql("select pg_promote()")
        recorded(called, r1, m1, r2)
        gone = "r1 has no logical slot plain, which m1 had: its reader must begin anew"
        for _ in range(2):
            made = await ask(called, newmaster="r1")
            assert (made.outcome, made.extra["warnings"]) == (SUCCESS, [gone])
            unknown = "what is used by those that do not answer is not known: m1"
            assert made.details == f"r1 has of_r2; {unknown}"
        if story.carried:
            r1.sql("alter system set synchronized_standby_slots = 'of_r1, of_r2'")
            r1.sql("select pg_reload_conf()")
            until(lambda: r1.value("current_setting('synchronized_standby_slots') <> ''"))
            stuck = "readers of logical slots on r1 wait for slots that it does not have (synchronized_standby_slots): of_r1"
            assert (await ask(called, newmaster="r1")).extra["warnings"] == [gone, stuck]
            r1.sql("alter system reset synchronized_standby_slots")
            r1.sql("select pg_reload_conf()")
        assert slots(r1, "slot_type = 'physical' and restart_lsn is not null") == ["of_r2"]
        assert slots(r1, "slot_type = 'logical'") == story.carried

        followed = await called.call(Kind.FOLLOW, "follow_conninfo", servername="r2", newmaster="r1")
        assert (followed.outcome, followed.extra["warnings"]) == (SUCCESS, [])
        await eventually(lambda: streams_by_slot("r2", "of_r2", r1) and story.synced(r2, r1))

        back = await called.call(Kind.REJOIN, "rejoin_rewind", servername="m1", newmaster="r1")
        assert (back.outcome, back.details.endswith(", through the slot m1")) == (SUCCESS, True), back.details
        await eventually(lambda: streams_by_slot("m1", "m1", r1))
        tidied = await ask(called, "tidy", servername="m1")
        assert tidied.outcome is SUCCESS, tidied.details
        assert slots(m1, "not synced" if story.carried else "true") in ([], ["plain"])
        await eventually(lambda: story.synced(m1, r1, at_once=True))


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    master = house.master("m1", *SYNCED, "max_replication_slots = 6")
    master.sql("select pg_create_physical_replication_slot('of_r1', true)")
    return master


@pytest.fixture(scope="module")
def r1(house: Estate, m1: Node) -> Node:
    return house.replica("r1", m1, *SYNCED, "primary_slot_name = 'of_r1'")


@pytest.fixture(scope="module")
def r2(house: Estate, m1: Node) -> Node:
    return house.replica("r2", m1, *SYNCED)


@pytest.fixture
async def called(m1: Node, r1: Node, r2: Node) -> AsyncIterator[Plugins]:
    """r2 may become the master in place of m1; r1 uses a slot. All slots but that of r1 on m1 are gone after the test."""
    async with plugins(
        m1.server("master"), r1.server("replica"), r2.server("replica"), options={NAME: {"retained_mb": "2"}}
    ) as made:
        yield made
    for node in (m1, r1, r2):
        node.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active and slot_name <> 'of_r1'")  # fmt: skip
    for node in (r1, r2):
        node.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots")


async def test_a_logical_slot_of_that_name_is_a_failure_and_is_left_alone(called: Plugins, m1: Node, r1: Node) -> None:
    m1.sql("select pg_create_logical_replication_slot('of_r9', 'pgoutput')")
    r1.sql("alter system set primary_slot_name = 'of_r9'")
    r1.sql("select pg_reload_conf()")
    try:
        made = await ask(called, newmaster="m1")
    finally:
        r1.sql("alter system reset primary_slot_name")
        r1.sql("select pg_reload_conf()")
    assert (made.outcome, made.details.split(" (")[0]) == (FAIL, "of_r9: the slot of_r9 on m1 is a logical one")
    assert slots(m1, "slot_type = 'logical'") == ["of_r9"]
    until(lambda: streams_by_slot("r1", "of_r1", m1))


async def test_two_that_share_a_slot_are_told_of(called: Plugins, r2: Node) -> None:
    r2.sql("alter system set primary_slot_name = 'of_r1'")
    r2.sql("select pg_reload_conf()")
    try:
        made = await ask(called, newmaster="m1")
    finally:
        r2.sql("alter system reset primary_slot_name")
        r2.sql("select pg_reload_conf()")
    assert (made.outcome, made.extra["warnings"]) == (SUCCESS, ["r1 and r2 share the slot of_r1"])


async def test_when_there_is_no_room_for_a_slot_that_is_said(called: Plugins, m1: Node, r2: Node) -> None:
    for number in range(10):
        r2.sql(f"select pg_create_physical_replication_slot('full_{number}')")
    made = await ask(called, newmaster="r2")
    assert made.outcome is FAIL
    assert made.details.startswith("of_r1: all replication slots are in use")


async def test_what_keeps_much_wal_for_nobody_is_warned_of(called: Plugins, m1: Node) -> None:
    m1.sql("select pg_create_physical_replication_slot('forgotten', true)")
    assert (await ask(called, "test")).extra["warnings"] == []
    for _ in range(4):
        m1.sql("select pg_logical_emit_message(true, '', repeat('x', 1000))")
        m1.sql("select pg_switch_wal()")
    told = await ask(called, "test")
    much = [re.sub(r"than \d+ MB", "than 2 MB", one) for one in told.extra["warnings"]]
    assert (told.outcome, much) == (
        SUCCESS,
        ["the slot forgotten on m1 keeps more than 2 MB of WAL, and nobody uses it"],
    )
    assert "max_slot_wal_keep_size = -1 on m1: " in told.details


async def test_a_former_master_keeps_only_what_may_be_of_use_there(
    called: Plugins, m1: Node, r1: Node, r2: Node
) -> None:
    m1.sql("select pg_create_physical_replication_slot('of_r2', true)")
    r2.sql("alter system set primary_slot_name = 'of_r2'")
    r2.sql("select pg_reload_conf()")
    for slot in ("of_r1", "of_r2", "barman"):
        r1.sql(f"select pg_create_physical_replication_slot('{slot}', true)")
    try:
        tidied = await ask(called, "tidy", servername="r1")
        assert (tidied.outcome, tidied.extra["dropped"]) == (SUCCESS, ["of_r2"])
        assert slots(r1) == ["barman", "of_r1"]
        assert (await ask(called, "tidy", servername="r1")).details == "there was nothing to drop"
        r1.sql("select pg_create_physical_replication_slot('of_r2', true)")
        followed = await called.call(Kind.FOLLOW, "follow_conninfo", servername="r2", newmaster="r1")
        assert (followed.outcome, followed.extra["warnings"]) == (SUCCESS, [])
        assert (await ask(called, "tidy", servername="r1")).extra["dropped"] == [], "r2 receives from there"
    finally:
        await called.call(Kind.FOLLOW, "follow_conninfo", servername="r2", newmaster="m1")
        r2.sql("alter system reset primary_slot_name")
        r2.sql("select pg_reload_conf()")
        until(lambda: not m1.value("(select active from pg_replication_slots where slot_name = 'of_r2')"))


async def test_a_master_is_not_tidied(called: Plugins, house: Estate, m1: Node) -> None:
    refused = await ask(called, "tidy", servername="m1")
    assert (refused.outcome, refused.details) == (FAIL, "m1 is the master: its slots are left alone")
    other = house.master("m9", "primary_slot_name = 'of_r2'")
    recorded(called, other, m1)
    m1.sql("select pg_create_physical_replication_slot('of_r2', true)")
    told = await ask(called, "tidy", servername="m1")
    assert (told.outcome, told.extra["dropped"]) == (SUCCESS, []), "m1 is recorded as a replica, and is none"
    other.stop("immediate")


async def test_of_a_master_that_was_never_heard_it_is_not_known(m1: Node, r2: Node) -> None:
    gone = Node("m1", m1.folder, free_port())
    async with plugins(gone.server("master"), r2.server("replica")) as called:
        told = await ask(called, "lost", newmaster="r2")
    assert told.outcome is FAIL
    assert told.details.startswith("which logical slots would be lost is not known: ")


@pytest.mark.parametrize(("method", "arguments"), [("run", {"newmaster": "m1"}), ("tidy", {"servername": "r1"})])
async def test_an_order_without_an_answer_is_uncertain(method: str, arguments: dict[str, str]) -> None:
    async def query(server: Server, statement: str, _: object, __: float) -> tuple[Row, ...]:
        if "pg_create_physical" in statement or "pg_drop_" in statement:
            raise NoAnswerError("the line is dead", server=server.name)
        if "jsonb_agg" in statement:
            return ({"version": 150000, "settings": {}, "physical": [], "slots": []},)
        here = {"in_recovery": server.name != "m1", "slot": f"of_{server.name}", "primary_conninfo": ""}
        return () if "pg_replication_slots" in statement else (here,)

    world = FakeWorld(refusing().on_command, query).world(make_settings())
    told = await Caller(Registry(), world).call(
        Kind.SLOTS, NAME, method, arguments, cluster=example_cluster(), deadline_s=5.0
    )
    assert (told.outcome, "the line is dead" in told.details) == (UNCERTAIN, True)


def test_what_is_for_one_that_gives_no_answer_is_left_and_the_tidying_is_not_done() -> None:
    async def query(server: Server, statement: str, _: object, __: float) -> tuple[Row, ...]:
        if server.name == "r2":
            raise NoAnswerError("the line is dead", server=server.name)
        if "pg_drop_" in statement:
            return ({"name": "of_m1"},)
        if "jsonb_agg" in statement:
            return ({"version": 150000, "settings": {}, "physical": [], "slots": []},)
        return ({"in_recovery": server.name != "m1", "slot": f"of_{server.name}", "primary_conninfo": ""},)

    world = FakeWorld(refusing().on_command, query)
    told = try_plugin(NAME, Kind.SLOTS, "tidy", {"servername": "r1"}, world=world)
    assert isinstance(told, Result)
    assert (told.outcome, told.extra["dropped"]) == (FAIL, ["of_m1"])
    assert told.details == "dropped slots: of_m1; what is for r2 was left, since there was no answer"


class LinesOf(handyrepplugin):
    """As rejoin_rewind and clone_basebackup ask for what makes a stopped server receive."""

    async def run(self, servername: str, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        lines, told = await following_by_slot(self, servername, newmaster)
        return self.success(told, slot=lines.rpartition("primary_slot_name = ")[2].strip())


@pytest.mark.parametrize(
    ("others", "there", "slot", "told"),
    [
        ("", None, "''", ""),
        ("of_x", None, "'r1'", ", through the slot r1"),
        ("of_x", "physical", "'r1'", ", through the slot r1"),
        ("of_x", "logical", "''", ", without a slot: the slot r1 on m1 is a logical one"),
        ("of_x", "error", "''", ", without a slot: no room"),
        ("r1", None, "''", ", without a slot: r1 is another server's"),
    ],
)
def test_a_server_that_becomes_a_replica_gets_a_slot_of_its_own_where_others_use_one(
    others: str, there: str | None, slot: str, told: str
) -> None:
    async def query(server: Server, statement: str, _: object, __: float) -> tuple[Row, ...]:
        if "primary_slot_name" in statement:
            return ({"in_recovery": server.name != "m1", "slot": others, "primary_conninfo": ""},)
        if there == "error":
            raise DatabaseError("no room", server=server.name)
        return () if there is None else ({"slot_type": there, "active": False, "wal_status": "reserved"},)

    world = FakeWorld(refusing().on_command, query)
    made = try_plugin(LinesOf, Kind.FOLLOW, arguments={"servername": "r1", "newmaster": "m1"}, world=world)
    assert isinstance(made, Result)
    assert (made.outcome, made.extra["slot"], made.details) == (SUCCESS, slot, told)
    creates = [one for one in world.asked if "pg_create_physical" in str(one)]
    assert [one[0] for one in creates] == (["m1"] if (others, there) == ("of_x", None) else [])


async def test_a_slot_whose_wal_was_removed_is_made_anew(called: Plugins, m1: Node, r1: Node) -> None:
    """The last one in this file: r1 cannot go on afterwards."""
    r1.stop()
    m1.sql("alter system set max_slot_wal_keep_size = '1MB'")
    m1.sql("alter system set wal_keep_size = 0")
    m1.sql("select pg_reload_conf()")
    for _ in range(4):
        m1.sql("select pg_logical_emit_message(true, '', repeat('x', 1000))")
        m1.sql("select pg_switch_wal()")
    m1.sql("checkpoint")
    assert slots(m1, "wal_status = 'lost'") == ["of_r1"]
    m1.sql("alter system reset all")
    m1.sql("select pg_reload_conf()")
    r1.start()
    assert (await ask(called, newmaster="m1")).outcome is SUCCESS
    assert slots(m1, "wal_status = 'lost' or restart_lsn is null") == []
    assert slots(m1) == ["of_r1"]
