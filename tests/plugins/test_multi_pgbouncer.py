"""multi_pgbouncer on real pgbouncers in front of real PostgreSQLs, and where one of them is out of reach."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

from handyrep.model.answer import Outcome
from handyrep.model.cluster import Member
from handyrep.model.status import Health
from handyrep.plugins import _bouncer_console, _bouncer_host, multi_pgbouncer
from handyrep.plugins._bouncer_config import MARK
from tests.adapters.ports import free_port
from tests.factories import make_member
from tests.plugins.bouncers import (
    TEMPLATE,
    Bouncer,
    Managed,
    Pair,
    bouncer,
    cluster_of,
    cluster_with,
    managed,
    pid_of,
    port_seen,
    postgres_server,
)
from tests.plugins.pair import eventually

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN


@pytest.fixture
def one_running(pair: Pair) -> Iterator[Bouncer]:
    with bouncer(pair.master.port) as made:
        yield made


@pytest.fixture
async def plugin(pair: Pair, one_running: Bouncer, tmp_path: Path) -> AsyncIterator[Managed]:
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path) as made:
        yield made


async def test_every_name_leads_where_it_should(plugin: Managed, pair: Pair, one_running: Bouncer) -> None:
    result = await plugin.call()
    assert result.outcome is SUCCESS, result
    assert one_running.leads() == {"postgres": pair.master.port, "postgres_ro": pair.replica.port, MARK: 1}
    assert one_running.ini.stat().st_mode & 0o777 == 0o640
    with one_running.connect("postgres_ro") as client:
        assert port_seen(client) == pair.replica.port


@pytest.mark.parametrize("refresh", ["auto", "restart"])
async def test_d3_after_a_failover_no_session_lives_on_at_the_old_master(
    pair: Pair, one: Bouncer, tmp_path: Path, refresh: str
) -> None:
    async with managed(cluster_with(pair, one), one.ini, tmp_path, refresh=refresh) as plugin:
        idle, busy = one.connect(), one.connect()
        for client in (idle, busy):
            assert port_seen(client) == pair.master.port
        busy.execute("begin")
        busy.execute("select 1")
        try:
            result = await plugin.call(newmaster="r1")
            assert result.outcome is SUCCESS, result
            for client in (idle, busy):
                with pytest.raises(psycopg.Error):
                    port_seen(client)
            for _ in range(5):
                with one.connect() as new:
                    assert port_seen(new) == pair.replica.port
        finally:
            if refresh == "restart":
                os.kill(pid_of(one), signal.SIGKILL)


async def test_after_a_crash_nobody_waits_until_pgbouncer_tries_a_server_again(pair: Pair, tmp_path: Path) -> None:
    template = TEMPLATE.replace("server_login_retry = 0.2", "server_login_retry = 600")
    with bouncer(free_port(), pool_mode="transaction") as one:
        one.console("set server_login_retry = '600'")
        with pytest.raises(psycopg.OperationalError):
            one.connect(connect_timeout=2)
        async with managed(cluster_with(pair, one), one.ini, tmp_path, template=template) as plugin:
            assert (await plugin.call("block")).outcome is SUCCESS
            waiting = asyncio.create_task(asyncio.to_thread(_port_of_a_new_client, one))
            assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
            assert await asyncio.wait_for(waiting, 20) == pair.replica.port
        assert "server_login_retry = 600" in one.ini.read_text()


async def test_who_was_held_back_is_let_on_at_once_though_the_last_login_failed(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the retry is not to be made quick for good: RESUME alone would leave the client waiting for ten minutes."""
    monkeypatch.setattr(_bouncer_console, "_QUICK_RETRY_S", 1000.0)
    template = TEMPLATE.replace("server_login_retry = 0.2", "server_login_retry = 600")
    gone = free_port()
    with bouncer(gone, pool_mode="transaction") as one:
        one.console("set server_login_retry = '600'")
        with pytest.raises(psycopg.OperationalError):
            one.connect(connect_timeout=2)
        async with managed(cluster_with(pair, one, port=gone), one.ini, tmp_path, template=template) as plugin:
            assert (await plugin.call("block")).outcome is SUCCESS
            waiting = asyncio.create_task(asyncio.to_thread(_port_of_a_new_client, one))
            assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
            assert await asyncio.wait_for(waiting, 20) == pair.replica.port
        assert {row[0]: row[1] for row in one.console("show config")}["server_login_retry"] == "600"


async def test_who_logs_in_right_before_all_are_let_on_does_not_make_the_others_wait(
    pair: Pair, one: Bouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pgbouncer 1.18 opens a session for that client though its name is paused, ends it, and would not try again for ten minutes."""
    template = TEMPLATE.replace("server_login_retry = 0.2", "server_login_retry = 600")
    monkeypatch.setattr(_bouncer_console, "_QUICK_RETRY_S", 1000.0)
    monkeypatch.setattr(_bouncer_console, "_NO_RETRY_S", 1.0)
    resume, waiting = _bouncer_console.Console.resume, list[asyncio.Task[int]]()

    async def comes_now(console: _bouncer_console.Console, names: Iterable[str]) -> None:
        waiting.append(asyncio.create_task(asyncio.to_thread(_port_of_a_new_client, one)))
        await eventually(lambda: "closing because: pause mode (age=0s)" in (one.folder / "log").read_text())
        await resume(console, names)

    async with managed(cluster_with(pair, one), one.ini, tmp_path, template=template) as plugin:
        assert (await plugin.call("pause")).outcome is SUCCESS
        monkeypatch.setattr(_bouncer_console.Console, "resume", comes_now)
        assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
        assert await asyncio.wait_for(waiting[0], 20) == pair.replica.port
    assert {row[0]: row[1] for row in one.console("show config")}["server_login_retry"] == "600"


async def test_a_session_that_is_where_it_belongs_is_left_alone(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    await plugin.call()
    with one_running.connect() as client:
        client.execute("begin")
        assert port_seen(client) == pair.master.port
        assert (await plugin.call()).outcome is SUCCESS
        assert port_seen(client) == pair.master.port


async def test_with_reload_old_sessions_stay_and_are_told_of(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, refresh="reload") as plugin:
        with one_running.connect() as client:
            client.execute("begin")
            assert port_seen(client) == pair.master.port
            result = await plugin.call(newmaster="r1")
            assert result.outcome is SUCCESS
            assert "sessions of postgres stay" in result.details
            assert port_seen(client) == pair.master.port
        with one_running.connect() as new:
            assert port_seen(new) == pair.replica.port


async def test_names_of_hosts_are_resolved_as_pgbouncer_resolves_them(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    cluster = cluster_with(pair, one_running, client_host="localhost")
    async with managed(cluster, one_running.ini, tmp_path) as plugin:
        assert (await plugin.call()).outcome is SUCCESS
        with one_running.connect() as client:
            assert port_seen(client) == pair.master.port
            assert (await plugin.call()).outcome is SUCCESS
            assert port_seen(client) == pair.master.port


async def test_a_transaction_at_a_server_known_by_name_is_left_alone(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    cluster = cluster_with(pair, one_running, client_host="localhost")
    async with managed(cluster, one_running.ini, tmp_path) as plugin:
        assert (await plugin.call()).outcome is SUCCESS
        with one_running.connect() as client:
            client.execute("begin")
            assert port_seen(client) == pair.master.port
            assert (await plugin.call()).outcome is SUCCESS
            assert port_seen(client) == pair.master.port


async def test_blocked_clients_wait_and_go_on_at_the_new_master(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    await plugin.call()
    with one_running.connect() as client:
        port_seen(client)
        assert (await plugin.call("block")).outcome is SUCCESS
        with pytest.raises(psycopg.Error):
            port_seen(client)
    waiting = asyncio.create_task(asyncio.to_thread(_port_of_a_new_client, one_running))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
    assert await asyncio.wait_for(waiting, 20) == pair.replica.port


def _port_of_a_new_client(one: Bouncer) -> int:
    with one.connect() as client:
        return port_seen(client)


async def test_unblock_lets_clients_on_only_where_the_recorded_master_is(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    await plugin.call()
    await plugin.call("block")
    assert (await plugin.call("unblock")).outcome is SUCCESS
    with one_running.connect() as client:
        assert port_seen(client) == pair.master.port
    await plugin.call(newmaster="r1")
    await plugin.call("block")
    result = await plugin.call("unblock")
    assert result.outcome is FAIL
    assert "its clients still wait" in result.details


async def test_its_file_stays_and_clients_that_it_holds_back_are_let_on(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    assert await places(plugin) == {}, "HandyRep has not written it yet"
    await plugin.call()
    held = f"end of {one_running.ini}"
    assert "yours from now on" in (await places(plugin))[str(one_running.ini)]
    await plugin.call("block")
    assert (await places(plugin))[held] == ""
    assert (await plugin.call("take_back", servername="b1")).outcome is SUCCESS
    with one_running.connect() as client:
        assert port_seen(client) == pair.master.port
    assert list(await places(plugin)) == [str(one_running.ini)]
    assert (await plugin.call("take_back", servername="b1")).outcome is SUCCESS
    assert (await plugin.call("footprint", servername="m1")).extra["traces"] == []


async def places(plugin: Managed) -> dict[str, str]:
    told = await plugin.call("footprint", servername="b1")
    assert told.outcome is SUCCESS, told.details
    return {one["where"]: one["stays"] for one in told.extra["traces"]}


async def test_poll_logs_in_through_it(plugin: Managed, one_running: Bouncer) -> None:
    result = await plugin.call("poll", bouncerserver="b1")
    assert (result.outcome, dict(result.extra["servers"])) == (SUCCESS, {"b1": True})
    one_running.stop()
    result = await plugin.call("poll", bouncerserver=None)
    assert (result.outcome, dict(result.extra["servers"])) == (FAIL, {"b1": False})


async def test_a_pgbouncer_that_does_not_answer_makes_it_uncertain_and_is_named(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    silent = one_running.server("b2", hostname="127.0.0.2")
    cluster = cluster_of(*cluster_with(pair, one_running).members.values(), silent)
    async with managed(cluster, one_running.ini, tmp_path) as plugin:
        result = await plugin.call(newmaster="r1")
    assert result.outcome is UNCERTAIN
    assert result.extra["each"] == {"b1": "SUCCESS", "b2": "UNCERTAIN"}
    assert result.details.startswith("b2: ")
    assert one_running.leads()["postgres"] == pair.replica.port


async def test_d1_one_that_is_down_gets_its_file_and_comes_up_right(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    one_running.stop()
    assert (await plugin.call(newmaster="r1")).outcome is UNCERTAIN
    one_running.start()
    assert one_running.leads()["postgres"] == pair.replica.port


async def test_a_host_that_does_not_answer_holds_up_nobody(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    away = one_running.server("b2", control="ssh", ssh_host="127.0.0.1", ssh_port=free_port())
    cluster = cluster_of(*cluster_with(pair, one_running).members.values(), away)
    async with managed(cluster, one_running.ini, tmp_path) as plugin:
        result = await plugin.call(newmaster="r1")
    assert result.extra["each"]["b1"] == "SUCCESS"
    assert result.extra["each"]["b2"] != "SUCCESS"
    assert result.outcome is not SUCCESS


@pytest.mark.parametrize("extra", ["bad_key = 1\n", "%include /nonexistent/more.ini\n"])
async def test_d8_an_order_to_reload_that_is_not_carried_out_is_no_success(
    pair: Pair, one_running: Bouncer, tmp_path: Path, extra: str
) -> None:
    cluster, template = cluster_with(pair, one_running), TEMPLATE + extra
    not_tried = "/nonexistent/pgbouncer"
    async with managed(cluster, one_running.ini, tmp_path, template=template, pgbouncerbin=not_tried) as plugin:
        result = await plugin.call(newmaster="r1")
    assert result.outcome is FAIL
    assert "did not read its file to the end" in result.details
    assert one_running.leads()["postgres"] in (pair.master.port, pair.replica.port)


async def test_a_file_that_was_tried_a_moment_ago_is_not_tried_again(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    """hasten() tries it while nobody waits yet; another file is tried as ever."""
    tried, program = counting(one_running)
    cluster = cluster_with(pair, one_running)
    async with managed(cluster, one_running.ini, tmp_path, pgbouncerbin=str(program)) as plugin:
        steps = (("hasten", "r1", 1), ("run", "r1", 1), ("run", "m1", 2), ("run", "r1", 2), ("run", "m1", 2))
        for method, master, times in steps:
            done = await plugin.call(method, newmaster=master)
            assert done.outcome is SUCCESS, done
            assert tried.read_text().count("x") == times
    assert one_running.leads()["postgres"] == pair.master.port


async def test_of_a_file_that_was_tried_a_while_ago_only_the_log_is_asked_for_again(
    pair: Pair, one_running: Bouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot open its log ends when it is told to reload."""
    monkeypatch.setattr(_bouncer_host, "_STILL_TAKEN_S", 0.0)
    tried, program = counting(one_running)
    logs = one_running.folder / "logs"
    logs.mkdir()
    logs.chmod(0o777)
    cluster, template = cluster_with(pair, one_running), f"{TEMPLATE}logfile = {logs}/log\n"
    async with managed(cluster, one_running.ini, tmp_path, template=template, pgbouncerbin=str(program)) as plugin:
        for _ in range(2):
            assert (await plugin.call("hasten", newmaster="r1")).outcome is SUCCESS
        logs.rename(one_running.folder / "gone")
        done = await plugin.call("run", newmaster="r1")
    assert (done.outcome, "reloading would end a pgbouncer" in done.details) == (FAIL, True), done
    assert tried.read_text().count("x") == 1
    assert one_running.leads()["postgres"] == pair.master.port


async def test_a_file_that_includes_another_one_is_tried_again_after_a_moment(
    pair: Pair, one_running: Bouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the other one may have been changed."""
    monkeypatch.setattr(_bouncer_host, "_STILL_TAKEN_S", 0.0)
    tried, program = counting(one_running)
    more = one_running.folder / "more.ini"
    more.write_text("")
    more.chmod(0o644)
    cluster, template = cluster_with(pair, one_running), f"{TEMPLATE}%include {more}\n"
    async with managed(cluster, one_running.ini, tmp_path, template=template, pgbouncerbin=str(program)) as plugin:
        for times in (1, 2):
            assert (await plugin.call("hasten", newmaster="r1")).outcome is SUCCESS
            assert tried.read_text().count("x") == times


def written_at(file: Path) -> int:
    """Another one each time that the file is replaced."""
    return file.stat().st_ctime_ns


async def test_what_was_brought_takes_effect_with_run_which_does_not_put_it_there_once_more(
    plugin: Managed, pair: Pair, one_running: Bouncer
) -> None:
    assert (await plugin.call(newmaster="m1")).outcome is SUCCESS
    assert (await plugin.call("bring", newmaster="r1")).outcome is SUCCESS
    brought = written_at(one_running.ini)
    assert one_running.leads()["postgres"] == pair.master.port
    assert f"postgres = host=127.0.0.1 port={pair.replica.port} " in one_running.ini.read_text()
    assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
    assert (one_running.leads()["postgres"], written_at(one_running.ini)) == (pair.replica.port, brought)
    assert (await plugin.call(newmaster="r1")).outcome is SUCCESS
    assert written_at(one_running.ini) != brought, "it counts once"


@pytest.mark.parametrize("between", ["block", "another master", "a long time"])
async def test_what_was_brought_does_not_count_for_another_file_or_after_others_wrote_it(
    plugin: Managed, pair: Pair, one_running: Bouncer, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    assert (await plugin.call("bring", newmaster="r1")).outcome is SUCCESS
    brought, master = written_at(one_running.ini), "m1" if between == "another master" else "r1"
    if between == "block":
        assert (await plugin.call("block")).outcome is SUCCESS
    if between == "a long time":
        monkeypatch.setattr(multi_pgbouncer, "_JUST_S", -1.0)
    done = await plugin.call(newmaster=master)
    assert done.outcome is SUCCESS, done
    assert one_running.leads()["postgres"] == (pair.master.port if master == "m1" else pair.replica.port)
    assert written_at(one_running.ini) != brought


async def test_nothing_is_brought_to_one_that_is_away_or_would_not_take_it(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    before = one_running.ini.read_text()
    template = TEMPLATE + "pool_mode = nonsense\n"
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, template=template) as plugin:
        assert (await plugin.call("bring", newmaster="r1")).outcome is FAIL
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path) as plugin:
        os.kill(pid_of(one_running), signal.SIGKILL)
        await eventually(lambda: not Path(f"/proc/{pid_of(one_running)}/exe").exists())
        told = await plugin.call("bring", newmaster="r1")
    assert (told.outcome, one_running.ini.read_text()) == (UNCERTAIN, before), told


async def test_a_file_that_was_refused_is_tried_again(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    template = TEMPLATE + "pool_mode = nonsense\n"
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, template=template) as plugin:
        hastened, done = [await plugin.call(method, newmaster="r1") for method in ("hasten", "run")]
    for result in (hastened, done):
        assert result.outcome is FAIL
        assert "pgbouncer does not take what the template gives" in result.details
    assert one_running.leads()["postgres"] == pair.master.port


async def test_d6_a_broken_template_touches_nothing(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    before = one_running.ini.read_text()
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, template="{{ nothing }}") as plugin:
        for method in ("run", "init", "test"):
            result = await plugin.call(method)
            assert result.outcome is FAIL
            assert "'nothing' is undefined" in result.details
    assert one_running.ini.read_text() == before


async def test_d7_our_own_template_overwrites_no_file_of_somebody_else(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    before = one_running.ini.read_text()
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, template="") as plugin:
        for result in [await plugin.call(method) for method in ("run", "test", "init")]:
            assert result.outcome is FAIL, result
            assert "was not written by HandyRep" in result.details
        offered = (await plugin.call("init")).extra["template"]
    assert one_running.ini.read_text() == before
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, template=offered) as plugin:
        assert (await plugin.call("init")).outcome is SUCCESS
    assert "server_login_retry = 0.2" in one_running.ini.read_text()
    assert one_running.leads()["postgres_ro"] == pair.replica.port


async def test_a_port_that_other_processes_share_is_never_done(pair: Pair, tmp_path: Path) -> None:
    template = TEMPLATE + "so_reuseport = 1\n"
    with bouncer(pair.master.port, so_reuseport="1") as one:
        async with managed(cluster_with(pair, one), one.ini, tmp_path, template=template) as plugin:
            assert (await plugin.call("test")).outcome is FAIL
            assert (await plugin.call()).outcome is UNCERTAIN
            assert (await plugin.call("block")).outcome is FAIL


async def test_d12_a_wrong_password_for_the_console_is_a_fail(plugin: Managed, one_running: Bouncer) -> None:
    (one_running.folder / "userlist.txt").write_text('"postgres" "another"\n')
    one_running.stop()
    one_running.start()
    result = await plugin.call("test")
    assert result.outcome is FAIL
    assert "b1: " in result.details


async def test_without_any_pgbouncer_there_is_nothing_to_do(pair: Pair, tmp_path: Path) -> None:
    async with managed(cluster_with(pair), tmp_path / "x.ini", tmp_path) as plugin:
        for method in ("run", "test", "block"):
            assert (await plugin.call(method)).outcome is SUCCESS
        assert (await plugin.call("init", bouncerserver="b9")).outcome is FAIL


async def test_test_says_what_is_missing(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    cluster = cluster_with(pair, one_running)
    async with managed(cluster, one_running.ini, tmp_path, database_list="other") as plugin:
        assert "add it to database_list" in (await plugin.call("test")).details
    async with managed(cluster, Path("/nonexistent/pgbouncer.ini"), tmp_path) as plugin:
        assert "cannot be written" in (await plugin.call("test")).details
    cluster = cluster_of(*cluster_with(pair).members.values(), one_running.server("b1", port=free_port()))
    async with managed(cluster, one_running.ini, tmp_path) as plugin:
        assert (await plugin.call("test")).details.startswith("b1: no answer")


async def test_a_template_is_a_file_of_its_folder(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    cluster = cluster_with(pair, one_running)
    for name, why in (("../x.j2", "must be the name of a file"), ("gone.j2", "is not to be read")):
        async with managed(cluster, one_running.ini, tmp_path, template_name=name) as plugin:
            result = await plugin.call()
            assert result.outcome is FAIL
            assert why in result.details


async def test_readers_are_led_to_healthy_replicas_in_their_order(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    def replica(name: str, port: int, priority: int, health: Health) -> Member:
        server = postgres_server(pair.replica, name, "replica", port=port, failover_priority=priority)
        return make_member(server, health)

    cluster = cluster_of(
        postgres_server(pair.master, "m1", "master"),
        replica("r1", 11, 1, Health.LAGGED),
        replica("r2", 12, 3, Health.HEALTHY),
        replica("r3", 13, 2, Health.HEALTHY),
        replica("r4", 14, 0, Health.UNAVAILABLE),
        one_running.server(),
    )
    async with managed(cluster, one_running.ini, tmp_path, all_replicas="True") as plugin:
        assert (await plugin.call()).outcome is SUCCESS
    leads = one_running.leads()
    assert [leads.get(f"postgres_ro{number}") for number in range(1, 4)] == [13, 12, None]


async def test_pgbouncer_failover_is_for_exactly_one(pair: Pair, one_running: Bouncer, tmp_path: Path) -> None:
    name = "pgbouncer_failover"
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, name=name) as plugin:
        assert (await plugin.call()).outcome is SUCCESS
    two = cluster_with(pair, one_running, one_running)
    async with managed(two, one_running.ini, tmp_path, name=name) as plugin:
        for method in ("run", "poll", "block", "test"):
            result = await plugin.call(method)
            assert result.outcome is FAIL
            assert "exactly one pgbouncer" in result.details
    async with managed(two, one_running.ini, tmp_path, name=name, server="b2") as plugin:
        result = await plugin.call()
        assert (result.outcome, set(result.extra["each"])) == (SUCCESS, {"b2"})


async def test_an_online_restart_that_fails_leaves_the_old_process_as_it_was(
    pair: Pair, one_running: Bouncer, tmp_path: Path
) -> None:
    options = {"refresh": "restart", "pgbouncerbin": "/nonexistent/pgbouncer"}
    async with managed(cluster_with(pair, one_running), one_running.ini, tmp_path, **options) as plugin:
        result = await plugin.call(newmaster="r1")
    assert result.outcome is FAIL
    assert "the online restart failed" in result.details
    assert one_running.leads() == {"postgres": pair.master.port}


def counting(bouncer: Bouncer) -> tuple[Path, Path]:
    """(where each start of it is written down, a pgbouncerbin)."""
    tried, program = bouncer.folder / "tried", bouncer.folder / "pgbouncer"
    program.write_text(f'#!/bin/sh\necho x >> {tried}\nexec /usr/sbin/pgbouncer "$@"\n')
    program.chmod(0o755)
    return tried, program
