"""SSH itself: keys, connections that break, hosts that never answer, many at once."""

import asyncio
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from handyrep.adapters import shell, ssh_login
from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.ssh import SLOW_S
from handyrep.adapters.ssh_link import MAX_SHELLS
from handyrep.adapters.ssh_login import Target
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Command, RunAs
from tests.adapters.silent import silent_server, slow_way
from tests.adapters.sshd import Sshd, make_key, running_sshd
from tests.adapters.ways import DEADLINE_S, NEEDS_SUDO, OTHER, as_postgres, ran, real_hosts, server_of

HELLO = Command(("echo", "hello"))
NOISY = 'command="echo noise; echo noise >&2; printf noise; eval \\"$SSH_ORIGINAL_COMMAND\\"" '


async def says_hello(hosts: RealHosts, server: Server, deadline_s: float = DEADLINE_S) -> bool:
    """Whether a command works there."""
    answer = await hosts.run(server, HELLO, deadline_s=deadline_s)
    return (answer.exit_status, answer.stdout, answer.stderr) == (0, "hello\n", "")


async def test_a19_a_login_that_talks_is_not_listened_to(own_sshd: Sshd) -> None:
    keys = own_sshd.folder / "authorized_keys"
    keys.write_text(NOISY + keys.read_text())
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())


async def test_one_connection_and_few_shells_serve_all(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        answers = await asyncio.gather(*(says_hello(hosts, own_sshd.server()) for _ in range(40)))
        shells = await hosts.run_here(
            Command(("pgrep", "-c", "-P", str(own_sshd.sessions()[0]))), deadline_s=DEADLINE_S
        )
        assert len(own_sshd.sessions()) == 1
    assert all(answers)
    assert 1 <= int(shells.stdout) <= MAX_SHELLS


async def test_an_unknown_host_key_is_refused_and_not_added(own_sshd: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(HostKeyError, match="unknown or has changed") as caught:
        await ran(own_sshd.server(known_hosts=str(empty)), HELLO)
    assert empty.read_text() == ""
    assert str(empty) in str(caught.value)
    assert "Accepted" not in (own_sshd.folder / "log").read_text()


async def test_b11_a_changed_host_key_is_refused(own_sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    changed = tmp_path / "changed"
    changed.write_text(f"[127.0.0.1]:{own_sshd.port} {kind} {key}\n")
    with pytest.raises(HostKeyError):
        await ran(own_sshd.server(known_hosts=str(changed)), HELLO)
    assert "Accepted" not in (own_sshd.folder / "log").read_text()


async def test_without_a_known_hosts_file_nothing_is_sent(own_sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match="no file"):
        await ran(own_sshd.server(known_hosts=str(tmp_path / "missing")), HELLO)
    assert own_sshd.sessions() == []


async def test_a_known_hosts_file_that_is_rubbish_is_no_permission(own_sshd: Sshd, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"\xff\xfe not a key\n* ssh-ed25519 !!!\n")
    with pytest.raises(NoAnswerError):
        await ran(own_sshd.server(known_hosts=str(rubbish)), HELLO)
    assert "Accepted" not in (own_sshd.folder / "log").read_text()


async def test_a_wrong_login_key_is_no_answer(own_sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "wrong")
    with pytest.raises(NoAnswerError, match="SSH"):
        await ran(own_sshd.server(ssh_key=str(tmp_path / "wrong")), HELLO)


async def test_b11_refusal_and_unknown_names_are_no_answer(sshd: Sshd) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(NoAnswerError):
            await ran(sshd.server(ssh_port=held.getsockname()[1]), HELLO)
    with pytest.raises(NoAnswerError):
        await ran(sshd.server(ssh_host="no-such-host.invalid"), HELLO)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 5000])
async def test_a_host_that_says_nothing_sensible_stalls_nobody(sshd: Sshd, says: bytes) -> None:
    async with silent_server(says) as port, real_hosts() as hosts:
        started = time.monotonic()
        silent = asyncio.create_task(hosts.run(sshd.server("silent", ssh_port=port), HELLO, deadline_s=1.0))
        assert await says_hello(hosts, sshd.server("good"), deadline_s=5)
        with pytest.raises(NoAnswerError) as caught:
            await silent
        assert time.monotonic() - started < 5
        assert caught.value.server == "silent"


async def test_after_a_cut_connection_the_next_command_connects_again(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())
        own_sshd.cut_all()
        await asyncio.sleep(0.2)
        assert await says_hello(hosts, own_sshd.server())


async def test_a_command_cut_off_in_the_middle_is_no_answer(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        running = asyncio.create_task(hosts.run(own_sshd.server(), Command(("sleep", "30")), deadline_s=20))
        await asyncio.sleep(0.5)
        own_sshd.cut_all()
        with pytest.raises(NoAnswerError):
            await running
        assert await says_hello(hosts, own_sshd.server())


async def test_a_held_shell_that_died_is_replaced(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        shell = await hosts.run(own_sshd.server(), Command(("sh", "-c", "echo $PPID")), deadline_s=DEADLINE_S)
        await hosts.run_here(Command(("kill", "-KILL", shell.stdout.strip())), deadline_s=DEADLINE_S)
        await asyncio.sleep(0.2)
        assert await says_hello(hosts, own_sshd.server())
        assert len(own_sshd.sessions()) == 1


async def test_b13_a_stopped_sshd_is_noticed_and_a_new_login_is_tried(own_sshd: Sshd) -> None:
    """The connection looks whole, but nothing comes back: after the deadline it is not used again."""
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())
        await freeze(hosts, own_sshd)
        assert not await heard_in(hosts, own_sshd.server(), 0.5)
        assert any([await heard_in(hosts, own_sshd.server(), 1.0) for _ in range(6)])


async def test_slow_commands_do_not_keep_a_quick_one_waiting(sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        server = sshd.server()
        slow = [
            asyncio.create_task(hosts.run(server, Command(("sleep", "4")), deadline_s=SLOW_S + 5))
            for _ in range(MAX_SHELLS + 2)
        ]
        await asyncio.sleep(0.3)
        assert await says_hello(hosts, server, deadline_s=2)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_cancelled_command_does_not_disturb_others(sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        server = sshd.server()
        other = asyncio.create_task(
            hosts.run(server, Command(("sh", "-c", "sleep 1; echo other")), deadline_s=DEADLINE_S)
        )
        cancelled = asyncio.create_task(hosts.run(server, Command(("sleep", "30")), deadline_s=DEADLINE_S))
        await asyncio.sleep(0.4)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await other).stdout == "other\n"


async def test_a_jump_host_is_gone_through_and_its_key_is_required(own_sshd: Sshd, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with running_sshd(inner) as behind:
        for name in ("id", "id.pub", "authorized_keys"):
            shutil.copy(own_sshd.folder / name, inner / name)
        both = tmp_path / "both"
        both.write_text(own_sshd.known_hosts.read_text() + behind.known_hosts.read_text())
        jump = f"127.0.0.1:{own_sshd.port}"
        async with real_hosts() as hosts:
            assert await says_hello(hosts, behind.server(ssh_jump=jump, known_hosts=str(both)))
            assert len(own_sshd.sessions()) == 1
        await asyncio.sleep(0.3)
        assert own_sshd.sessions() == []
        with pytest.raises(HostKeyError, match="jump host"):
            await ran(behind.server(ssh_jump=jump), HELLO)
        with pytest.raises(HostKeyError):
            await ran(behind.server(ssh_jump=jump, known_hosts=str(own_sshd.known_hosts)), HELLO)
        await asyncio.sleep(0.3)
        assert own_sshd.sessions() == []


@pytest.mark.parametrize(
    ("jump", "user", "address", "port"),
    [
        ("gate", "handyrep", "gate", 22),
        ("me@gate:2222", "me", "gate", 2222),
        ("[2001:db8::1]:2222", "handyrep", "2001:db8::1", 2222),
        ("2001:db8::1", "handyrep", "2001:db8::1", 22),
        ("me@[::1]", "me", "::1", 22),
    ],
)
def test_forms_of_a_jump_host(jump: str, user: str, address: str, port: int) -> None:
    target = Target.of(Server(name="a", hostname="a", ssh_jump=jump)).jump_target
    assert target is not None
    assert (target.user, target.address, target.port, target.jump) == (user, address, port, "")


async def test_a_changed_definition_gets_another_connection(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())
        with pytest.raises(NoAnswerError):
            await hosts.run(own_sshd.server(ssh_port=1), HELLO, deadline_s=2)
        await asyncio.sleep(0.3)
        assert own_sshd.sessions() == []


async def test_a_server_that_changed_its_role_keeps_its_connection(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server(role="replica"))
        before = own_sshd.sessions()
        assert await says_hello(hosts, own_sshd.server(role="master"))
        assert own_sshd.sessions() == before


async def test_an_account_without_a_name_is_its_number(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4242424)
    server = sshd.server(control="local", postgres_os_user="4242424")
    assert (await ran(server, Command(("echo", "as myself"), RunAs.POSTGRES))).stdout == "as myself\n"


async def test_close_ends_everything_on_the_host(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())
        assert own_sshd.sessions()
    own_sshd.wait_for_no_session()


async def test_close_waits_until_what_was_called_off_is_killed_and_the_connections_have_ended(
    own_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handyrep.adapters.hosts._CLOSING_S", DEADLINE_S)
    async with real_hosts() as hosts:
        process, connection = await called_off(hosts, own_sshd.server(), tmp_path / "asked")
        await hosts.close()
        assert connection.is_closed()
    await comes(lambda: not is_alive(process))


async def test_close_does_not_wait_for_a_host_that_says_nothing_any_more(own_sshd: Sshd, tmp_path: Path) -> None:
    async with real_hosts() as hosts, asyncio.timeout(DEADLINE_S):
        assert await says_hello(hosts, own_sshd.server())
        await freeze(hosts, own_sshd)
        _, connection = await called_off(hosts, own_sshd.server(), tmp_path / "asked", begun=False)
        await hosts.close()
        assert connection.is_closed()


async def test_a_connection_given_up_while_a_shell_is_opened_ends_when_nobody_waits_for_the_shell(
    own_sshd: Sshd,
) -> None:
    async with real_hosts() as hosts:
        server = own_sshd.server()
        asked = asyncio.create_task(hosts.run(server, HELLO, deadline_s=DEADLINE_S))
        await comes(lambda: hosts._host(server)._link)
        connection = connection_to(hosts, server)
        hosts._host(server).close()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        async with asyncio.timeout(DEADLINE_S):
            await connection.wait_closed()
        assert asked.cancelled()


@NEEDS_SUDO
async def test_an_account_that_sudo_does_not_know_is_no_answer(sshd: Sshd) -> None:
    with pytest.raises(NoAnswerError, match="sudo did not run true as nobody-of-that-name"):
        await ran(sshd.server(postgres_os_user="nobody-of-that-name"), Command(("true",), RunAs.POSTGRES))


PARENT = ("sh", "-c", "echo $PPID")


@NEEDS_SUDO
async def test_scripts_for_the_account_of_the_data_share_a_held_shell_of_that_account(own_sshd: Sshd) -> None:
    """sudo takes longer than most of what it is asked for."""
    server = server_of("ssh sudo", own_sshd)
    async with real_hosts() as hosts:
        answers = [await hosts.run(server, as_postgres(*PARENT), deadline_s=DEADLINE_S) for _ in range(3)]
        by_login = await hosts.run(server, Command(PARENT), deadline_s=DEADLINE_S)
        who = await hosts.run(server, as_postgres("sh", "-c", "id -un"), deadline_s=DEADLINE_S)
        assert len({answer.stdout for answer in answers}) == 1
        assert by_login.stdout not in {answer.stdout for answer in answers}
        assert who.stdout == f"{OTHER}\n"


@NEEDS_SUDO
async def test_a_held_shell_of_the_account_goes_on_after_many_at_once_by_the_login(own_sshd: Sshd) -> None:
    server = server_of("ssh sudo", own_sshd)
    async with real_hosts() as hosts:
        before = await hosts.run(server, as_postgres(*PARENT), deadline_s=DEADLINE_S)
        await asyncio.gather(*(hosts.run(server, HELLO, deadline_s=DEADLINE_S) for _ in range(3 * MAX_SHELLS)))
        after = await hosts.run(server, as_postgres(*PARENT), deadline_s=DEADLINE_S)
        assert before.stdout == after.stdout


@NEEDS_SUDO
async def test_both_kinds_of_shells_stay_below_what_sshd_allows(own_sshd: Sshd) -> None:
    """MaxSessions is 10: the eleventh is refused."""
    server = server_of("ssh sudo", own_sshd)
    commands = (HELLO, as_postgres("sh", "-c", "echo hello"))
    async with real_hosts() as hosts:
        for _ in range(3):
            for command in commands:
                slow = [hosts.run(server, command, deadline_s=SLOW_S + 5) for _ in range(2 * MAX_SHELLS)]
                quick = [hosts.run(server, command, deadline_s=DEADLINE_S / 4) for _ in range(2 * MAX_SHELLS)]
                answers = await asyncio.gather(*slow, *quick)
                assert {(one.exit_status, one.stdout) for one in answers} == {(0, "hello\n")}


@NEEDS_SUDO
async def test_where_sudo_lets_no_shell_begin_the_script_is_refused_as_ever(own_sshd: Sshd) -> None:
    server = own_sshd.server(postgres_os_user="nobody-of-that-name")
    async with real_hosts() as hosts:
        for _ in range(2):
            with pytest.raises(NoAnswerError, match="sudo did not run sh as nobody-of-that-name"):
                await hosts.run(server, as_postgres("sh", "-c", "true"), deadline_s=DEADLINE_S)
        assert await says_hello(hosts, server)
        assert len(own_sshd.sessions()) == 1, "the connection is as good as ever"


@NEEDS_SUDO
async def test_an_account_that_cannot_read_its_own_process_gets_a_shell_for_each_script(
    own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its process group nothing could be killed there: no shell is held, and none stays behind."""
    monkeypatch.setattr(shell, "_begin_in_group", lambda mark: b"printf '\\n%sb\\n'" % mark)
    server = server_of("ssh sudo", own_sshd)
    count = as_postgres("sh", "-c", f"ps -o args= -u {OTHER} | grep -cx sh")
    async with real_hosts() as hosts:
        answers = [await hosts.run(server, count, deadline_s=DEADLINE_S) for _ in range(3)]
        assert [answer.stdout for answer in answers] == ["0\n"] * 3
        assert len(own_sshd.sessions()) == 1, "the connection is as good as ever"


@NEEDS_SUDO
async def test_what_a_script_says_of_sudo_in_a_held_shell_is_its_own_answer(own_sshd: Sshd) -> None:
    server = server_of("ssh sudo", own_sshd)
    script = "echo 'sudo: a password is required' >&2; exit 1"
    async with real_hosts() as hosts:
        answer = await hosts.run(server, as_postgres("sh", "-c", script), deadline_s=DEADLINE_S)
    assert (answer.exit_status, answer.stderr) == (1, "sudo: a password is required\n")


async def test_a_login_that_takes_longer_than_a_call_is_there_for_the_next(own_sshd: Sshd, tmp_path: Path) -> None:
    """Were it begun anew by each call, such a host would never be heard."""
    async with slow_way(own_sshd.port, 0.15) as port, real_hosts() as hosts:
        server = reached_by(own_sshd, port, tmp_path)
        assert not await heard_in(hosts, server, 1.2)
        assert any([await heard_in(hosts, server, 1.2) for _ in range(8)])
        assert len(own_sshd.sessions()) == 1


async def test_a_login_is_begun_anew_once_nobody_has_waited_for_it_for_long(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may have lost its power in the middle of it."""
    monkeypatch.setattr(ssh_login, "_GOES_ON_S", 0.5)
    async with silent_server() as port, real_hosts() as hosts:
        server = reached_by(sshd, port, tmp_path)
        assert not await heard_in(hosts, server, 0.2)
        begun = hosts._host(server)._login
        assert begun is not None
        assert not await heard_in(hosts, server, 0.2)
        assert hosts._host(server)._login is begun
        await asyncio.sleep(0.3)
        assert not await heard_in(hosts, server, 0.2)
        assert hosts._host(server)._login is not begun


async def test_a_login_that_is_given_up_is_no_answer_to_whoever_waits(sshd: Sshd, tmp_path: Path) -> None:
    async with silent_server() as port, real_hosts() as hosts:
        waiting = asyncio.create_task(hosts.run(reached_by(sshd, port, tmp_path), HELLO, deadline_s=DEADLINE_S))
        await asyncio.sleep(0.2)
        await hosts.close()
        with pytest.raises(NoAnswerError, match="given up"):
            await waiting


async def test_a_host_that_does_not_take_the_connection_is_tried_anew_by_each_call(sshd: Sshd) -> None:
    """A network that is back must be noticed at once, not when an old attempt is repeated."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        async with real_hosts() as hosts:
            server = sshd.server(ssh_port=deaf.getsockname()[1])
            assert not await heard_in(hosts, server, 0.2)
            await asyncio.sleep(0.1)
            assert hosts._host(server)._login is None


async def test_short_questions_that_nobody_waits_for_do_not_cost_the_connection(own_sshd: Sshd) -> None:
    async with real_hosts() as hosts:
        assert await says_hello(hosts, own_sshd.server())
        for _ in range(5):
            asked = asyncio.create_task(hosts.run(own_sshd.server(), HELLO, deadline_s=DEADLINE_S))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        before = own_sshd.sessions()
        assert await says_hello(hosts, own_sshd.server())
        assert own_sshd.sessions() == before


async def called_off(
    hosts: RealHosts, server: Server, told: Path, *, begun: bool = True
) -> tuple[str, asyncssh.SSHClientConnection]:
    """A command that runs for long, and that nobody waits for any more: its process, if it has `begun`, and the connection.

    It says its number in `told`, where nobody else may write: sshd keeps a file `pid` in the folder of the test.
    """
    long = Command(("sh", "-c", f"echo $$ > {told}.new; mv {told}.new {told}; exec sleep 30"))
    asked = asyncio.create_task(hosts.run(server, long, deadline_s=DEADLINE_S))
    await asyncio.sleep(0.1)
    if begun:
        await comes(told.exists)
    connection = connection_to(hosts, server)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    return process_in(told) if begun else "", connection


async def comes(holds: Callable[[], Any]) -> None:
    """Wait for it, looking as often as anything else happens."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0)


def process_in(file: Path) -> str:
    """The number that stands there."""
    return file.read_text().strip()


def is_alive(process: str) -> bool:
    """Whether it is there and no zombie: who reaps it is the machine's affair."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def connection_to(hosts: RealHosts, server: Server) -> asyncssh.SSHClientConnection:
    """The one that is used for it."""
    link = hosts._host(server)._link
    assert link is not None
    return link.connection


async def freeze(hosts: RealHosts, sshd: Sshd) -> None:
    """Stop the processes of its one connection."""
    stopped = sshd.sessions()[0]
    await hosts.run_here(Command(("kill", "-STOP", str(stopped))), deadline_s=DEADLINE_S)
    children = await hosts.run_here(Command(("pkill", "-STOP", "-P", str(stopped))), deadline_s=DEADLINE_S)
    assert children.exit_status == 0


def reached_by(sshd: Sshd, port: int, folder: Path) -> Server:
    """The same host by another port."""
    kind, key = sshd.known_hosts.read_text().split()[1:3]
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    return sshd.server(ssh_port=port, known_hosts=str(known))


async def heard_in(hosts: RealHosts, server: Server, deadline_s: float) -> bool:
    """Whether it answers in so short a time."""
    try:
        return await says_hello(hosts, server, deadline_s)
    except NoAnswerError:
        return False
