"""What plugins leave on real servers is told, what serves or may be the only copy stays, and the rest is gone after take_back()."""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handyrep.decide.quorum import SyncList
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from tests.plugins.bouncers import cluster_of
from tests.plugins.pair import REPLICATION, Estate, Node, Plugins, own, plugins, until

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
KINDS = {
    "follow_conninfo": Kind.FOLLOW,
    "sync_names": Kind.SYNC,
    "slots_sql": Kind.SLOTS,
    "fence_stop": Kind.FENCE,
    "clone_basebackup": Kind.CLONE,
    "rejoin_rewind": Kind.REJOIN,
    "restart_pg_ctl": Kind.RESTART,
    "rescue_wal": Kind.RESCUE,
    "check_last_ip_db": Kind.MASTER_CHECK,
}
STREAMS = "exists (select from pg_stat_wal_receiver where status = 'streaming')"


@dataclasses.dataclass
class Trio:
    """A master with two replicas, and HandyRep's plugins."""

    m1: Node
    r1: Node
    r2: Node
    called: Plugins

    async def left(self, plugin: str, node: Node) -> dict[str, str]:
        """Each place that the plugin tells of, and why it stays."""
        told = await self.called.call(KINDS[plugin], plugin, "footprint", servername=node.name)
        assert told.outcome is SUCCESS, told.details
        return {one["where"]: one["stays"] for one in told.extra["traces"]}

    async def take_back(self, plugin: str, node: Node) -> Result:
        return await self.called.call(KINDS[plugin], plugin, "take_back", servername=node.name)

    async def follow(self, node: Node, method: str = "run", **more: str) -> None:
        done = await self.called.call(Kind.FOLLOW, "follow_conninfo", method, servername=node.name, **more)
        assert done.outcome is SUCCESS, done.details


@pytest.fixture(scope="module")
def built(house: Estate) -> tuple[Node, Node, Node]:
    m1 = house.master("m1")
    return m1, house.replica("r1", m1), house.replica("r2", m1)


@pytest.fixture
async def trio(built: tuple[Node, Node, Node]) -> AsyncIterator[Trio]:
    """Well before and after, with nothing of HandyRep."""
    m1, r1, r2 = built
    options = {"clone_basebackup": {}, "rejoin_rewind": {"quarantine_dir": str(m1.folder.parent / "kept")}}
    async with plugins(m1.server("master"), r1.server("replica"), r2.server("replica"), options=options) as called:
        yield Trio(m1, r1, r2, called)
    for node in built:
        if not node.runs:
            node.start()
        for name in ("primary_slot_name", "synchronous_standby_names", "work_mem"):
            node.sql(f"alter system reset {name}")
        node.sql("select pg_reload_conf()")
    until(lambda: m1.value("(select count(*) = 2 from pg_stat_replication)"), m1)
    for node in built:
        node.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")


def auto(node: Node) -> dict[str, str]:
    """What ALTER SYSTEM has set."""
    rows = node.sql(
        "select name, setting from pg_file_settings where sourcefile ~ 'postgresql.auto.conf' order by seqno"
    )
    return {row["name"]: row["setting"] for row in rows}


def put(node: Node, name: str, text: str = "") -> Path:
    """A file of the account that owns pgdata."""
    file = node.data / name
    file.write_text(text)
    return own(file)


def led_elsewhere(node: Node) -> None:
    """Two settings are not as HandyRep wants them: it sets only what is not so already."""
    node.sql("alter system set recovery_target_timeline = 'current'")
    node.sql("alter system set primary_slot_name = 'nowhere'")
    node.sql("select pg_reload_conf()")
    until(lambda: node.value("current_setting('primary_slot_name')") == "nowhere", node)


async def test_what_a_replica_receives_by_stays(trio: Trio) -> None:
    assert await trio.left("follow_conninfo", trio.r1) == {}, "pg_basebackup -R wrote it, not HandyRep"
    led_elsewhere(trio.r1)
    await trio.follow(trio.r1, newmaster="m1")
    settings = auto(trio.r1)
    for _ in range(2):
        left = await trio.left("follow_conninfo", trio.r1)
        assert set(left) == {f"setting {name}" for name in ("primary_conninfo", "primary_slot_name", "recovery_target_timeline")}  # fmt: skip
        assert all("it receives by it" in why for why in left.values())
        assert (await trio.take_back("follow_conninfo", trio.r1)).outcome is SUCCESS
    assert auto(trio.r1) == settings
    assert trio.r1.value(STREAMS)


async def test_a_replica_that_was_left_starving_receives_again(trio: Trio) -> None:
    await trio.follow(trio.r1, newmaster="m1")
    await trio.follow(trio.r1, "halt")
    left = await trio.left("follow_conninfo", trio.r1)
    starved = str(trio.r1.data / "handyrep.starved")
    assert (left[starved], left["setting primary_conninfo"]) == ("", "")
    assert (await trio.take_back("follow_conninfo", trio.r1)).outcome is SUCCESS
    until(lambda: trio.r1.value(STREAMS), trio.r1)
    assert starved not in await trio.left("follow_conninfo", trio.r1)


async def test_it_is_not_led_back_to_a_server_that_is_not_the_master(trio: Trio) -> None:
    await trio.follow(trio.r1, newmaster="m1")
    await trio.follow(trio.r1, "halt")
    known = trio.called.cluster
    trio.called.cluster = cluster_of(trio.r2.server("master"), trio.r1.server("replica"), trio.m1.server("replica"))
    refused = await trio.take_back("follow_conninfo", trio.r1)
    assert (refused.outcome, "handyrep remaster r1" in refused.details) == (FAIL, True)
    assert auto(trio.r1)["primary_conninfo"] == ""
    trio.called.cluster = known
    await trio.follow(trio.r1, "resume")


async def test_on_a_master_what_led_it_goes_and_nothing_else(house: Estate, trio: Trio) -> None:
    """A candidate that was halted before it was promoted."""
    r3 = house.replica("r3", trio.m1)
    trio.called.cluster = cluster_of(trio.m1.server("master"), r3.server("replica"))
    led_elsewhere(r3)
    await trio.follow(r3, newmaster="m1")
    await trio.follow(r3, "halt")
    r3.sql("alter system set work_mem = '5MB'")
    put(r3, "handyrep.starved.AbCd1234", "half")
    r3.sql("select pg_promote()")
    until(lambda: not r3.value("pg_is_in_recovery()"), r3)
    left = await trio.left("follow_conninfo", r3)
    assert set(left) == {"setting primary_conninfo", "setting primary_slot_name", "setting recovery_target_timeline", str(r3.data / "handyrep.starved"), str(r3.data / "handyrep.starved.AbCd1234")}  # fmt: skip
    assert set(left.values()) == {""}
    r3.stop()
    assert all("does not run" in why for why in (await trio.left("follow_conninfo", r3)).values())
    assert (await trio.take_back("follow_conninfo", r3)).outcome is SUCCESS
    assert (r3.data / "handyrep.starved").exists()
    r3.start()
    assert (await trio.take_back("follow_conninfo", r3)).outcome is SUCCESS
    assert await trio.left("follow_conninfo", r3) == {}
    assert auto(r3) == {"work_mem": "5MB"}
    assert not list(r3.data.glob("handyrep*"))
    r3.stop()


async def test_a_list_of_synchronous_replicas_stays_where_commits_wait_for_it(trio: Trio) -> None:
    ours, setting = SyncList(1, ("r1", "r2")).text, "setting synchronous_standby_names"
    for node in (trio.m1, trio.r1):
        node.sql(f"alter system set synchronous_standby_names = '{ours}'")
        node.sql("alter system set work_mem = '5MB'")
    assert "rest on it" in (await trio.left("sync_names", trio.m1))[setting]
    assert await trio.left("sync_names", trio.r1) == {setting: ""}
    for node in (trio.m1, trio.r1):
        assert (await trio.take_back("sync_names", node)).outcome is SUCCESS
    assert auto(trio.m1)["synchronous_standby_names"] == ours
    assert "synchronous_standby_names" not in auto(trio.r1)
    assert auto(trio.r1)["work_mem"] == "5MB"
    trio.r1.sql("alter system set synchronous_standby_names = 'r1'")
    assert await trio.left("sync_names", trio.r1) == {}, "HandyRep writes none like this"


async def test_what_is_no_replica_of_ours_at_that_moment_keeps_its_settings(trio: Trio) -> None:
    """A master that a fence was to stop has standby.signal and takes writes all the same."""
    ours, known = SyncList(1, ("r1", "r2")).text, trio.called.cluster
    for node in (trio.m1, trio.r1):
        node.sql(f"alter system set synchronous_standby_names = '{ours}'")
    signal = put(trio.m1, "standby.signal")
    try:
        refused = await trio.take_back("sync_names", trio.m1)
    finally:
        signal.unlink()
    trio.called.cluster = dataclasses.replace(known, system_identifier="1")
    strange = await trio.take_back("sync_names", trio.r1)
    trio.called.cluster = known
    assert (refused.outcome, "m1 is a master now" in refused.details) == (FAIL, True)
    assert (strange.outcome, "of another cluster" in strange.details) == (FAIL, True)
    assert auto(trio.m1)["synchronous_standby_names"] == auto(trio.r1)["synchronous_standby_names"] == ours


async def test_a_slot_goes_only_when_nobody_can_need_it(trio: Trio) -> None:
    for slot in ("of_r1", "r2", "foreign"):
        trio.m1.sql(f"select pg_create_physical_replication_slot('{slot}', true)")
    trio.r2.sql("select pg_create_physical_replication_slot('of_r1', true)")
    trio.r1.sql("alter system set primary_slot_name = 'of_r1'")
    trio.r1.sql("select pg_reload_conf()")
    until(lambda: trio.m1.value("(select active from pg_replication_slots where slot_name = 'of_r1')"), trio.m1)
    here, there = await trio.left("slots_sql", trio.m1), await trio.left("slots_sql", trio.r2)
    assert here["slot of_r1"] == "r1 receives through it"
    assert (here["slot r2"], there) == ("", {"slot of_r1": ""})
    assert "whether HandyRep made it is not known" in here["slot foreign"]
    for node in (trio.m1, trio.r2):
        assert (await trio.take_back("slots_sql", node)).outcome is SUCCESS
    assert set(await trio.left("slots_sql", trio.m1)) == {"slot of_r1", "slot foreign"}
    assert await trio.left("slots_sql", trio.r2) == {}


async def test_while_a_server_does_not_answer_no_slot_goes(trio: Trio) -> None:
    trio.m1.sql("select pg_create_physical_replication_slot('r2', true)")
    trio.r1.stop()
    assert await trio.left("slots_sql", trio.m1) == {"slot r2": "whether r1 uses it is not known"}
    assert (await trio.take_back("slots_sql", trio.m1)).outcome is SUCCESS
    assert await trio.left("slots_sql", trio.m1) != {}


async def test_a_slot_through_which_a_stranger_receives_is_not_told_of(trio: Trio) -> None:
    trio.m1.sql("select pg_create_physical_replication_slot('theirs', true)")
    where = f"host=127.0.0.1 port={trio.m1.port} user=replication replication=true"
    with psycopg.connect(where, password=REPLICATION, autocommit=True) as stranger:
        now = trio.m1.value("pg_current_wal_flush_lsn()")
        stranger.pgconn.send_query(f"START_REPLICATION SLOT theirs PHYSICAL {now}".encode())
        until(lambda: trio.m1.value("(select active from pg_replication_slots where slot_name = 'theirs')"), trio.m1)
        assert await trio.left("slots_sql", trio.m1) == {}
        stranger.pgconn.finish()


async def test_what_holds_a_stopped_server_down_stays(trio: Trio) -> None:
    r1 = trio.r1
    marks = [put(r1, name, "standby.signal was there\n") for name in ("handyrep.fenced", "handyrep.cloning")]
    r1.stop()
    fenced, cloning = map(str, marks)
    assert "handyrep remaster r1" in (await trio.left("fence_stop", r1))[fenced]
    assert "handyrep clone r1" in (await trio.left("clone_basebackup", r1))[cloning]
    for plugin in ("fence_stop", "clone_basebackup"):
        assert (await trio.take_back(plugin, r1)).outcome is SUCCESS
    assert all(mark.exists() for mark in marks)
    r1.start()
    assert await trio.left("fence_stop", r1) == {fenced: ""}
    assert (await trio.take_back("fence_stop", r1)).outcome is SUCCESS
    assert not any(mark.exists() for mark in marks)
    assert (r1.data / "standby.signal").exists()


async def test_a_replica_is_told_by_its_signal_and_one_half_brought_back_by_what_bars_it(trio: Trio) -> None:
    signal = str(trio.r1.data / "standby.signal")
    assert "would start as a master" in (await trio.left("rejoin_rewind", trio.r1))[signal]
    assert await trio.left("rejoin_rewind", trio.m1) == {}
    with (trio.r2.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("hba_file = 'handyrep-brings-this-server-back-do-not-start-it'\n")
    before = trio.r2.data.stat().st_mode
    try:
        trio.r2.data.chmod(before | 0o002)
        left = await trio.left("rejoin_rewind", trio.r2)
    finally:
        trio.r2.data.chmod(before)
        trio.r2.sql("alter system reset hba_file")
    assert "handyrep remaster r2" in left[f"mode of {trio.r2.data}"]
    assert "handyrep remaster r2" in left["setting hba_file"]


async def test_what_may_be_the_only_copy_is_named_and_stays(trio: Trio) -> None:
    r1, quarantine = trio.r1, own(_folder(trio.r1.folder.parent / "kept"))
    beside = [r1.beside("kept-x-1-20260101T000000Z"), r1.beside("old"), r1.beside("old1")]
    apart = quarantine / "r1.handyrep-kept-x-1-20260101T000000Z"
    inside = r1.data / "pg_wal" / "handyrep.rescue"
    for folder in (*beside, apart, inside):
        own(_folder(folder))
    cloned, rejoined = await trio.left("clone_basebackup", r1), await trio.left("rejoin_rewind", r1)
    assert {*map(str, beside)} == cloned.keys()
    assert str(apart) in rejoined
    assert str(beside[0]) not in rejoined, "this plugin keeps elsewhere"
    assert "only a dead master had" in (await trio.left("rescue_wal", r1))[str(inside)]
    assert all("rm -r" in why for why in (*cloned.values(), rejoined[str(apart)]))
    assert (await trio.take_back("clone_basebackup", r1)).outcome is SUCCESS
    assert all(folder.exists() for folder in (*beside, apart, inside))
    for folder in (*beside, apart, inside):
        folder.rmdir()


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


async def test_half_a_copy_goes_unless_it_is_being_made(trio: Trio) -> None:
    new = own(_folder(trio.r1.beside("new")))
    own(_folder(new / "base"))
    assert (await trio.left("clone_basebackup", trio.r1))[str(new)] == ""
    with locked(new):
        busy = await trio.take_back("clone_basebackup", trio.r1)
    assert (busy.outcome, "a copy is under way" in busy.details, new.exists()) == (FAIL, True, True)
    assert (await trio.take_back("clone_basebackup", trio.r1)).outcome is SUCCESS
    assert not new.exists()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


async def test_a_log_that_postgresql_writes_to_stays(trio: Trio) -> None:
    log = trio.r1.data / "handyrep-start.log"
    trio.r1.stop()
    done = await trio.called.call(Kind.RESTART, "restart_pg_ctl", servername="r1", runmode="start")
    assert done.outcome is SUCCESS, done.details
    assert "writes its log to it" in (await trio.left("restart_pg_ctl", trio.r1))[str(log)]
    assert (await trio.take_back("restart_pg_ctl", trio.r1)).outcome is SUCCESS
    assert log.exists()
    trio.r1.stop()
    trio.r1.start()
    assert await trio.left("restart_pg_ctl", trio.r1) == {str(log): ""}
    assert (await trio.take_back("restart_pg_ctl", trio.r1)).outcome is SUCCESS
    assert not log.exists()


async def test_the_handyrep_table_is_told_of_on_the_master_alone(trio: Trio) -> None:
    assert await trio.left("check_last_ip_db", trio.m1) == {}
    trio.m1.sql("create table handyrep (x int)")
    assert list(await trio.left("check_last_ip_db", trio.m1)) == ['table "handyrep" in postgres']
    assert await trio.left("check_last_ip_db", trio.r1) == {}
    trio.m1.sql("drop table handyrep")


async def test_no_password_is_in_what_is_told(trio: Trio) -> None:
    await trio.follow(trio.r1, newmaster="m1")
    await trio.follow(trio.r1, "halt")
    told: Any = await trio.called.call(Kind.FOLLOW, "follow_conninfo", "footprint", servername="r1")
    assert "canary" not in repr(told)
    await trio.follow(trio.r1, "resume")


@pytest.mark.parametrize("plugin", [name for name in KINDS if name not in ("slots_sql", "check_last_ip_db")])
async def test_a_data_directory_that_cannot_be_looked_into_is_unknown(trio: Trio, plugin: str) -> None:
    away = trio.r1.server("replica", pgdata="/nowhere/at/all/data")
    trio.called.cluster = cluster_of(trio.m1.server("master"), away)
    told = await trio.called.call(KINDS[plugin], plugin, "footprint", servername="r1")
    assert (told.outcome, "cannot be looked at" in told.details) == (FAIL, True)
