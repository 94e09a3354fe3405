"""What a command gets and gives back is the same on every way: over SSH and here, with sudo and without."""

import asyncio
import contextlib
import gc
import secrets
import time
import warnings

import pytest

from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.local import run_local
from handyrep.adapters.output import KEPT_BYTES
from handyrep.errors import NoAnswerError, RefusedError
from handyrep.ports import Command
from tests.adapters.sshd import Sshd
from tests.adapters.ways import DEADLINE_S, PLAIN, WAYS, as_postgres, ran, real_hosts, server_of

HUGE_BYTES = 100_000_000


@pytest.mark.parametrize("way", WAYS)
async def test_status_and_both_outputs_come_back_apart(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres("sh", "-c", "echo out; echo err >&2; exit 3"))
    assert (answer.exit_status, answer.stdout, answer.stderr, answer.cut) == (3, "out\n", "err\n", False)


@pytest.mark.parametrize("way", WAYS)
async def test_no_output_is_empty_output(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres("true"))
    assert (answer.exit_status, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("way", WAYS)
async def test_output_without_a_last_newline_stays_so(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres("printf", "\\na\\n\\nb"))
    assert answer.stdout == "\na\n\nb"


@pytest.mark.parametrize("way", WAYS)
async def test_a_missing_program_is_an_answer_127(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres("no-such-program-anywhere", "x"))
    assert answer.exit_status == 127
    assert "no-such-program-anywhere" in answer.stderr


@pytest.mark.parametrize("word", ["exit", "exec", "eval", "return", "trap", "set", ".", ":"])
@pytest.mark.parametrize("way", PLAIN)
async def test_a_word_of_the_shell_is_no_program(sshd: Sshd, way: str, word: str) -> None:
    async with real_hosts() as hosts:
        answer = await hosts.run(server_of(way, sshd), Command((word, "0")), deadline_s=DEADLINE_S)
        after = await hosts.run(server_of(way, sshd), Command(("echo", "still here")), deadline_s=DEADLINE_S)
    assert answer.exit_status in (126, 127)
    assert after.stdout == "still here\n"


@pytest.mark.parametrize("way", PLAIN)
async def test_death_by_a_signal_is_128_and_its_number(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), Command(("sh", "-c", "kill -TERM $$")))
    assert answer.exit_status == 128 + 15


@pytest.mark.parametrize("way", WAYS)
async def test_a19_bytes_that_are_no_text_do_not_hurt(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres("printf", "a\\377\\000b"))
    assert answer.stdout == "a\ufffd\0b"


@pytest.mark.parametrize("way", WAYS)
async def test_input_arrives_byte_for_byte(sshd: Sshd, way: str) -> None:
    data = bytes(range(256)) * 3 + b"\n"
    answer = await ran(server_of(way, sshd), as_postgres("od", "-An", "-v", "-tx1", stdin=data))
    assert bytes.fromhex(answer.stdout.replace("\n", "")) == data


@pytest.mark.parametrize("way", PLAIN)
async def test_much_input_arrives_whole(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), Command(("wc", "-c"), stdin=b"x" * 3_000_000))
    assert answer.stdout.strip() == "3000000"


@pytest.mark.parametrize("way", PLAIN)
async def test_a_command_that_ignores_its_input_still_answers(sshd: Sshd, way: str) -> None:
    answer = await ran(server_of(way, sshd), Command(("true",), stdin=b"x" * 1_000_000))
    assert answer.exit_status == 0


@pytest.mark.parametrize("way", WAYS)
async def test_without_input_a_command_reads_the_end_at_once(sshd: Sshd, way: str) -> None:
    async with real_hosts() as hosts:
        answer = await hosts.run(server_of(way, sshd), as_postgres("cat"), deadline_s=DEADLINE_S)
        after = await hosts.run(server_of(way, sshd), as_postgres("echo", "next"), deadline_s=DEADLINE_S)
    assert (answer.exit_status, answer.stdout, after.stdout) == (0, "", "next\n")


@pytest.mark.parametrize("way", PLAIN)
async def test_a19_much_output_is_cut_and_read_to_its_end(sshd: Sshd, way: str) -> None:
    script = f"head -c {HUGE_BYTES} /dev/zero; head -c {HUGE_BYTES // 10} /dev/zero >&2; exit 4"
    async with real_hosts() as hosts:
        answer = await hosts.run(server_of(way, sshd), Command(("sh", "-c", script)), deadline_s=60)
        after = await hosts.run(server_of(way, sshd), Command(("echo", "next")), deadline_s=DEADLINE_S)
    assert (answer.exit_status, answer.cut) == (4, True)
    assert (len(answer.stdout), len(answer.stderr)) == (KEPT_BYTES, KEPT_BYTES)
    assert (after.stdout, after.cut) == ("next\n", False)


@pytest.mark.parametrize("way", WAYS)
async def test_the_surroundings_are_always_the_same(sshd: Sshd, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/evil")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    answer = await ran(server_of(way, sshd), as_postgres("sh", "-c", "pwd; env"))
    lines = answer.stdout.splitlines()
    assert lines[0] == "/"
    assert "LC_ALL=C" in lines
    assert not [line for line in lines if line.startswith("PG")]
    assert "/usr/sbin" in next(line for line in lines if line.startswith("PATH="))


@pytest.mark.parametrize("way", WAYS)
async def test_a_command_gets_its_own_variables(sshd: Sshd, way: str) -> None:
    command = as_postgres("sh", "-c", 'printf %s "$ONE"')
    answer = await ran(server_of(way, sshd), Command(command.argv, command.run_as, environment={"ONE": "a 'b' $c\n"}))
    assert answer.stdout == "a 'b' $c\n"


@pytest.mark.parametrize(
    "command",
    [
        Command(()),
        Command(("",)),
        Command(("LD_PRELOAD=/evil", "true")),
        Command(("echo", "a\0b")),
        Command(("echo", "\ud800")),
        Command(("echo",), environment={"a b": "c"}),
        Command(("echo",), environment={"A": "\0"}),
    ],
)
@pytest.mark.parametrize("way", PLAIN)
async def test_what_no_program_can_be_given_is_refused(sshd: Sshd, way: str, command: Command) -> None:
    async with real_hosts() as hosts:
        with pytest.raises(RefusedError):
            await hosts.run(server_of(way, sshd), command, deadline_s=DEADLINE_S)
        with pytest.raises(RefusedError):
            await hosts.run_here(command, deadline_s=DEADLINE_S)


@pytest.mark.parametrize("way", WAYS)
async def test_a_command_that_does_not_end_in_time_is_killed(sshd: Sshd, way: str) -> None:
    sleeping = _sleep_of_its_own()
    server, slow = server_of(way, sshd), as_postgres("sh", "-c", f"{sleeping}; echo late")
    async with real_hosts() as hosts:
        await hosts.run(server, Command(("true",)), deadline_s=DEADLINE_S)
        with pytest.raises(NoAnswerError, match="did not end"):
            await hosts.run(server, slow, deadline_s=0.5)
        assert await _gone(hosts, sleeping)
        after = await hosts.run(server, Command(("echo", "next")), deadline_s=DEADLINE_S)
    assert after.stdout == "next\n"


async def test_a_command_that_began_unseen_by_a_busy_handyrep_is_killed(sshd: Sshd) -> None:
    sleeping = _sleep_of_its_own()
    async with real_hosts() as hosts:
        await hosts.run(sshd.server(), Command(("true",)), deadline_s=DEADLINE_S)
        slow = Command(("sh", "-c", f"{sleeping}; echo late"))
        running = asyncio.create_task(hosts.run(sshd.server(), slow, deadline_s=0.3))
        await asyncio.sleep(0)
        # The loop stands still: the host's first words lie unread when the time is over.
        time.sleep(0.5)  # noqa: ASYNC251 - as on a busy machine
        with pytest.raises(NoAnswerError, match="did not end"):
            await running
        assert await _gone(hosts, sleeping)


@pytest.mark.parametrize("way", PLAIN)
async def test_what_a_command_leaves_running_does_not_delay_it(sshd: Sshd, way: str) -> None:
    started = time.monotonic()
    answer = await ran(server_of(way, sshd), Command(("sh", "-c", "(sleep 8; echo late) & echo done")), deadline_s=6)
    assert (answer.exit_status, answer.stdout) == (0, "done\n")
    assert time.monotonic() - started < 6


async def test_what_is_left_running_does_not_write_into_the_next_answer(sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        server = sshd.server()
        await hosts.run(server, Command(("sh", "-c", "(sleep 0.2; echo late; echo late >&2) &")), deadline_s=DEADLINE_S)
        await asyncio.sleep(0.5)
        answer = await hosts.run(server, Command(("echo", "mine")), deadline_s=DEADLINE_S)
    assert (answer.stdout, answer.stderr) == ("mine\n", "")


@pytest.mark.parametrize("way", PLAIN)
async def test_parallel_commands_each_get_their_own_answer(sshd: Sshd, way: str) -> None:
    async with real_hosts() as hosts:
        server = server_of(way, sshd)
        commands = [Command(("sh", "-c", f"echo {n}; exit {n}")) for n in range(30)]
        answers = await asyncio.gather(*(hosts.run(server, command, deadline_s=DEADLINE_S) for command in commands))
    assert [(answer.stdout, answer.exit_status) for answer in answers] == [(f"{n}\n", n) for n in range(30)]


async def test_a_program_that_cannot_be_executed_is_an_answer() -> None:
    async with real_hosts() as hosts:
        answer = await hosts.run_here(Command(("/etc/passwd",)), deadline_s=DEADLINE_S)
    assert answer.exit_status == 126


def _sleep_of_its_own() -> str:
    """A sleep that no other test and no other run on this machine has: what one of them left would look like this one's."""
    return f"sleep 86.{secrets.randbelow(10**9):09}"


async def _gone(hosts: RealHosts, name: str) -> bool:
    for _ in range(100):
        seen = await hosts.run_here(Command(("pgrep", "-f", name.replace(".", "[.]"))), deadline_s=DEADLINE_S)
        if seen.exit_status == 1:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_command_that_is_called_off_twice_leaves_nothing_open() -> None:
    """The call of a plugin ends at its deadline, and the plugin's own limit with it."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task = asyncio.create_task(run_local(("sleep", "60"), b"", 60.0))
        await asyncio.sleep(0.2)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0.3)
        gc.collect()
    assert [str(one.message) for one in told if one.category is ResourceWarning] == []
