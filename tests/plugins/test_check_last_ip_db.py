"""check_last_ip_db: of HandyReps that race for a real row, one has it; while nobody can read it, nobody gains it."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.postgres import RealDatabases
from handyrep.adapters.status_table import StatusTable
from handyrep.config.settings import Settings
from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from handyrep.ports import Clock, Row
from tests.adapters.postgresql import PostgreSQL, databases, running_postgresql
from tests.factories import make_settings
from tests.plugins.bouncers import cluster_of

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
ROUNDS = 500


class HandClock(SystemClock):
    """Monotonic time that a test moves."""

    moved_s = 0.0

    def monotonic(self) -> float:
        return self.moved_s


class Flaky:
    """The database, until `away` is set."""

    def __init__(self, real: RealDatabases) -> None:
        self.real = real
        self.away = False

    async def query(self, server: Server, statement: str, values: Any = (), **named: Any) -> tuple[Row, ...]:
        if self.away:
            raise NoAnswerError("gone", server=server.name)
        return await self.real.query(server, statement, values, **named)


class Manager:
    """One HandyRep of several."""

    def __init__(
        self, cluster: Cluster, state_dir: Path, clock: Clock | None = None, table: str = "handyrep", **options: str
    ) -> None:
        state_dir.mkdir(exist_ok=True)
        self.cluster = cluster
        self.settings: Settings = make_settings(
            handyrep={"state_dir": str(state_dir), "handyrep_table": table},
            plugins={"check_last_ip_db": {"last_ip_timeout": "60 seconds", **options}},
        )
        self.real = databases()
        self.db = Flaky(self.real)
        world = World(self.settings, RealHosts(), self.db, clock or SystemClock())
        self.caller = Caller(Registry(), world)

    async def asks(self, method: str = "run") -> Result:
        return await self.caller.call(
            Kind.MASTER_CHECK, "check_last_ip_db", method, cluster=self.cluster, deadline_s=20
        )

    async def close(self) -> None:
        await self.real.close()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as running:
        yield running


@pytest.fixture
def cluster(postgresql: PostgreSQL) -> Cluster:
    return cluster_of(postgresql.server("m1", role="master"))


@pytest.fixture
async def sql(postgresql: PostgreSQL, cluster: Cluster) -> AsyncIterator[RealDatabases]:
    db = databases()
    await db.query(postgresql.server(), "drop table if exists handyrep", deadline_s=5)
    await StatusTable(db, make_settings(), 5).create(postgresql.server())
    yield db
    await db.close()


@contextlib.asynccontextmanager
async def managers(cluster: Cluster, folder: Path, count: int, **known: Any) -> AsyncIterator[list[Manager]]:
    made = [Manager(cluster, folder / f"state{number}", **known) for number in range(count)]
    try:
        yield made
    finally:
        for one in made:
            await one.close()


async def do(sql: RealDatabases, cluster: Cluster, statement: str) -> tuple[Row, ...]:
    return await sql.query(cluster.servers[0], statement, deadline_s=10)


async def test_of_three_that_race_exactly_one_wins_each_time(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    stale = (
        "update handyrep set last_holder = null, last_sync = null",
        "update handyrep set last_holder = 'gone', last_sync = now() - interval '61 seconds'",
    )
    async with managers(cluster, tmp_path, 3) as rivals:
        winners = set()
        for round_ in range(ROUNDS):
            await do(sql, cluster, stale[round_ % 2])
            answers = await asyncio.gather(*(rival.asks() for rival in rivals))
            won = [number for number, answer in enumerate(answers) if answer.outcome is SUCCESS]
            assert len(won) == 1, answers
            again = await asyncio.gather(*(rival.asks() for rival in rivals))
            assert [number for number, answer in enumerate(again) if answer.outcome is SUCCESS] == won
            winners |= set(won)
        assert len(winners) > 1


async def test_first_in_wins_and_keeps_it_until_it_stops_asking(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    async with managers(cluster, tmp_path, 2, last_ip_timeout="1 second") as (one, two):
        assert (await one.asks()).outcome is SUCCESS
        for _ in range(12):
            await asyncio.sleep(0.1)
            assert (await one.asks()).outcome is SUCCESS
            refused = await two.asks()
            assert refused.outcome is FAIL
            assert "holds the row, updated 0." in refused.details
        taken = dt.datetime.now(dt.UTC)
        while (await two.asks()).outcome is not SUCCESS:
            assert (dt.datetime.now(dt.UTC) - taken).total_seconds() < 20
            await asyncio.sleep(0.05)
        assert (dt.datetime.now(dt.UTC) - taken).total_seconds() > 0.5
        assert (await one.asks()).outcome is FAIL


async def test_a_handyrep_that_starts_again_is_the_same_one(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    async with managers(cluster, tmp_path, 1) as (one,), managers(cluster, tmp_path, 2) as (again, other):
        assert (await one.asks()).outcome is SUCCESS
        assert (await again.asks()).outcome is SUCCESS
        assert (await other.asks()).outcome is FAIL


async def test_while_nobody_can_read_it_only_the_holder_has_it_and_not_for_long(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    clock = HandClock()
    async with managers(cluster, tmp_path, 2, clock=clock) as (one, two):
        assert (await one.asks()).outcome is SUCCESS
        for rival in (one, two):
            rival.db.away = True
        for moved_s, outcome in ((1.0, SUCCESS), (47.9, SUCCESS), (48.1, FAIL), (61.0, FAIL)):
            clock.moved_s = moved_s
            assert (await one.asks()).outcome is outcome
            assert (await two.asks()).outcome is FAIL


async def test_who_lost_it_does_not_keep_it_in_the_dark(sql: RealDatabases, cluster: Cluster, tmp_path: Path) -> None:
    async with managers(cluster, tmp_path, 2) as (one, two):
        assert (await one.asks()).outcome is SUCCESS
        await do(sql, cluster, "update handyrep set last_sync = now() - interval '2 minutes'")
        assert (await two.asks()).outcome is SUCCESS
        assert (await one.asks()).outcome is FAIL
        one.db.away = True
        assert (await one.asks()).outcome is FAIL


async def test_the_holder_that_could_not_ask_does_not_take_it_back(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    async with managers(cluster, tmp_path, 2) as (one, two):
        await one.asks()
        await do(sql, cluster, "update handyrep set last_sync = now() - interval '2 minutes'")
        await two.asks()
        assert (await one.asks()).outcome is FAIL
        assert (await two.asks()).outcome is SUCCESS


async def test_missing_synchronous_replicas_do_not_hang_it(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path
) -> None:
    await do(sql, cluster, "alter system set synchronous_standby_names = 'nobody_of_that_name'")
    await do(sql, cluster, "select pg_reload_conf(), pg_sleep(0.3)")
    try:
        async with managers(cluster, tmp_path, 1) as (one,):
            assert (await asyncio.wait_for(one.asks(), 5)).outcome is SUCCESS
    finally:
        await do(sql, cluster, "alter system reset synchronous_standby_names")
        await do(sql, cluster, "select pg_reload_conf(), pg_sleep(0.3)")


async def test_a_clock_that_was_set_back_is_told_of(sql: RealDatabases, cluster: Cluster, tmp_path: Path) -> None:
    await do(sql, cluster, "update handyrep set last_holder = 'x', last_ip = 'y', last_sync = now() + interval '1 day'")
    async with managers(cluster, tmp_path, 1) as (one,):
        answer = await one.asks()
    assert answer.outcome is FAIL
    assert "clock was set back" in answer.details


@pytest.mark.parametrize("table", ["gone", 'o"dd %s; drop table handyrep; --', "100%", "a.b"])
async def test_e8_without_its_table_it_fails_and_says_what_to_do(
    sql: RealDatabases, cluster: Cluster, tmp_path: Path, table: str
) -> None:
    async with managers(cluster, tmp_path, 1, table=table) as (one,):
        for method in ("run", "test"):
            answer = await one.asks(method)
            assert answer.outcome is FAIL
            assert "handyrep init-handyrep-db" in answer.details
        await StatusTable(sql, one.settings, 5).create(cluster.servers[0])
        assert (await one.asks()).outcome is SUCCESS
        assert (await one.asks("test")).outcome is SUCCESS
    assert (await do(sql, cluster, "select count(*) as n from handyrep"))[0]["n"] == 1


async def test_e8_without_a_row_it_fails(sql: RealDatabases, cluster: Cluster, tmp_path: Path) -> None:
    await do(sql, cluster, "delete from handyrep")
    async with managers(cluster, tmp_path, 1) as (one,):
        for method in ("run", "test"):
            assert "has no row" in (await one.asks(method)).details


async def test_without_a_master_there_is_no_row(sql: RealDatabases, tmp_path: Path) -> None:
    async with managers(cluster_of(), tmp_path, 1) as (one,):
        for method in ("run", "test"):
            answer = await one.asks(method)
            assert answer.outcome is FAIL
            assert "0 recorded masters" in answer.details


async def test_the_row_shows_people_who_holds_it(sql: RealDatabases, cluster: Cluster, tmp_path: Path) -> None:
    async with managers(cluster, tmp_path, 1) as (one,):
        await one.asks()
    rows = await do(sql, cluster, "select last_ip, last_sync > now() - interval '10 s' as fresh from handyrep")
    assert rows[0]["last_ip"].startswith("127.0.0.1 (")
    assert rows[0]["fresh"] is True
