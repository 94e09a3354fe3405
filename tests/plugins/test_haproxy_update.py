"""haproxy_update on a real HAProxy in front of real PostgreSQLs: nobody stays at an old master, and what cannot go well is refused."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Cluster, Member
from handyrep.model.status import Health
from tests.adapters.ports import free_port
from tests.adapters.postgresql import running_postgresql
from tests.factories import make_member
from tests.plugins.bouncers import Pair, cluster_of, postgres_server
from tests.plugins.haproxies import FOREIGN, TEMPLATE, Haproxy, haproxy, managed, port_seen

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
HEALTHY, LAGGED, UNAVAILABLE = Health.HEALTHY, Health.LAGGED, Health.UNAVAILABLE


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_postgresql() as one, running_postgresql() as two:
        yield Pair(one, two)


@pytest.fixture(scope="module")
def it() -> Iterator[Haproxy]:
    with haproxy() as made:
        yield made


def cluster_in(pair: Pair, it: Haproxy, r1: Health = HEALTHY, in_recovery: Answer = Answer.YES) -> Cluster:
    server = postgres_server(pair.replica, "r1", "replica")
    replica: Member = dataclasses.replace(make_member(server, r1), in_recovery=in_recovery)
    return cluster_of(postgres_server(pair.master, "m1", "master"), replica, it.server())


@pytest.fixture
async def led(pair: Pair, it: Haproxy, tmp_path: Path) -> Haproxy:
    """It leads to m1, and readers to r1."""
    async with managed(cluster_in(pair, it), it, tmp_path) as plugin:
        result = await plugin.call("init")
        assert result.outcome is SUCCESS, result
    return it


async def test_writers_get_to_the_master_and_readers_to_a_replica(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    assert (led.leads_to(), led.leads_to(led.readonly_port)) == (pair.master.port, pair.replica.port)
    assert led.cfg.stat().st_mode & 0o777 == 0o640
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
        for result in [
            await plugin.call("test"),
            await plugin.call("leads"),
            await plugin.call("poll", bouncerserver="h1"),
        ]:
            assert result.outcome is SUCCESS, result


async def test_after_a_failover_no_session_lives_on_at_the_old_master_and_it_is_not_reloaded(
    pair: Pair, led: Haproxy, tmp_path: Path
) -> None:
    workers = led.workers()
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
        with led.connect() as writer, led.connect(led.readonly_port) as reader:
            assert (port_seen(writer), port_seen(reader)) == (pair.master.port, pair.replica.port)
            result = await plugin.call("run", newmaster="r1")
            assert result.outcome is SUCCESS, result
            with pytest.raises(psycopg.Error):
                port_seen(writer)
            assert port_seen(reader) == pair.replica.port
        assert (led.leads_to(), led.workers()) == (pair.replica.port, workers)
    led.stop()
    led.start()
    assert led.leads_to() == pair.replica.port


async def test_sessions_that_an_old_worker_kept_end_too(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    with led.connect() as old, led.connect(led.readonly_port) as reader:
        assert (port_seen(old), port_seen(reader)) == (pair.master.port, pair.replica.port)
        led.reload()
        assert (port_seen(old), port_seen(reader)) == (pair.master.port, pair.replica.port)
        async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
            result = await plugin.call("run", newmaster="r1")
            assert result.outcome is SUCCESS, result
            with pytest.raises(psycopg.Error):
                port_seen(old)
            assert port_seen(reader) == pair.replica.port
            with led.connect() as stays:
                port_seen(stays)
                assert (await plugin.call("run", newmaster="r1")).outcome is SUCCESS
                assert port_seen(stays) == pair.replica.port


@pytest.mark.parametrize("in_recovery", [Answer.YES, Answer.UNKNOWN])
async def test_a_replica_that_lags_gets_no_new_readers_until_it_is_fit(
    pair: Pair, led: Haproxy, tmp_path: Path, in_recovery: Answer
) -> None:
    with led.connect(led.readonly_port) as reader:
        assert port_seen(reader) == pair.replica.port
        async with managed(cluster_in(pair, led, LAGGED, in_recovery), led, tmp_path) as plugin:
            found = await plugin.call("leads")
            assert found.extra["behind"] == {
                "h1": "m1 in handyrep_readers, r1 in handyrep_readers should not get what they get"
            }
            assert (await plugin.call("run")).outcome is SUCCESS
            assert (await plugin.call("leads")).outcome is SUCCESS
        assert led.leads_to(led.readonly_port) == pair.master.port
        if in_recovery is Answer.YES:
            assert port_seen(reader) == pair.replica.port
        else:
            with pytest.raises(psycopg.Error):
                port_seen(reader)
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
        assert (await plugin.call("run")).outcome is SUCCESS
    assert led.leads_to(led.readonly_port) == pair.replica.port


async def test_a_new_server_and_a_new_address_are_learned_by_a_reload(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    before = cluster_in(pair, led)
    other = make_member(postgres_server(pair.replica, "r2", "replica", port=free_port()), UNAVAILABLE)
    moved = make_member(postgres_server(pair.replica, "r1", "replica", client_host="localhost"), HEALTHY)
    cluster = before.with_member(other).with_member(moved)
    async with managed(cluster, led, tmp_path) as plugin:
        assert "r2 in handyrep_master" in (await plugin.call("leads")).extra["behind"]["h1"]
        with led.connect() as writer, led.connect(led.readonly_port) as reader:
            assert (port_seen(writer), port_seen(reader)) == (pair.master.port, pair.replica.port)
            result = await plugin.call("run")
            assert result.outcome is SUCCESS, result
            assert port_seen(writer) == pair.master.port, "it was where it belongs"
            with pytest.raises(psycopg.Error):
                port_seen(reader)
        assert led.leads_to(led.readonly_port) == pair.replica.port


async def test_blocked_nobody_gets_anywhere_also_after_a_restart(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
        with led.connect() as writer:
            port_seen(writer)
            assert (await plugin.call("block")).outcome is SUCCESS
            with pytest.raises(psycopg.Error):
                port_seen(writer)
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                led.leads_to()
            led.stop()
            led.start()
        assert (await plugin.call("unblock")).outcome is SUCCESS
    assert led.leads_to() == pair.master.port


async def test_its_footprint_tells_of_clients_that_are_held_back_and_take_back_lets_them_on(
    pair: Pair, led: Haproxy, tmp_path: Path
) -> None:
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:

        async def traces(servername: str) -> list[str]:
            told = await plugin.call("footprint", servername=servername)
            return [trace["name"] for trace in told.extra["traces"]]

        assert (await traces("h1"), await traces("m1")) == (["haproxy.cfg"], [])
        before = led.cfg.stat().st_ino
        assert (await plugin.call("take_back", servername="h1")).outcome is SUCCESS
        assert led.cfg.stat().st_ino == before
        await plugin.call("block")
        assert await traces("h1") == ["haproxy.cfg", "held clients"]
        assert (await plugin.call("take_back", servername="h1")).outcome is SUCCESS
        assert await traces("h1") == ["haproxy.cfg"]
    assert led.leads_to() == pair.master.port


async def test_poll_tells_when_nobody_gets_through(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    dead = make_member(postgres_server(pair.replica, "r1", "replica", port=free_port()), HEALTHY)
    async with managed(cluster_in(pair, led).with_member(dead), led, tmp_path) as plugin:
        assert (await plugin.call("run", newmaster="r1")).outcome is SUCCESS
        polled = await plugin.call("poll", bouncerserver=None)
        assert (polled.outcome, dict(polled.extra["servers"])) == (FAIL, {"h1": False})


async def test_one_that_does_not_run_gets_its_file_and_comes_up_right(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
        led.stop()
        try:
            result = await plugin.call("run", newmaster="r1")
            assert result.outcome is UNCERTAIN, result
            assert (await plugin.call("test")).outcome is FAIL
            assert (await plugin.call("poll", bouncerserver="h1")).outcome is FAIL
            assert "behind" not in (await plugin.call("leads")).extra
        finally:
            led.start()
    assert led.leads_to() == pair.replica.port


@pytest.mark.parametrize("told_anew", ["another server", "another setting"])
async def test_one_that_hangs_is_not_waited_for_long_and_reads_its_file_when_it_goes_on(
    pair: Pair, led: Haproxy, tmp_path: Path, told_anew: str
) -> None:
    workers, cluster, template = led.workers(), cluster_in(pair, led), TEMPLATE
    if told_anew == "another server":
        cluster = cluster.with_member(make_member(postgres_server(pair.replica, "r3", "replica", port=free_port())))
    else:
        template = TEMPLATE.replace("client 1h", "client 2h")
    assert led.process is not None
    async with managed(cluster, led, tmp_path, template) as plugin:
        os.killpg(led.process.pid, signal.SIGSTOP)
        try:
            result = await plugin.call("run", newmaster="r1", deadline_s=1.0)
        finally:
            os.killpg(led.process.pid, signal.SIGCONT)
        assert result.outcome is UNCERTAIN, result
        if told_anew == "another setting":
            assert (await plugin.call("run", newmaster="r1")).outcome is SUCCESS
    async with managed(cluster, led, tmp_path, template) as restarted:
        assert (await restarted.call("run", newmaster="r1")).outcome is SUCCESS
    assert led.workers() != workers


async def test_a_socket_that_only_lets_look_is_a_fail(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    led.stop()
    led.start("operator")
    try:
        async with managed(cluster_in(pair, led), led, tmp_path) as plugin:
            result = await plugin.call("run", newmaster="r1")
    finally:
        led.stop()
        led.start()
    assert result.outcome is FAIL, result
    assert "Permission denied" in result.details


TEMPLATES = {
    "none that can be read": ("", "is not to be read in"),
    "with an error": ("{{ nothing }}", "'nothing' is undefined"),
    "empty": (" ", "is not as planned for m1 in handyrep_master"),
    "a word that HAProxy does not know": (TEMPLATE + "    nonsense here\n", "unknown keyword 'nonsense'"),
    "another server in a section": (TEMPLATE + "    server mine 127.0.0.1:1\n", "is not as planned for mine"),
    "a server of the cluster elsewhere": (TEMPLATE + "listen x\n    server y 127.0.0.1:MASTER\n", "would still do so after"),
    "who decides otherwise": (TEMPLATE + "    use-server m1 if TRUE\n", "past the plan"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
async def test_what_cannot_go_well_is_refused_before_anything_is_pushed(
    pair: Pair, led: Haproxy, tmp_path: Path, name: str
) -> None:
    template, why = TEMPLATES[name]
    before, facts = led.cfg.read_bytes(), led.cfg.stat()
    if not template:
        (tmp_path / "haproxy.cfg.j2").unlink()
        (tmp_path / "haproxy.cfg.j2").write_bytes(b"\xff")
    template = template.replace("MASTER", str(pair.master.port))
    async with managed(cluster_in(pair, led), led, tmp_path, template) as plugin:
        for result in [await plugin.call("run", newmaster="r1"), await plugin.call("init"), await plugin.call("test")]:
            assert result.outcome is FAIL
            assert why in result.details
    assert (led.cfg.read_bytes(), led.cfg.stat().st_ino) == (before, facts.st_ino)
    assert led.leads_to() == pair.master.port


async def test_handyreps_own_template_overwrites_no_file_of_somebody_else(
    pair: Pair, led: Haproxy, tmp_path: Path
) -> None:
    led.cfg.write_text(FOREIGN)
    (tmp_path / "haproxy.cfg.j2").unlink()
    async with managed(cluster_in(pair, led), led, tmp_path, template="") as plugin:
        result = await plugin.call("run", newmaster="r1")
    assert result.outcome is FAIL
    assert "was not written by HandyRep" in result.details
    assert led.cfg.read_text() == FOREIGN
    assert led.leads_to() == pair.master.port


async def test_handyreps_own_template_leads_and_lets_haproxy_look_too(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    own = (files("handyrep") / "templates" / "haproxy.cfg.j2").read_text(encoding="utf-8")
    users = "    user haproxy\n    group haproxy\n"
    assert users in own
    async with managed(cluster_in(pair, led), led, tmp_path, own.replace(users, "")) as plugin:
        assert (await plugin.call("init")).outcome is SUCCESS
        led.reload()
        result = await plugin.call("run", newmaster="r1")
        assert result.outcome is SUCCESS, result
    assert led.leads_to() == pair.replica.port


async def test_a_reload_that_fails_is_no_success_and_clients_are_led_all_the_same(
    pair: Pair, led: Haproxy, tmp_path: Path
) -> None:
    """Its check of the file finds nothing wrong; only as it starts it finds that there are not so many files to be opened."""
    async with managed(cluster_in(pair, led), led, tmp_path, "global\n    maxconn 9999999\n" + TEMPLATE) as plugin:
        result = await plugin.call("run", newmaster="r1")
    assert result.outcome is FAIL, result
    assert "it has not read its new file" in result.details
    assert led.leads_to() == pair.replica.port


async def test_a_host_without_what_it_takes_is_told_of(pair: Pair, led: Haproxy, tmp_path: Path) -> None:
    cluster = cluster_in(pair, led)
    for options, why in (
        ({"haproxybin": "/nonexistent/haproxy"}, "/nonexistent/haproxy is not there"),
        ({"readers_section": "handyrep_master"}, "must be two"),
        ({"master_socket": "/x,y"}, "cannot be told to socat"),
    ):
        async with managed(cluster, led, tmp_path, **options) as plugin:
            for method in ("run", "test"):
                result = await plugin.call(method)
                assert result.outcome is FAIL
                assert why in result.details
    async with managed(cluster_of(*cluster.replicas, cluster.members["m1"]), led, tmp_path) as plugin:
        assert (await plugin.call("run")).outcome is SUCCESS
        assert (await plugin.call("init", bouncerserver="h9")).outcome is FAIL
