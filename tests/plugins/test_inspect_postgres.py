"""inspect_postgres: what it says of a real master, and of a real replica in every state that decides something."""

import asyncio
import os
import signal
from typing import Any

import psycopg
import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.postgres import RealDatabases
from handyrep.model.answer import Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins import inspect_postgres as module
from tests.plugins.pair import Estate, Node, eventually, plugins

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
FACTS = {
    "in_recovery", "system_identifier", "version_num", "timeline", "received_lsn", "replayed_lsn", "replay_paused", "receiving",
    "message_age_s", "synchronous_standby_names", "upstream", "calls_itself",
}  # fmt: skip


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    return house.master()


@pytest.fixture(scope="module")
def r1(house: Estate, m1: Node) -> Node:
    return house.replica("r1", m1)


class HandClock(SystemClock):
    """Monotonic time that a test moves."""

    moved_s = 0.0

    def monotonic(self) -> float:
        return self.moved_s


async def look(node: Node, role: str = "replica", method: str = "run", **arguments: str) -> Result:
    async with plugins(node.server(role), test_ssh_command=arguments.pop("test_ssh_command", "true")) as known:
        return await known.call(Kind.INSPECT, "inspect_postgres", method, servername=node.name, **arguments)


def position(result: Result, key: str = "received_lsn") -> Lsn:
    return Lsn.parse(str(result.extra[key]))


async def test_a_master(m1: Node) -> None:
    seen = await look(m1, "master")
    assert seen.outcome is SUCCESS
    assert set(seen.extra) == FACTS
    told = {key: seen.extra[key] for key in FACTS - {"received_lsn", "replayed_lsn"}}
    assert told == {
        "in_recovery": False,
        "system_identifier": m1.control("Database system identifier"),
        "version_num": m1.value("current_setting('server_version_num')::int"),
        "timeline": 1,
        "replay_paused": False,
        "receiving": False,
        "message_age_s": None,
        "synchronous_standby_names": "",
        "upstream": "",
        "calls_itself": "",
    }


async def test_a_masters_position_is_what_is_on_its_disk(m1: Node) -> None:
    before = await look(m1, "master")
    m1.sql("insert into t select generate_series(1, 1000)")
    end = Lsn.parse(m1.value("pg_current_wal_flush_lsn()::text"))
    after = await look(m1, "master")
    assert position(after) >= end > position(before)


async def test_a_master_tells_whom_it_waits_for(m1: Node) -> None:
    m1.sql("alter system set synchronous_standby_names = 'ANY 1 (r1, r2)'")
    m1.sql("select pg_reload_conf()")
    try:
        await eventually(lambda: m1.value("current_setting('synchronous_standby_names')"))
        seen = await look(m1, "master")
    finally:
        m1.sql("alter system reset synchronous_standby_names")
        m1.sql("select pg_reload_conf()")
    assert seen.extra["synchronous_standby_names"] == "ANY 1 (r1, r2)"


async def test_a_replica_that_streams(m1: Node, r1: Node) -> None:
    m1.sql("insert into t values (1)")
    end = m1.value("pg_current_wal_flush_lsn()::text")
    await eventually(lambda: r1.value(f"pg_last_wal_replay_lsn() >= '{end}'"))
    seen = await look(r1)
    assert set(seen.extra) == FACTS
    facts = ("in_recovery", "timeline", "replay_paused", "receiving", "upstream", "calls_itself")
    assert [seen.extra[fact] for fact in facts] == [True, 1, False, True, f"127.0.0.1:{m1.port}", "r1"]
    assert seen.extra["system_identifier"] == m1.control("Database system identifier")
    assert position(seen) >= position(seen, "replayed_lsn") >= Lsn.parse(end)
    age = seen.extra["message_age_s"]
    assert isinstance(age, float)
    assert 0 <= age < 40


async def test_c2_a_replica_whose_replay_is_paused_has_received_more_than_it_shows(m1: Node, r1: Node) -> None:
    r1.sql("select pg_wal_replay_pause()")
    await eventually(lambda: r1.value("pg_get_wal_replay_pause_state()") == "paused")
    try:
        m1.sql("insert into t select generate_series(1, 1000)")
        end = m1.value("pg_current_wal_flush_lsn()::text")
        await eventually(lambda: r1.value(f"pg_last_wal_receive_lsn() >= '{end}'"))
        seen = await look(r1)
    finally:
        r1.sql("select pg_wal_replay_resume()")
    assert (seen.extra["replay_paused"], seen.extra["receiving"]) == (True, True)
    assert position(seen) >= Lsn.parse(end) > position(seen, "replayed_lsn")


async def test_a_replica_whose_master_is_gone_keeps_its_position_and_does_not_receive(house: Estate) -> None:
    master = house.master("m2")
    replica = house.replica("r2", master)
    master.sql("insert into t select generate_series(1, 100)")
    master.stop()
    end = Lsn.parse(replica.value("pg_last_wal_receive_lsn()::text"))
    await eventually(lambda: replica.value("(select count(*) from pg_stat_wal_receiver)") == 0)
    seen = await look(replica)
    assert (seen.outcome, seen.extra["in_recovery"], seen.extra["receiving"]) == (SUCCESS, True, False)
    assert (seen.extra["message_age_s"], seen.extra["upstream"]) == (None, f"127.0.0.1:{master.port}")
    assert position(seen) >= end
    replica.stop()
    replica.start()
    restarted = await look(replica)
    assert restarted.extra["received_lsn"] is not None
    assert restarted.extra["receiving"] is False


async def test_a_replica_whose_master_hangs_shows_how_old_its_word_is(house: Estate) -> None:
    master = house.master("m3")
    replica = house.replica("r3", master)
    sender = master.value("(select pid from pg_stat_replication)")
    await eventually(lambda: replica.value("(select last_msg_receipt_time from pg_stat_wal_receiver)"))
    os.kill(sender, signal.SIGSTOP)
    try:
        first = (await look(replica)).extra["message_age_s"]
        assert isinstance(first, float)
        later = first
        while later < first + 0.5:
            await asyncio.sleep(0.05)
            later = float(str((await look(replica)).extra["message_age_s"]))
    finally:
        os.kill(sender, signal.SIGCONT)
    await eventually(
        lambda: replica.value("(select clock_timestamp() - last_msg_receipt_time < '0.5 s' from pg_stat_wal_receiver)")
    )


async def test_a_replica_that_lost_a_new_master_tells_the_timeline_that_it_had_received(house: Estate) -> None:
    """Its control file names the old one until its next restartpoint, and a second failover may not wait for that."""
    first, patient = house.master("m5"), "checkpoint_timeout = 1h"
    second, third = (house.replica(name, first, patient) for name in ("s5", "t5"))
    second.sql("select pg_promote()")
    conninfo = third.value("current_setting('primary_conninfo')").replace(f"port={first.port}", f"port={second.port}")
    third.sql(f"alter system set primary_conninfo = '{conninfo.replace(chr(39), chr(39) * 2)}'")
    third.sql("select pg_reload_conf()")
    await eventually(
        lambda: third.value("(select received_tli from pg_stat_wal_receiver where status = 'streaming')") == 2
    )
    second.stop("immediate")
    await eventually(lambda: third.value("(select count(*) from pg_stat_wal_receiver)") == 0)
    assert third.control("Latest checkpoint's TimeLineID") == "1"
    assert (await look(third)).extra["timeline"] == 2


async def test_who_may_see_all_but_the_names_of_wal_files_is_told_the_rest_and_not_refused_at_each_look(
    house: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal stands in the server's log."""
    node, real, sent = house.master("m6"), RealDatabases.query, list[str]()
    node.sql("revoke pg_monitor from handyrep")
    node.sql("grant pg_read_all_stats, pg_read_all_settings to handyrep")

    async def query(self: RealDatabases, to: Any, statement: str, *values: Any, **how: Any) -> Any:
        sent.append(statement)
        return await real(self, to, statement, *values, **how)

    monkeypatch.setattr(RealDatabases, "query", query)
    async with plugins(node.server("master")) as called:
        for _ in range(3):
            seen = await called.call(Kind.INSPECT, "inspect_postgres", servername="m6")
            assert (seen.outcome, seen.extra["in_recovery"], seen.extra["timeline"]) == (SUCCESS, False, 1)
    assert ["pg_ls_waldir" in statement for statement in sent] == [True, False, False, False]


async def test_a_promoted_replica_tells_its_new_timeline_at_once(house: Estate) -> None:
    master = house.master("m4")
    replica = house.replica("r4", master)
    master.stop()
    replica.sql("select pg_promote()")
    seen = await look(replica)
    assert (seen.extra["in_recovery"], seen.extra["timeline"]) == (False, 2)
    assert seen.extra["upstream"] == f"127.0.0.1:{master.port}"


async def test_a7_one_that_is_starting_up_is_alive_and_tells_nothing(house: Estate) -> None:
    master = house.master("m5")
    replica = house.replica("r5", master)
    replica.stop()
    replica.configure("hot_standby = off")
    replica.start()
    seen = await look(replica)
    assert (seen.outcome, dict(seen.extra)) == (FAIL, {"alive": True})
    assert "not accepting connections" in seen.details or "starting up" in seen.details


async def test_of_one_that_does_not_run_nothing_is_known(house: Estate) -> None:
    nobody = house.node("n1")
    for method in ("run", "write"):
        seen = await look(nobody, method=method)
        assert (seen.outcome, dict(seen.extra)) == (FAIL, {})
        assert seen.details.startswith("nothing is known: ")


async def test_a_role_that_may_not_see_everything_is_refused_and_no_replica_is_taken_for_one_that_hears_nothing(
    house: Estate,
) -> None:
    master = house.master("m6")
    replica = house.replica("r6", master)
    master.sql("revoke pg_monitor from handyrep")
    await eventually(lambda: not replica.value("pg_has_role('handyrep', 'pg_monitor', 'usage')"))
    for node, role in ((master, "master"), (replica, "replica")):
        seen = await look(node, role)
        assert (seen.outcome, dict(seen.extra)) == (FAIL, {"alive": True})
        assert "GRANT pg_monitor" in seen.details
    master.sql("grant pg_read_all_stats, pg_read_all_settings to handyrep")
    await eventually(lambda: replica.value("pg_has_role('handyrep', 'pg_read_all_settings', 'usage')"))
    assert (await look(replica)).extra["receiving"] is True


async def test_a_write_is_a_commit_in_the_wal_and_only_a_master_takes_it(m1: Node, r1: Node) -> None:
    before = position(await look(m1, "master"))
    wrote = await look(m1, "master", "write")
    assert wrote.outcome is SUCCESS
    assert position(await look(m1, "master")) > before
    refused = await look(r1, method="write")
    assert (refused.outcome, refused.extra["alive"]) == (FAIL, True)
    assert "a write was refused" in refused.details


async def test_one_that_was_promoted_is_known_at_once_and_not_before(house: Estate, m1: Node) -> None:
    replica = house.replica("r7", m1)
    async with plugins(replica.server("replica"), failover={"call_timeout": 5.0}) as known:

        async def promoted() -> Result:
            return await known.call(Kind.INSPECT, "inspect_postgres", "promoted", servername="r7")

        waits = asyncio.create_task(promoted())
        await asyncio.sleep(0.5)
        assert not waits.done()
        await asyncio.to_thread(replica.sql, "select pg_promote()")
        assert (await waits).outcome is SUCCESS
        assert (await promoted()).outcome is SUCCESS


async def test_one_that_is_not_promoted_in_time_is_in_recovery_still(r1: Node) -> None:
    async with plugins(r1.server("replica"), failover={"call_timeout": 0.3}) as known:
        told = await known.call(Kind.INSPECT, "inspect_postgres", "promoted", servername="r1")
    assert (told.outcome, told.details) == (FAIL, "it is in recovery still")


async def test_a_write_does_not_wait_for_replicas_that_are_gone(m1: Node) -> None:
    m1.sql("alter system set synchronous_standby_names = 'nobody_of_that_name'")
    m1.sql("select pg_reload_conf()")
    try:
        await eventually(lambda: m1.value("current_setting('synchronous_standby_names')"))
        async with plugins(m1.server("master")) as known:
            wrote = await known.caller.call(
                Kind.INSPECT, "inspect_postgres", "write", {"servername": "m1"}, cluster=known.cluster, deadline_s=10
            )
    finally:
        m1.sql("alter system reset synchronous_standby_names")
        m1.sql("select pg_reload_conf()")
    assert wrote.outcome is SUCCESS


async def test_writes_that_hang_while_no_wal_is_written_are_told_apart_from_slow_ones(
    m1: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that sleeps stands for one whose storage hangs: that needs hosts of the lab (A10)."""
    real, hung = module._WRITE, f"/* {module._OUR_WRITE} */ select pg_sleep(600)"
    writes, clock = "select pg_logical_emit_message(true, 'x', 'x')", HandClock()

    def told(seen: Result) -> tuple[object, ...]:
        return seen.outcome, seen.extra.get("stalled")

    async with plugins(m1.server("master"), clock=clock, failover={"call_timeout": 0.5}) as known:
        after_s = known.caller.world.settings.failover.timings.stalled_after_s

        async def write() -> Result:
            return await known.call(Kind.INSPECT, "inspect_postgres", "write", servername="m1")

        try:
            monkeypatch.setattr(module, "_WRITE", hung)
            for _ in range(3):
                m1.sql(writes)  # From here on nothing has been written: what an earlier round saw counts no more.
                at, seen = m1.value("pg_current_wal_flush_lsn()"), [told(await write())]
                for passes_s in (after_s - 1, 2):
                    clock.moved_s += passes_s
                    seen.append(told(await write()))
                # The server's own processes write now and then, the background writer every 15 s at most.
                if m1.value("pg_current_wal_flush_lsn()") == at:
                    assert seen == [(FAIL, False), (FAIL, False), (FAIL, True)]
                    break
            else:
                pytest.fail("something writes all the time")
            m1.sql(writes)
            assert told(await write()) == (FAIL, False)
            for _ in range(3):
                await write()
            asked = "(select count(*) from pg_stat_activity where wait_event = 'PgSleep')"
            assert m1.value(asked) == module._MOST_HANGING
            monkeypatch.setattr(module, "_WRITE", real)
            assert told(await write()) == (FAIL, False), "so many hang that none is tried"
        finally:
            m1.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
        await eventually(lambda: not m1.value(asked))
        clock.moved_s += 1000
        assert told(await write()) == (SUCCESS, None)


async def test_after_a_write_that_was_not_answered_none_is_tried_before_they_could_be_counted(
    m1: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE", f"/* {module._OUR_WRITE} */ select pg_sleep(600)")
    monkeypatch.setattr(module, "_HANGING", "select pg_sleep(600) as hanging")
    tried = "(select count(*) from pg_stat_activity where query like '/* a test write%pg_sleep%')"
    async with plugins(m1.server("master"), failover={"call_timeout": 0.3}) as known:
        try:
            for _ in range(2):
                told = await known.caller.call(
                    Kind.INSPECT, "inspect_postgres", "write", {"servername": "m1"}, cluster=known.cluster, deadline_s=2
                )
                assert (told.outcome, "stalled" in told.extra, m1.value(tried)) == (FAIL, False, 1)
        finally:
            m1.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")


async def test_c15_collations_of_other_versions_than_the_data_was_made_with_are_warned_of(m1: Node, r1: Node) -> None:
    async def warned() -> list[str]:
        async with plugins(m1.server("master"), r1.server("replica")) as known:
            told = await known.call(Kind.INSPECT, "inspect_postgres", "test")
        assert told.outcome is SUCCESS, told
        return list(told.extra["warnings"])

    assert await warned() == []
    m1.sql("update pg_collation set collversion = collversion || '.old' where collname in ('und-x-icu', 'en-x-icu')")
    try:
        await eventually(lambda: r1.value("(select count(*) from pg_collation where collversion like '%.old')") == 2)
        said = await warned()
        assert [one.split(" have other")[0] for one in said] == ["2 collations (as en-x-icu)"] * 2
        assert "on the host of r1 than the data was made with" in said[1]
    finally:
        m1.sql("update pg_collation set collversion = replace(collversion, '.old', '')")
    await eventually(lambda: r1.value("(select count(*) from pg_collation where collversion like '%.old')") == 0)
    assert await warned() == []


async def test_the_host_answers_when_the_command_succeeds_there(m1: Node) -> None:
    assert (await look(m1, "master", "host", test_ssh_command="test -d /")).outcome is SUCCESS
    failed = await look(m1, "master", "host", test_ssh_command="test -d /nowhere")
    assert failed.outcome is FAIL
    assert "test_ssh_command failed" in failed.details


async def test_what_a_replicas_host_sees_of_the_master(house: Estate, m1: Node, r1: Node) -> None:
    nobody = house.node("n2")
    async with plugins(m1.server("master"), r1.server("replica"), nobody.server("replica")) as known:
        sees = await known.call(Kind.INSPECT, "inspect_postgres", "sees", servername="r1", mastername="m1")
        gone = await known.call(Kind.INSPECT, "inspect_postgres", "sees", servername="r1", mastername="n2")
    assert (sees.outcome, sees.extra.get("no")) == (SUCCESS, None)
    assert (gone.outcome, gone.extra["no"]) == (FAIL, True)


async def test_without_pg_isready_it_does_not_say_that_the_master_is_gone(m1: Node, r1: Node) -> None:
    async with plugins(m1.server("master"), r1.server("replica", bin_dir="/nowhere")) as known:
        seen = await known.call(Kind.INSPECT, "inspect_postgres", "sees", servername="r1", mastername="m1")
    assert (seen.outcome, dict(seen.extra)) == (FAIL, {})
    assert "not known" in seen.details


async def hindrances(node: Node, **known: str) -> list[str]:
    async with plugins(node.server("master"), options={"inspect_postgres": known}) as called:
        told = await called.call(Kind.INSPECT, "inspect_postgres", "hindrances", servername=node.name)
    assert told.outcome is SUCCESS, told.details
    return [str(one) for one in told.extra["hindrances"]]


async def test_what_a_switchover_should_wait_for(house: Estate) -> None:
    """A long transaction, a prepared one, and WAL that nobody could archive; each is told while it is there, and not afterwards."""
    busy = house.master("busy")
    assert await hindrances(busy) == []
    busy.configure("max_prepared_transactions = 1", "archive_mode = on", "archive_command = '/bin/false'")
    busy.stop()
    busy.start()
    with psycopg.connect("", host=str(busy.folder), port=busy.port, user="postgres", dbname="postgres") as session:
        session.execute("select txid_current()")
        told = await hindrances(busy, long_transaction="0s")
        assert [f"a transaction of {session.info.user} has run for" in one for one in told] == [True]
        assert await hindrances(busy, long_transaction="1h") == []
        session.execute("prepare transaction 'canary'")
    assert await hindrances(busy) == ["prepared transactions hold their locks, on the new master as well: canary"]
    busy.sql("rollback prepared 'canary'")
    for _ in range(3):
        busy.sql("select pg_logical_emit_message(true, 'x', 'y'), pg_switch_wal()")
    (waiting,) = await hindrances(busy, archive_backlog="2")
    assert "files of WAL wait to be archived" in waiting
    assert await hindrances(busy, archive_backlog="50") == []
