"""fence_proxy on real pgbouncers: with its proof no client reaches the old master, and without one all is as it was."""

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from handyrep.plugins._bouncer_console import Console
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Row
from tests.adapters.postgresql import databases
from tests.factories import make_settings
from tests.plugins.bouncers import (
    TEMPLATE,
    Bouncer,
    Managed,
    Pair,
    bouncer,
    cluster_of,
    owner,
    port_seen,
    postgres_server,
)
from tests.plugins.pair import eventually

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN


@dataclasses.dataclass
class Fenced(Managed):
    """The fence and the plugin that manages the pgbouncers, in one HandyRep."""

    async def fence(self, method: str = "run", server: str = "m1") -> Result:
        return await self.caller.call(
            Kind.FENCE, "fence_proxy", method, {"servername": server}, cluster=self.cluster, deadline_s=30.0
        )


@contextlib.asynccontextmanager
async def fenced(
    pair: Pair, ini: Path, templates: Path, *proxies: Any, template: str = TEMPLATE, only: bool = True
) -> AsyncIterator[Fenced]:
    (templates / "pgbouncer.ini.j2").write_text(template)
    servers = [postgres_server(pair.master, "m1", "master"), postgres_server(pair.replica, "r1", "replica")]
    cluster = cluster_of(*servers, *proxies)
    settings = make_settings(
        servers=cluster.servers,
        handyrep={"templates_dir": str(templates), "handyrep_user": "postgres"},
        failover={"connection_failover_method": "multi_pgbouncer", "clients_only_via_proxies": only},
        plugins={"multi_pgbouncer": {"owner": owner(), "config_location": str(ini), "database_list": "postgres"}},
    )
    hosts, db = RealHosts(), databases()
    try:
        yield Fenced(cluster, settings, Caller(Registry(), World(settings, hosts, db, SystemClock())))
    finally:
        await db.close()
        await hosts.close()


def refused(client: "psycopg.Connection[Any]") -> bool:
    try:
        client.execute("select 1")
    except psycopg.Error:
        return True
    return False


def untouched(done: Result) -> bool:
    return done.outcome is FAIL and done.extra == {"untouched": True}


async def test_d3_d4_no_session_is_left_and_new_clients_go_on_at_the_new_master(
    pair: Pair, one: Bouncer, tmp_path: Path
) -> None:
    idle, busy = one.connect(), one.connect()
    idle.execute("select 1")
    busy.execute("begin")
    busy.execute("select 1")
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        done = await handyrep.fence()
        assert done.outcome is SUCCESS, done
        assert done.extra["proxies"] == ["b1"]
        assert one.console("show servers") == []
        assert refused(idle)
        assert refused(busy)
        with pytest.raises(psycopg.OperationalError):
            one.connect(options="").close()
        assert (await handyrep.fence()).outcome is SUCCESS
        assert (await handyrep.call(newmaster="r1")).outcome is SUCCESS
        began = time.monotonic()
        with one.connect() as client:
            assert port_seen(client) == pair.replica.port
        assert time.monotonic() - began < 4


async def test_what_is_held_back_already_is_not_written_again_and_more_than_that_stays_held_back(
    pair: Pair, one: Bouncer, tmp_path: Path
) -> None:
    """block() holds readers back too; the fence needs the writers alone, and must not let the readers on."""
    before = one.ini.read_text()
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        assert (await handyrep.call(newmaster="m1")).outcome is SUCCESS
        led = one.ini.read_text()
        assert (await handyrep.call("block")).outcome is SUCCESS
        held, written = one.ini.read_text(), one.ini.stat()
        assert (await handyrep.fence()).outcome is SUCCESS
        assert (one.ini.read_text(), one.ini.stat().st_ino) == (held, written.st_ino)
        one.stop()
        one.start()
        assert one.leads()["postgres"] == one.leads()["postgres_ro"] == 1
        assert (await handyrep.fence("release")).outcome is SUCCESS
        assert one.ini.read_text() == led != before


async def test_who_waits_already_goes_on_waiting_and_is_let_on_at_the_new_master(
    pair: Pair, one: Bouncer, tmp_path: Path
) -> None:
    """A second KILL would end it, and one that just logs in would never be served."""
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        assert (await handyrep.call("block")).outcome is SUCCESS
        waiting = asyncio.create_task(asyncio.to_thread(new_clients_port, one))
        await eventually(lambda: one.console("show clients")[1:])
        assert (await handyrep.fence()).outcome is SUCCESS
        assert (await handyrep.call(newmaster="r1")).outcome is SUCCESS
        assert await asyncio.wait_for(waiting, 20) == pair.replica.port


async def test_a_session_that_is_left_at_a_paused_name_is_ended_all_the_same(
    pair: Pair, one: Bouncer, tmp_path: Path
) -> None:
    with one.connect() as busy, contextlib.closing(one.connect("pgbouncer")) as console:
        busy.execute("begin")
        busy.execute("select 1")
        console.pgconn.send_query(b"pause postgres")
        await eventually(lambda: dict(paused(one))["postgres"])
        async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
            assert (await handyrep.fence()).outcome is SUCCESS
        assert one.console("show servers") == []
        assert refused(busy)


def new_clients_port(one: Bouncer) -> int:
    with one.connect() as client:
        return port_seen(client)


def paused(one: Bouncer) -> list[tuple[str, bool]]:
    return [(row[0], row[-2] == 1) for row in one.console("show databases")]


async def test_release_puts_back_the_file_and_lets_clients_on_also_after_a_restart(
    pair: Pair, one: Bouncer, tmp_path: Path
) -> None:
    before = one.ini.read_text()
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        assert (await handyrep.fence("test")).outcome is SUCCESS
        assert one.ini.read_text() == before
        assert (await handyrep.fence()).outcome is SUCCESS
        one.stop()
        one.start()
        assert one.leads()["postgres"] == 1
        for _ in range(2):
            released = await handyrep.fence("release")
            assert released.outcome is SUCCESS, released
            assert one.ini.read_text() == before
        with one.connect() as client:
            assert port_seen(client) == pair.master.port


async def test_d1_b6_one_of_two_away_is_no_proof_and_nothing_is_touched(pair: Pair, tmp_path: Path) -> None:
    with bouncer(pair.master.port) as here:
        before = here.ini.read_text()
        with here.connect() as client:
            client.execute("select 1")
            away = here.server("b2", hostname="127.0.0.2")
            async with fenced(pair, here.ini, tmp_path, here.server(), away) as handyrep:
                assert untouched(await handyrep.fence())
            assert here.ini.read_text() == before
            assert port_seen(client) == pair.master.port


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"so_reuseport": "1"}, "so_reuseport"), ({"pool_mode": "session\n[databases]\n* = host=127.0.0.1"}, "'*'")],
)
async def test_what_no_kill_holds_back_is_no_proof(
    pair: Pair, tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with bouncer(pair.master.port, **settings) as it:
        async with fenced(pair, it.ini, tmp_path, it.server()) as handyrep:
            done = await handyrep.fence()
            assert untouched(done)
            assert says in done.details


@pytest.mark.parametrize(("looks", "outcome"), [(3, SUCCESS), (10**6, FAIL)], ids=["it ends", "it stays"])
async def test_a_session_that_is_begun_for_who_logs_in_while_clients_are_held_back_is_given_the_time_to_end(
    pair: Pair, one: Bouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int, outcome: Outcome
) -> None:
    """pgbouncer begins one at each login, also to a name that it holds back, and ends it in its next round: at a host that is off it is seen."""
    real, left = Console.sessions, looks

    async def sessions(self: Console) -> tuple[Row, ...]:
        nonlocal left
        seen = await real(self)
        if (await self.databases())["postgres"].paused and left:
            left -= 1
            seen += ({"database": "postgres", "addr": "127.0.0.1", "port": pair.master.port, "close_needed": 0},)
        return seen

    monkeypatch.setattr(Console, "sessions", sessions)
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        done = await handyrep.fence()
    assert done.outcome is outcome
    assert ("postgres cannot be held back" in done.details) is (outcome is FAIL)


async def test_a_name_of_which_the_look_did_not_know_is_no_proof_and_is_not_killed(
    pair: Pair, one: Bouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file does not hold it back: a pgbouncer that restarts would lead it on."""
    real_sessions, real_kill, killed = Console.sessions, Console.kill, set[str]()

    async def sessions(self: Console) -> tuple[Row, ...]:
        seen = await real_sessions(self)
        row = {"database": "elsewhere", "addr": "192.0.2.1", "port": 1, "close_needed": 0}
        return (*seen, row) if (await self.databases())["postgres"].paused else seen

    async def kill(self: Console, names: Iterable[str]) -> None:
        killed.update(chosen := list(names))
        await real_kill(self, chosen)

    monkeypatch.setattr(Console, "sessions", sessions)
    monkeypatch.setattr(Console, "kill", kill)
    line = f"elsewhere = host=127.0.0.1 port={pair.replica.port}"
    text = one.ini.read_text().replace("[databases]\n", f"[databases]\n{line}\n")
    one.ini.write_text(text)
    one.console("reload")
    async with fenced(pair, one.ini, tmp_path, one.server()) as handyrep:
        done = await handyrep.fence()
    assert (done.outcome, "elsewhere cannot be held back" in done.details, killed) == (FAIL, True, {"postgres"})


async def test_why_it_cannot_be_done_is_told_though_the_clients_are_still_asked_for(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["handyrep.plugins.fence_proxy"]
    real = module.ask

    async def slow(plugin: handyrepplugin, name: str) -> Any:
        await plugin.run_as_login("b1", "sleep", "0.5")
        return await real(plugin, name)

    monkeypatch.setattr(module, "ask", slow)
    with bouncer(pair.master.port, so_reuseport="1") as it:
        async with fenced(pair, it.ini, tmp_path, it.server()) as handyrep:
            done = await handyrep.fence("test")
    assert (done.outcome, "so_reuseport" in done.details) == (FAIL, True)


async def test_b8_d13_only_where_proxies_are_the_only_way(pair: Pair, tmp_path: Path) -> None:
    with bouncer(pair.master.port) as it:
        other = it.server("h1", role="proxy")
        async with fenced(pair, it.ini, tmp_path, it.server(), only=False) as handyrep:
            assert untouched(await handyrep.fence())
        async with fenced(pair, it.ini, tmp_path, it.server(), other) as handyrep:
            assert untouched(await handyrep.fence())
        async with fenced(pair, it.ini, tmp_path) as handyrep:
            assert untouched(await handyrep.fence())
        assert it.leads() == {"postgres": pair.master.port}
