"""Bugs of the HandyRep of 2014 that the adapters make impossible; numbers as in the list of bugs."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.postgres import RealDatabases
from handyrep.adapters.store import StateFile
from handyrep.errors import DatabaseError, HandyRepError, HostKeyError, NoAnswerError, StateError
from handyrep.ports import Command
from tests.adapters.postgresql import PASSWORD, PostgreSQL, databases, running_postgresql
from tests.adapters.silent import silent_server
from tests.adapters.sshd import Sshd, running_sshd
from tests.adapters.ways import real_hosts

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def sshds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Sshd]]:
    """Two hosts."""
    with running_sshd(tmp_path_factory.mktemp("a")) as one, running_sshd(tmp_path_factory.mktemp("b")) as two:
        yield one, two


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL."""
    with running_postgresql() as running:
        yield running


@pytest.fixture
async def hosts() -> AsyncIterator[RealHosts]:
    """The adapter for commands."""
    async with real_hosts() as made:
        yield made


@pytest.fixture
async def db() -> AsyncIterator[RealDatabases]:
    """The adapter for SQL."""
    made = databases()
    yield made
    await made.close()


async def test_hr_04_a_failing_query_is_an_error_and_never_a_value(db: RealDatabases, postgresql: PostgreSQL) -> None:
    """It was None, and None was read as 'not in recovery': a master."""
    asked = "select pg_is_in_recovery() as r"
    assert await db.query(postgresql.server(), asked, deadline_s=DEADLINE_S) == ({"r": False},)
    with pytest.raises(DatabaseError):
        await db.query(postgresql.server(), "select pg_is_in_recovery_misspelt() as r", deadline_s=DEADLINE_S)
    with pytest.raises(DatabaseError):
        await db.query(postgresql.server(), asked, deadline_s=DEADLINE_S, database="missing")
    with pytest.raises(NoAnswerError):
        await db.query(postgresql.server(port=1), asked, deadline_s=DEADLINE_S)
    with pytest.raises(NoAnswerError):
        await db.query(postgresql.server(), asked + ", pg_sleep(9)", deadline_s=0.2)


async def test_hr_26_an_exit_status_is_never_lost(hosts: RealHosts, sshds: tuple[Sshd, Sshd]) -> None:
    """run_local never failed, and a missing program counted as success."""
    for server in (sshds[0].server(), sshds[0].server(control="local")):
        for status in (0, 1, 2, 77, 255):
            answer = await hosts.run(server, Command(("sh", "-c", f"exit {status}")), deadline_s=DEADLINE_S)
            assert answer.exit_status == status
        missing = await hosts.run(server, Command(("pg_isready_that_is_missing",)), deadline_s=DEADLINE_S)
        assert missing.exit_status == 127
    here = await hosts.run_here(Command(("false",)), deadline_s=DEADLINE_S)
    assert here.exit_status == 1


async def test_hr_28_one_host_that_hangs_stalls_nobody(
    hosts: RealHosts, db: RealDatabases, sshds: tuple[Sshd, Sshd], postgresql: PostgreSQL
) -> None:
    """There was no time limit anywhere."""
    async with silent_server() as port:
        started = time.monotonic()
        hanging = [
            asyncio.create_task(hosts.run(sshds[0].server("hung", ssh_port=port), Command(("true",)), deadline_s=1.5)),
            asyncio.create_task(db.query(postgresql.server("hung", port=port), "select 1", deadline_s=1.5)),
            asyncio.create_task(hosts.run(sshds[0].server(), Command(("sleep", "60")), deadline_s=1.5)),
            asyncio.create_task(hosts.run_here(Command(("sleep", "60")), deadline_s=1.5)),
            asyncio.create_task(db.query(postgresql.server(), "select pg_sleep(60)", deadline_s=1.5)),
        ]
        for _ in range(5):
            assert (await hosts.run(sshds[1].server("two"), Command(("true",)), deadline_s=1)).exit_status == 0
            assert await db.query(postgresql.server(), "select 1 as n", deadline_s=1) == ({"n": 1},)
        assert not any(task.done() for task in hanging), "the others were answered while these hung"
        answers = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(answer, NoAnswerError) for answer in answers)
        assert time.monotonic() - started < 10


def test_hr_29_a_state_file_is_replaced_whole_and_never_read_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was emptied and then filled; unreadable, it was 'none', and the old master of the configuration was trusted again."""
    path = tmp_path / "servers.save"
    StateFile(path).save({"master": "old"})

    def die(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", die)
        with pytest.raises(StateError):
            StateFile(path).save({"master": "new"})
    assert StateFile(path).load() == {"master": "old"}
    path.write_text("{'master': ")
    with pytest.raises(StateError, match="cannot be read"):
        StateFile(path).load()


async def test_h2_hr_41_a_hundred_commands_at_once_each_answer_for_their_own_host(
    hosts: RealHosts, sshds: tuple[Sshd, Sshd]
) -> None:
    """The SSH target was a global: a stop meant for one host ran on another."""
    servers = [sshds[0].server("a"), sshds[1].server("b"), sshds[0].server("c"), sshds[1].server("d", control="local")]
    script = 'sleep 0.0$1; echo "$2"; exit $1'

    async def one(number: int) -> None:
        server = servers[number % 4]
        word = f"{server.name}-{number}"
        answer = await hosts.run(
            server, Command(("sh", "-c", script, "sh", str(number % 10), word)), deadline_s=DEADLINE_S
        )
        assert answer.exit_status == number % 10
        assert answer.stdout == f"{word}\n"

    await asyncio.gather(*(one(number) for number in range(100)))


async def test_h2_hr_41_each_server_is_reached_at_its_own_address(hosts: RealHosts, sshds: tuple[Sshd, Sshd]) -> None:
    """The command itself tells through which sshd it came: its shell's parent's parent listens on that port."""
    walk = 'p=$$; while [ "$p" -gt 1 ]; do echo "$p"; p=$(ps -o ppid= -p "$p" | tr -d " "); done'
    named = [(f"s{n}", sshds[n % 2]) for n in range(20)]
    asked = (hosts.run(sshd.server(name), Command(("sh", "-c", walk)), deadline_s=DEADLINE_S) for name, sshd in named)
    for (_, sshd), answer in zip(named, await asyncio.gather(*asked), strict=True):
        assert str(sshd.process.pid) in answer.stdout.split()


async def test_hr_64_no_password_in_errors_logs_or_arguments(
    db: RealDatabases, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole connection string went to the log and into exceptions."""
    caplog.set_level(0)
    running = asyncio.create_task(db.query(postgresql.server(), "select pg_sleep(0.5)", deadline_s=DEADLINE_S))
    await asyncio.sleep(0.2)
    arguments = all_arguments()
    await running
    told = [arguments, caplog.text, repr(db), repr(vars(db))]
    for server in (postgresql.server(port=1), postgresql.server(hostname="no-such-host.invalid"), postgresql.server()):
        with pytest.raises(HandyRepError) as caught:
            await db.query(server, "select %s::int", (PASSWORD,), deadline_s=DEADLINE_S)
        told += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    assert not [text for text in told if "canary" in text]


def all_arguments() -> str:
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout


async def test_hr_65_a_host_without_a_known_key_is_not_talked_to(
    hosts: RealHosts, sshds: tuple[Sshd, Sshd], tmp_path: Path
) -> None:
    """Checking host keys was switched off."""
    one, two = sshds
    canary = tmp_path / "canary"
    with pytest.raises(HostKeyError):
        await hosts.run(
            one.server(known_hosts=str(two.known_hosts)), Command(("touch", str(canary))), deadline_s=DEADLINE_S
        )
    assert not canary.exists()
    answer = await hosts.run(one.server(), Command(("touch", str(canary))), deadline_s=DEADLINE_S)
    assert answer.exit_status == 0
    assert canary.exists()


async def test_hr_67_names_are_never_syntax(hosts: RealHosts, sshds: tuple[Sshd, Sshd], tmp_path: Path) -> None:
    """Commands were lines for a shell, put together from names."""
    canary = tmp_path / "canary"
    names = [
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"x; touch {canary} #",
        f"x\ntouch {canary}",
        f"'\"; touch {canary}; '\"",
    ]
    for server in (sshds[0].server(), sshds[0].server(control="local")):
        for name in names:
            answer = await hosts.run(server, Command(("ls", "-d", "--", name)), deadline_s=DEADLINE_S)
            assert answer.exit_status == 2
    assert not canary.exists()
