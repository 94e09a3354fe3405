"""poll_connect and poll_isready: alive, alive but not letting us in, and no answer are three different things."""

import shutil
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handyrep.config.settings import FailoverSettings
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import FakeClock, FakeWorld, example_cluster, hanging, refusing
from handyrep.plugin_api.registry import Registry
from handyrep.plugins import poll_isready
from handyrep.ports import Command, Ran
from tests.factories import make_settings
from tests.plugins.pair import Estate, Node, plugins, programs, until

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
POLLS = ("poll_connect", "poll_isready")


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    return house.master("m1", "max_connections = 10", "superuser_reserved_connections = 3")


async def poll(name: str, node: Node, method: str = "run", **known: Any) -> Result:
    options = {"poll_isready": {"isready_path": known.pop("isready_path", str(programs() / "pg_isready"))}}
    server = node.server("master", **known.pop("changes", {}))
    async with plugins(server, options=options, **known) as called:
        arguments = {"servername": node.name} if method == "run" else {}
        return await called.call(Kind.POLL, name, method, **arguments)


@pytest.mark.parametrize("name", POLLS)
async def test_a_living_server_is_alive(name: str, m1: Node) -> None:
    seen = await poll(name, m1)
    assert (seen.outcome, seen.extra["alive"]) == (SUCCESS, True)


@pytest.mark.parametrize("name", POLLS)
async def test_a_stopped_server_gives_no_answer_and_no_word_of_life(name: str, house: Estate) -> None:
    seen = await poll(name, house.node("nobody"))
    assert (seen.outcome, "alive" in seen.extra) == (FAIL, False)


async def test_a21_a_wrong_password_is_an_answer(m1: Node) -> None:
    m1.sql("alter role handyrep password 'another'")
    try:
        seen = await poll("poll_connect", m1)
    finally:
        m1.sql("alter role handyrep password 'canary-ours'")
    assert (seen.outcome, seen.extra["alive"]) == (FAIL, True)
    assert "password" in seen.details
    assert "canary" not in seen.details


def filled(where: str, crowd: list[psycopg.Connection[Any]]) -> None:
    """Connect until there is no room left."""
    for _ in range(100):
        try:
            crowd.append(psycopg.connect(where))
        except psycopg.OperationalError:
            return
    pytest.fail("there is room for a hundred")


@pytest.mark.parametrize(("name", "outcome"), [("poll_connect", FAIL), ("poll_isready", SUCCESS)])
async def test_a13_too_many_clients_is_life(name: str, outcome: Outcome, m1: Node) -> None:
    """pg_isready calls it accepting: PostgreSQL counts its sessions after that. Either way it is alive."""
    where = f"host={m1.folder} port={m1.port} user=postgres dbname=postgres"
    crowd: list[psycopg.Connection[Any]] = []
    try:
        filled(where, crowd)
        seen = await poll(name, m1)
    finally:
        for one in crowd:
            one.close()
    assert seen.extra["alive"] is True
    assert seen.outcome is outcome
    until(lambda: len(m1.sql("select 1 from pg_stat_activity where backend_type = 'client backend'")) == 1, m1)


@pytest.mark.parametrize("name", POLLS)
async def test_a_port_that_accepts_and_says_nothing_is_no_life(name: str, house: Estate) -> None:
    """A hung host, or a firewall that answers for it."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        node = Node("m1", house.folder, mute.getsockname()[1])
        seen = await poll(name, node, failover={"call_timeout": 1.0, "fail_retries": 1})
    assert (seen.outcome, "alive" in seen.extra) == (FAIL, False)


async def test_its_session_is_a_new_one_and_is_over_at_once(m1: Node) -> None:
    assert (await poll("poll_connect", m1)).outcome is SUCCESS
    until(lambda: not m1.sql("select 1 from pg_stat_activity where usename = 'handyrep'"), m1)


@pytest.mark.parametrize("name", POLLS)
async def test_its_test_fails_where_it_could_not_work(name: str, m1: Node, house: Estate) -> None:
    well, ill = await poll(name, m1, "test"), await poll(name, house.node("nobody"), "test")
    assert well.outcome is SUCCESS
    assert ill.outcome is (FAIL if name == "poll_connect" else SUCCESS)


async def test_a_pg_isready_that_cannot_be_used_knows_nothing(m1: Node) -> None:
    seen = await poll("poll_isready", m1, isready_path="/nowhere/pg_isready")
    assert (seen.outcome, "alive" in seen.extra) == (FAIL, False)


@pytest.mark.parametrize("path", ["/nowhere/pg_isready", "/bin/false", "/bin/true"])
async def test_a24_its_test_finds_out_a_program_that_is_not_pg_isready(path: str, m1: Node) -> None:
    """/bin/true would call every server alive for ever."""
    told = await poll("poll_isready", m1, "test", isready_path=path)
    assert (told.outcome, path in told.details) == (FAIL, True)


def exits(status: int) -> FakeWorld:
    world = refusing()

    async def ended(_: object, __: Command, ___: float) -> Ran:
        return Ran(status, f"ended with {status}", "")

    world.on_command = ended
    return world


async def polled(name: str, world: FakeWorld, **failover: Any) -> Result:
    """With an imagined world, and failover directives."""
    options = {"poll_isready": {"isready_path": "/usr/bin/pg_isready"}}
    settings = make_settings(plugins=options, failover=FailoverSettings(**failover))
    around = World(settings, world, world, FakeClock())
    arguments = {"servername": "m1"}
    return await Caller(Registry(), around).call(
        Kind.POLL, name, "run", arguments, cluster=example_cluster(), deadline_s=20
    )


@pytest.mark.parametrize(
    ("status", "outcome", "alive", "asked"),
    [(0, SUCCESS, True, 1), (1, FAIL, True, 1), (2, FAIL, None, 4), (3, FAIL, None, 1), (127, FAIL, None, 1)],
)
async def test_what_the_exit_codes_of_pg_isready_mean(
    status: int, outcome: Outcome, alive: bool | None, asked: int
) -> None:
    world = exits(status)
    seen = await polled("poll_isready", world, fail_retries=3)
    assert (seen.outcome, seen.extra.get("alive"), len(world.asked)) == (outcome, alive, asked)


@pytest.mark.parametrize("name", POLLS)
@pytest.mark.parametrize("retries", [0, 2])
async def test_only_no_answer_is_asked_again_as_often_as_fail_retries_says(name: str, retries: int) -> None:
    world = refusing()
    seen = await polled(name, world, fail_retries=retries)
    assert (seen.outcome, len(world.asked)) == (FAIL, retries + 1)


@pytest.mark.parametrize("name", POLLS)
async def test_no_attempt_lasts_longer_than_call_timeout(name: str) -> None:
    world = hanging()
    seen = await polled(name, world, fail_retries=2, call_timeout=0.05)
    assert (seen.outcome, len(world.asked)) == (FAIL, 3)


async def test_blank_isready_path_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = made(tmp_path / "pg_isready")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("pg_isready") == str(program)
    assert await taken() == str(program)


async def test_debians_wrapper_is_left_for_the_newest_program_that_it_would_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    debian, wrapper = tmp_path / "postgresql", made(tmp_path / "pg_wrapper")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_isready").symlink_to(wrapper)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(poll_isready, "_DEBIAN", debian)
    assert await taken() == str(tmp_path / "bin" / "pg_isready"), "there is nothing else"
    for version in ("9.6", "15", "16"):
        (debian / version / "bin").mkdir(parents=True)
        made(debian / version / "bin" / "pg_isready")
    assert await taken() == str(debian / "16" / "bin" / "pg_isready")


def made(program: Path) -> Path:
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return program


async def taken() -> str:
    """The program that a poll runs."""
    world = exits(0)
    around = World(make_settings(), world, world, FakeClock())
    await Caller(Registry(), around).call(
        Kind.POLL, "poll_isready", "run", {"servername": "m1"}, cluster=example_cluster(), deadline_s=20
    )
    assert isinstance(world.asked[0][1], Command)
    return world.asked[0][1].argv[0]
