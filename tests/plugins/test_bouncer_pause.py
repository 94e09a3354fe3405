"""A switchover pauses the pgbouncers: no client loses its session or its transaction, and if one does not end, all go on."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from handyrep.config.settings import FailoverSettings
from handyrep.model.answer import Outcome
from handyrep.plugins._bouncer_before import longest_failover_s
from tests.plugins.bouncers import (
    TEMPLATE,
    Bouncer,
    Managed,
    Pair,
    bouncer,
    cluster_of,
    cluster_with,
    managed,
    port_seen,
)

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN


@pytest.fixture
def pooled(pair: Pair) -> Iterator[Bouncer]:
    with bouncer(pair.master.port, pool_mode="transaction") as made:
        yield made


@pytest.fixture
async def plugin(pair: Pair, pooled: Bouncer, tmp_path: Path) -> AsyncIterator[Managed]:
    async with managed(cluster_with(pair, pooled), pooled.ini, tmp_path) as made:
        yield made


async def test_a_transaction_comes_to_its_end_and_the_next_one_goes_to_the_new_master(
    plugin: Managed, pair: Pair, pooled: Bouncer
) -> None:
    with pooled.connect() as busy, pooled.connect() as idle:
        busy.execute("begin")
        assert (port_seen(busy), port_seen(idle)) == (pair.master.port, pair.master.port)
        pausing = asyncio.create_task(plugin.call("pause"))
        await asyncio.to_thread(_wait_until_paused, pooled)
        assert not pausing.done()
        assert port_seen(busy) == pair.master.port
        waiting = asyncio.create_task(asyncio.to_thread(port_seen, idle))
        busy.execute("commit")
        paused = await pausing
        assert paused.outcome is SUCCESS, paused
        assert pooled.console("show servers") == []
        assert (await plugin.call("pause")).outcome is SUCCESS
        assert not waiting.done()
        assert (await plugin.call("run", newmaster="r1")).outcome is SUCCESS
        assert await waiting == pair.replica.port
        assert port_seen(busy) == pair.replica.port


def _wait_until_paused(it: Bouncer, name: str = "postgres") -> None:
    end = time.monotonic() + 20
    while (name, 1) not in {(row[0], row[-2]) for row in it.console("show databases")}:
        assert time.monotonic() < end
        time.sleep(0.02)


async def test_work_that_does_not_end_is_told_and_all_go_on(pair: Pair, one: Bouncer, tmp_path: Path) -> None:
    before = one.ini.read_bytes()
    with one.connect() as busy:
        busy.execute("begin")
        async with managed(cluster_with(pair, one), one.ini, tmp_path) as plugin:
            result = await plugin.call("pause", deadline_s=3.0)
        assert result.outcome is FAIL, result
        assert "work of postgres did not end within" in result.details
        assert "all go on as before" in result.details
        assert port_seen(busy) == pair.master.port
        busy.execute("commit")
        with one.connect() as new:
            assert port_seen(new) == pair.master.port
    assert one.ini.read_bytes() == before


async def test_unpaused_they_go_on_where_they_were(plugin: Managed, pair: Pair, pooled: Bouncer) -> None:
    before = pooled.ini.read_bytes()
    with pooled.connect() as client:
        port_seen(client)
        assert (await plugin.call("pause")).outcome is SUCCESS
        assert pooled.ini.read_bytes() != before
        assert (await plugin.call("unblock")).outcome is SUCCESS
        assert port_seen(client) == pair.master.port
    assert pooled.ini.read_bytes() == before


async def test_a_pgbouncer_that_is_restarted_while_it_is_paused_leads_nobody_to_the_old_master(
    plugin: Managed, pooled: Bouncer
) -> None:
    assert (await plugin.call("pause")).outcome is SUCCESS
    pooled.stop()
    pooled.start()
    assert pooled.leads()["postgres"] == 1


async def test_one_of_two_that_cannot_be_paused_lets_the_other_go_on(
    pair: Pair, pooled: Bouncer, tmp_path: Path
) -> None:
    away = pooled.server("b2", hostname="127.0.0.2")
    cluster = cluster_of(*cluster_with(pair, pooled).members.values(), away)
    async with managed(cluster, pooled.ini, tmp_path) as plugin:
        result = await plugin.call("pause", deadline_s=5.0)
    assert result.outcome is UNCERTAIN, result
    assert result.extra["each"] == {"b1": "SUCCESS", "b2": "UNCERTAIN"}
    with pooled.connect() as client:
        assert port_seen(client) == pair.master.port


async def test_d11_a_pgbouncer_that_gives_clients_up_before_a_failover_can_be_over_is_told_of(
    pair: Pair, pooled: Bouncer, tmp_path: Path
) -> None:
    async def warnings(wait: str) -> list[str]:
        template = TEMPLATE + f"query_wait_timeout = {wait}\n"
        async with managed(cluster_with(pair, pooled), pooled.ini, tmp_path, template=template) as plugin:
            assert (await plugin.call("init")).outcome is SUCCESS
            tested = await plugin.call("test")
        assert tested.outcome is SUCCESS
        return list(tested.extra["warnings"])

    longest_s = longest_failover_s(FailoverSettings())
    (warning,) = await warnings("120")
    assert warning.startswith("b1: it gives up clients that wait for 120 s (query_wait_timeout)")
    assert f"a failover may take {longest_s:.0f} s" in warning
    for enough in ("0", str(int(longest_s) + 1), "{{ longest_failover_s }}"):
        assert await warnings(enough) == []


def test_the_longest_failover_is_the_sum_of_what_each_part_may_take() -> None:
    failover = FailoverSettings(
        fence_methods=("a", "b"), fence_timeout=10.0, promote_timeout=200.0, start_timeout=3000.0,
        poll_interval=0.5, fail_retries=0, call_timeout=0.25,
    )  # fmt: skip
    assert longest_failover_s(failover) == 3220.75


async def test_a_template_may_tell_one_pgbouncer_from_another(pair: Pair, pooled: Bouncer, tmp_path: Path) -> None:
    template = TEMPLATE.replace("= transaction", "= {{ 'session' if bouncer == 'b1' else 'transaction' }}")
    async with managed(cluster_with(pair, pooled), pooled.ini, tmp_path, template=template) as plugin:
        assert (await plugin.call()).outcome is SUCCESS
    assert "pool_mode = session" in pooled.ini.read_text()


async def test_handyreps_own_template_is_taken_and_gives_nobody_up(pair: Pair, pooled: Bouncer, tmp_path: Path) -> None:
    template = (files("handyrep") / "templates" / "pgbouncer.ini.j2").read_text(encoding="utf-8")
    for folder in ("/var/log/postgresql", "/var/run/postgresql"):
        assert folder in template
        template = template.replace(folder, "{{ folder }}")
    async with managed(cluster_with(pair, pooled), pooled.ini, tmp_path, template=template) as plugin:
        assert (await plugin.call()).outcome is SUCCESS
        tested = await plugin.call("test")
    assert (tested.outcome, [one for one in tested.extra["warnings"] if "query_wait_timeout" in one]) == (SUCCESS, [])


async def test_that_session_pooling_cannot_be_paused_while_clients_stay_is_said_before(
    pair: Pair, pooled: Bouncer, tmp_path: Path
) -> None:
    async def warnings(mode: str) -> list[str]:
        template = TEMPLATE.replace("pool_mode = transaction", f"pool_mode = {mode}")
        async with managed(cluster_with(pair, pooled), pooled.ini, tmp_path, template=template) as plugin:
            assert (await plugin.call("init")).outcome is SUCCESS
            return [one for one in (await plugin.call("test")).extra["warnings"] if "pool_mode" in one]

    (warning,) = await warnings("session")
    assert "keep their session (pool_mode = session): a switchover waits for them to leave" in warning
    assert await warnings("transaction") == []


async def test_nobody_who_writes_waits_for_the_work_of_a_reader(plugin: Managed, pair: Pair, pooled: Bouncer) -> None:
    """A report may take its time: until it has come to its end, writers go on."""
    assert (await plugin.call("run", newmaster="m1")).outcome is SUCCESS
    assert pooled.leads()["postgres_ro"] == pair.replica.port
    with pooled.connect(dbname="postgres_ro") as report, pooled.connect() as writer:
        report.execute("begin")
        assert port_seen(report) == pair.replica.port
        pausing = asyncio.create_task(plugin.call("pause"))
        await asyncio.to_thread(_wait_until_paused, pooled, "postgres_ro")
        assert await asyncio.to_thread(port_seen, writer) == pair.master.port
        report.execute("commit")
        assert (await pausing).outcome is SUCCESS
    assert {row[0] for row in pooled.console("show databases") if row[-2] == 1} >= {"postgres", "postgres_ro"}
