"""Names with metacharacters of shells, SQL and connection strings reach the program, and nothing else."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.quoting import shell_line, with_variables
from handyrep.adapters.sudo import invocation
from handyrep.errors import NoAnswerError
from handyrep.ports import Command, Ran, RunAs
from tests.adapters.sshd import Sshd
from tests.adapters.ways import DEADLINE_S, NEEDS_SUDO, WAYS, as_postgres, ran, real_hosts, server_of
from tests.factories import make_server

CANARY = Path("/tmp/handyrep-canary")
_TOUCH = f"touch {CANARY}"
NASTY = (
    f"$({_TOUCH})",
    f"`{_TOUCH}`",
    f"; {_TOUCH};",
    f"\n{_TOUCH}\n",
    f"\r\n{_TOUCH}\r\n",
    f"' ; {_TOUCH} ; '",
    f'" ; {_TOUCH} ; "',
    f"\\'; {_TOUCH}; \\'",
    f"| {_TOUCH}",
    f"&& {_TOUCH} &",
    f"> {CANARY}",
    f"x host=evil options='-c x' passfile={CANARY}",
    f"'; copy (select 1) to program '{_TOUCH}'; --",
    f"-oProxyCommand={_TOUCH}",
    f"() {{ :; }}; {_TOUCH}",
    "--",
    "-n",
    "-u",
    "*",
    "~root",
    "$HOME",
    "${IFS}",
    "!!",
    "#",
    "%s%n",
    "\\",
    "\\\n",
    "\t",
    "",
    "\x01\x1b[0m\x7f",
    "\u00e9\u4e2d\U0001f600\u202e",
    "\udcff\udc80",
    "A=b",
    "EOF",
)


def touched() -> bool:
    return CANARY.exists()


_words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_argvs = st.lists(st.one_of(_words, st.sampled_from(NASTY)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples, so that the shells stay held."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def hosts(runner: asyncio.Runner) -> Iterator[RealHosts]:
    """The adapter."""
    made = RealHosts()
    yield made
    runner.run(made.close())


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=150, deadline=None, print_blob=True)
@given(argv=_argvs)
def test_any_argv_arrives_byte_for_byte(
    sshd: Sshd, hosts: RealHosts, runner: asyncio.Runner, way: str, argv: list[str]
) -> None:
    printf = as_postgres("printf", "%s\\0", *argv)
    answer = runner.run(hosts.run(server_of(way, sshd), printf, deadline_s=DEADLINE_S))
    assert answer.exit_status == 0
    assert answer.stdout == "".join(f"{word}\0" for word in argv).encode("utf-8", "surrogateescape").decode(
        "utf-8", "replace"
    )
    assert not touched()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", [word for word in NASTY if word and "=" not in word])
async def test_no_name_of_a_program_becomes_syntax(sshd: Sshd, way: str, word: str) -> None:
    answer = await ran(server_of(way, sshd), as_postgres(word, "x"))
    assert answer.exit_status != 0
    assert not touched()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40, deadline=None, print_blob=True)
@given(value=st.one_of(_words, st.sampled_from(NASTY)))
def test_any_value_of_a_variable_arrives(
    sshd: Sshd, hosts: RealHosts, runner: asyncio.Runner, way: str, value: str
) -> None:
    command = Command(("printenv", "-0", "VALUE"), RunAs.POSTGRES, environment={"VALUE": value})
    answer = runner.run(hosts.run(server_of(way, sshd), command, deadline_s=DEADLINE_S))
    assert answer.stdout == value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\0"
    assert not touched()


SCRIPTS = (
    "",
    'printf "%s|" "$#" "$@"',
    "cd /tmp; umask 000; HOME=elsewhere; PATH=/nowhere; set -u; trap 'printf left' EXIT; exit 7",
    "set -e; false; printf 'not reached'",
    'set -- a "$@"; for one in "$@"; do printf "%s|" "$one"; done; f() { return 3; }; f',
    "exec sh -c 'printf inner; exit 4'",
    "exec >&-; printf lost",
    "if then",
    "printf 'no end",
    ")",
    "cat; read -r none && printf more",
    "status=9 line=x; unset HOME; exit",
    'case $0 in *marks*) printf named;; esac; [ "$$" -gt 1 ] && printf own',
    "no_such_program_anywhere",
    "printf '%s' \"$1\" >&2; return 5 2>/dev/null || exit 6",
)


@pytest.mark.parametrize("script", SCRIPTS)
@settings(max_examples=12, deadline=None, print_blob=True)
@given(arguments=st.lists(st.one_of(_words, st.sampled_from(NASTY)), max_size=3), stdin=st.binary(max_size=40))
def test_a_script_does_in_a_held_shell_what_it_does_in_a_process_of_its_own(
    sshd: Sshd, hosts: RealHosts, runner: asyncio.Runner, script: str, arguments: list[str], stdin: bytes
) -> None:
    argv = ("sh", "-c", script, "marks", *arguments)
    held, own = (
        runner.run(hosts.run(server_of(way, sshd), as_postgres(*argv, stdin=stdin), deadline_s=DEADLINE_S))
        for way in ("ssh", "local")
    )
    assert (held.exit_status, held.stdout) == (own.exit_status, own.stdout)
    assert bool(held.stderr) == bool(own.stderr)
    after = runner.run(hosts.run(server_of("ssh", sshd), as_postgres("sh", "-c", _STATE), deadline_s=DEADLINE_S))
    assert after.stdout == "/ 0022 /usr/local/sbin no none\n"
    assert not touched()


_STATE = 'echo "$PWD $(umask) ${PATH%%:*} ${line-no} ${1-none}"'


@pytest.mark.parametrize(
    "stdin",
    [b"a\n", b"a", b"", b"\n", b"a\r\n", b"$HOME `id` \\\n", b"\x81\x88\xff\n", b"a\0b\n", b"x" * 100_000 + b"\n"],
)
async def test_what_a_program_reads_is_what_it_was_given(sshd: Sshd, stdin: bytes) -> None:
    for argv in (("sh", "-c", "cat | sha256sum"), ("sha256sum",)):
        answer = await ran(server_of("ssh", sshd), as_postgres(*argv, stdin=stdin))
        assert answer.stdout == f"{hashlib.sha256(stdin).hexdigest()}  -\n"


def test_a_shell_line_never_begins_with_a_word_of_the_shell() -> None:
    assert shell_line(("exit", "a b", "")) == b"env -- exit 'a b' ''"


def test_variables_stand_before_the_program_and_only_if_there_are_any() -> None:
    assert with_variables(Command(("a",))) == ("a",)
    assert with_variables(Command(("a",), environment={"X": "1 2"})) == ("env", "--", "X=1 2", "a")


@pytest.mark.parametrize(
    ("login", "run_as", "switch"),
    [
        ("handyrep", RunAs.LOGIN, ()),
        ("handyrep", RunAs.POSTGRES, ("sudo", "-n", "-u", "postgres", "--")),
        ("handyrep", RunAs.ROOT, ("sudo", "-n", "--")),
        ("postgres", RunAs.POSTGRES, ()),
        ("postgres", RunAs.ROOT, ("sudo", "-n", "--")),
        ("root", RunAs.ROOT, ()),
        ("root", RunAs.POSTGRES, ("sudo", "-n", "-u", "postgres", "--")),
    ],
)
def test_sudo_stands_exactly_where_the_login_is_another(login: str, run_as: RunAs, switch: tuple[str, ...]) -> None:
    assert invocation(make_server(), Command(("pg_ctl",), run_as), login).words == (*switch, "pg_ctl")


REFUSALS = (
    "sudo: a password is required\n",
    "sudo: a terminal is required to read the password; either use the -S option\nsudo: a password is required\n",
    "Sorry, user handyrep is not allowed to execute '/bin/true' as root on db1.\n",
    "handyrep is not in the sudoers file.\n",
    "sudo: unknown user: postgres\nsudo: error initializing audit plugin sudoers_audit\n",
    "sudo: unable to resolve host db1: Name or service not known\nsudo: a password is required\n",
)


@pytest.mark.parametrize("stderr", REFUSALS)
def test_a19_sudo_saying_no_is_not_the_commands_answer(stderr: str) -> None:
    made = invocation(make_server("db1"), Command(("pgrep", "postgres"), RunAs.POSTGRES), "handyrep")
    with pytest.raises(NoAnswerError, match="sudo did not run pgrep as postgres") as caught:
        made.judged(Ran(1, "", stderr), make_server("db1"))
    assert caught.value.remedy is not None


@pytest.mark.parametrize(
    ("ran", "status"),
    [
        (Ran(1, "", "sudo: unable to resolve host db1: Name or service not known\n"), 1),
        (Ran(1, "", "pgrep: no sudo: a password is required\n"), 1),
        (Ran(3, "", "sudo: a password is required\n"), 3),
        (Ran(1, "", "sudo: pg_ctl: command not found\n"), 127),
    ],
)
def test_the_commands_own_answer_passes(ran: Ran, status: int) -> None:
    made = invocation(make_server(), Command(("pgrep",), RunAs.ROOT), "handyrep")
    assert made.judged(ran, make_server()).exit_status == status


def test_without_sudo_nothing_is_judged() -> None:
    made = invocation(make_server(), Command(("sudo",), RunAs.LOGIN), "handyrep")
    assert made.judged(Ran(1, "", REFUSALS[0]), make_server()).exit_status == 1


@NEEDS_SUDO
async def test_what_sudo_really_says_is_known() -> None:
    """As nobody, who may not."""
    argv = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sudo", "-n", "--", "true")
    async with real_hosts() as hosts:
        said = await hosts.run_here(Command(argv), deadline_s=DEADLINE_S)
    made = invocation(make_server(), Command(("true",), RunAs.ROOT), "nobody")
    assert said.exit_status == 1
    with pytest.raises(NoAnswerError):
        made.judged(said, make_server())
