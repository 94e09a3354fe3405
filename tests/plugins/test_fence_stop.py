"""fence_stop against living, hung, orphaned, crash-looping and misdescribed servers: it proves, or it says that it does not."""

import asyncio
import contextlib
import ctypes
import dataclasses
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.cluster import LastSeen
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._holders import HOLDERS
from handyrep.ports import Command
from tests.adapters.postgresql import account
from tests.plugins.pair import Estate, Node, Silent, plugins, programs, run, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "fence_stop"
CANARY = Path("/tmp/handyrep-canary")


@pytest.fixture
def m1(house: Estate) -> Iterator[Node]:
    """Running, and a test may do anything to it."""
    master = house.master()
    yield master
    for process in holders(master):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def holders(node: Node) -> list[int]:
    """The living processes that work in its data directory, as the kernel tells."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == node.data.resolve() and (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def postmaster(node: Node) -> int:
    return int((node.data / "postmaster.pid").read_text().splitlines()[0])


async def fence(node: Node, method: str = "run", *, hosts: Any = None, **known: Any) -> Result:
    changes = {"restart_method": "restart_pg_ctl", **known.pop("changes", {})}
    async with plugins(node.server("master", **changes), hosts=hosts, options={NAME: known}) as called:
        return await called.call(Kind.FENCE, NAME, method, servername=node.name)


def assert_fenced(node: Node, done: Result) -> None:
    assert done.outcome is SUCCESS, done.details
    assert "no process works in" in str(done.extra["proof"])
    assert holders(node) == []
    assert (node.data / "standby.signal").exists()


def assert_no_proof(done: Result) -> None:
    assert done.outcome is FAIL
    assert "proof" not in done.extra
    assert "nothing is proven" in done.details


async def test_a_checkpoint_beforehand_leaves_little_to_the_one_at_its_end(m1: Node) -> None:
    m1.sql("insert into t values (1)")
    before = Lsn.parse(m1.control("Latest checkpoint location"))
    assert (await fence(m1, "hasten")).outcome is SUCCESS
    assert Lsn.parse(m1.control("Latest checkpoint location")) > before
    async with plugins(m1.server("master", port=1), options={NAME: {}}) as called:
        told = await called.call(Kind.FENCE, NAME, "hasten", servername=m1.name)
    assert (told.outcome, "no checkpoint was written" in told.details) == (FAIL, True)


async def test_nothing_is_ordered_of_a_service_on_a_host_where_nothing_of_it_runs(m1: Node) -> None:
    m1.stop("immediate")
    done = await fence(m1, changes={"restart_method": "restart_pg_ctl"})
    assert_fenced(m1, done)
    assert "(nothing of it ran any more)" in done.details


async def test_a_living_master_is_stopped_cleanly_and_told_where_its_wal_ends(m1: Node) -> None:
    m1.sql("insert into t values (1)")
    before = Lsn.parse(m1.value("pg_current_wal_flush_lsn()::text"))
    done = await fence(m1)
    assert_fenced(m1, done)
    assert done.extra["state"] == "shut down"
    checkpoint = Lsn.parse(m1.control("Latest checkpoint location"))
    assert before <= checkpoint < Lsn.parse(str(done.extra["last_lsn"]))


async def test_after_a_crash_too_it_is_known_where_its_wal_ends(m1: Node) -> None:
    m1.sql("insert into t select generate_series(1, 1000)")
    end = Lsn.parse(m1.value("pg_current_wal_flush_lsn()::text"))
    m1.stop("immediate")
    done = await fence(m1)
    assert_fenced(m1, done)
    assert end <= Lsn.parse(str(done.extra["last_lsn"]))


async def test_where_its_wal_ends_is_known_though_its_pid_file_and_shared_memory_are_left(m1: Node) -> None:
    """The look at its shared memory had once set a variable that the end of its WAL stood in."""
    m1.sql("insert into t select generate_series(1, 1000)")
    end = Lsn.parse(m1.value("pg_current_wal_flush_lsn()::text"))
    for process in holders(m1):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    until(lambda: holders(m1) == [])
    assert (m1.data / "postmaster.pid").exists()
    done = await fence(m1)
    assert_fenced(m1, done)
    assert end <= Lsn.parse(str(done.extra["last_lsn"]))


async def test_what_starts_it_after_that_gets_a_server_that_cannot_be_written_to(m1: Node) -> None:
    assert_fenced(m1, await fence(m1))
    m1.start()
    assert m1.value("pg_is_in_recovery()")


def canary_stands() -> bool:
    return CANARY.exists()


def busy(node: Node) -> subprocess.Popen[str]:
    """A session that computes for a long time, and does not look whether its postmaster lives."""
    argv = [str(programs() / "psql"), "-h", str(node.folder), "-p", str(node.port), "-U", "postgres", "-c"]
    statement = "select count(*) from generate_series(1, 10000000000)"
    return subprocess.Popen(
        [*argv, statement], text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )


@contextlib.contextmanager
def computing(node: Node) -> Iterator[int]:
    """While a backend is busy; its process id."""
    with busy(node) as client:
        active = "select pid from pg_stat_activity where state = 'active' and query like 'select count%generate%'"
        until(lambda: node.sql(active), node)
        try:
            yield int(node.sql(active)[0]["pid"])
        finally:
            client.kill()


async def test_a_busy_session_does_not_hold_it_up(m1: Node) -> None:
    with computing(m1):
        assert_fenced(m1, await fence(m1))


async def test_a2_a_busy_backend_that_its_postmaster_left_behind_is_found_and_ended(m1: Node) -> None:
    with computing(m1) as backend:
        os.kill(postmaster(m1), signal.SIGKILL)
        until(lambda: not m1.runs)
        assert backend in holders(m1)
        assert_fenced(m1, await fence(m1))


async def test_the_same_without_its_pid_file(m1: Node) -> None:
    with computing(m1):
        main = postmaster(m1)
        (m1.data / "postmaster.pid").unlink()
        assert main in holders(m1)
        assert_fenced(m1, await fence(m1))


@pytest.mark.parametrize("content", ["", "garbage\n", "1\n", "-1\n", "99999999\n/elsewhere\n", f"$(touch {CANARY})\n"])
async def test_a_pid_file_that_lies_is_not_believed(m1: Node, content: str) -> None:
    (m1.data / "postmaster.pid").write_text(content)
    assert_fenced(m1, await fence(m1))
    assert not canary_stands()


async def test_a3_hung_processes_are_ended(m1: Node) -> None:
    with computing(m1):
        for process in holders(m1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        assert_fenced(m1, await fence(m1, grace="1"))


@pytest.mark.parametrize("restart_method", ["successplugin", "failplugin", "no_such_plugin"])
async def test_the_word_of_restart_method_is_neither_needed_nor_believed(m1: Node, restart_method: str) -> None:
    assert_fenced(m1, await fence(m1, changes={"restart_method": restart_method}))


class Restarter(threading.Thread):
    """Starts it again as soon as it is gone, as a service manager does."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node = node
        self.over = threading.Event()

    def run(self) -> None:
        argv = [str(programs() / "postgres"), "-D", str(self.node.data), "-c", f"config_file={self.node.conf}"]
        while not self.over.is_set():
            subprocess.run(
                argv, check=False, user=account(), group=group(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip


async def test_one_that_is_started_again_and_again_is_never_writable_after_a_proof(m1: Node) -> None:
    restarter = Restarter(m1)
    restarter.start()
    try:
        done = await fence(m1)
        if done.outcome is SUCCESS:
            await asyncio.to_thread(until, lambda: answers(m1))
            assert m1.value("pg_is_in_recovery()")
        else:
            assert_no_proof(done)
        assert (m1.data / "standby.signal").exists(), done
    finally:
        restarter.over.set()
        m1.stop("immediate")
        restarter.join(30)


def answers(node: Node) -> bool:
    return run("pg_isready", "-h", str(node.folder), "-p", str(node.port), check=False).returncode == 0


def test_a_look_that_failed_proves_nothing(m1: Node) -> None:
    """As on a host that can start no program any more: whatever was not seen counts as what may not be looked into."""
    place = m1.data.stat()
    known = f"data={m1.data} place={place.st_dev}:{place.st_ino} owner={place.st_uid}\n"
    told = 'around; hidden; echo "held" $held; echo "left" $left'
    both = [
        subprocess.run(
            ["sh", "-c", f"{known}{HOLDERS}{stat}\n{told}"], check=True, capture_output=True, text=True
        ).stdout
        for stat in ("", "stat() { return 126; }")
    ]
    seen, blind = ([line.split() for line in said.splitlines()] for said in both)
    assert {int(one) for one in seen[0][1:]} == set(holders(m1))
    assert (seen[1], blind[0]) == (["left"], ["held"])
    assert set(holders(m1)) <= {int(one) for one in blind[1][1:]}


async def test_another_postgresql_of_the_host_is_left_alone(house: Estate, m1: Node) -> None:
    other = house.master("m2")
    before = other.value("pg_postmaster_start_time()")
    assert_fenced(m1, await fence(m1))
    assert other.value("pg_postmaster_start_time()") == before
    other.stop("immediate")


def group() -> int | None:
    return None if account() is None else pwd.getpwnam(account() or "").pw_gid


@contextlib.contextmanager
def shell_in(node: Node) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who logged in as the owner, and stands in its data directory."""
    with subprocess.Popen(["sleep", "60"], cwd=node.data, user=account(), group=group()) as shell:
        try:
            yield shell
        finally:
            shell.kill()


async def test_somebodys_shell_in_pgdata_is_left_alone(m1: Node) -> None:
    with shell_in(m1) as shell:
        done = await fence(m1)
        assert shell.poll() is None
    assert done.outcome is SUCCESS


async def test_who_holds_its_shared_memory_is_no_proof(m1: Node) -> None:
    """A process that works elsewhere, and can still write into its buffers."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    segment = int((m1.data / "postmaster.pid").read_text().splitlines()[6].split()[1])
    at = libc.shmat(segment, None, 0)
    assert at not in (None, ctypes.c_void_p(-1).value)
    os.kill(postmaster(m1), signal.SIGKILL)
    until(lambda: not holders(m1))
    try:
        held = await fence(m1)
    finally:
        libc.shmdt(ctypes.c_void_p(at))
    assert_no_proof(held)
    assert "shared memory" in held.details
    assert_fenced(m1, await fence(m1))


@contextlib.contextmanager
def of_another_group(node: Node) -> Iterator[None]:
    """The kernel shows where a process works only to its own user and group, and PostgreSQL minds only the user."""
    argv = [str(programs() / "postgres"), "-D", str(node.data), "-c", f"config_file={node.conf}"]
    with subprocess.Popen(
        argv, user=account(), group="daemon", extra_groups=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        until(lambda: answers(node), node)
        try:
            yield
        finally:
            server.send_signal(signal.SIGQUIT)


@pytest.mark.root
async def test_a_server_into_which_it_may_not_look_is_no_proof(m1: Node) -> None:
    m1.stop()
    with of_another_group(m1):
        done, told = await fence(m1, changes={"restart_method": "successplugin"}), await fence(m1, "test")
        assert m1.sql("select 1")
    assert_no_proof(done)
    assert "may not be looked into" in done.details
    assert (told.outcome, "may not be looked into" in told.details) == (FAIL, True)
    assert_fenced(m1, await fence(m1))


@pytest.mark.root
async def test_one_that_names_another_data_directory_hinders_nothing(house: Estate, m1: Node) -> None:
    other = house.master("m3")
    other.stop()
    with of_another_group(other):
        assert_fenced(m1, await fence(m1))
        assert other.sql("select 1")


@pytest.mark.parametrize("pgdata", ["/nowhere", "/proc", "/etc"])
async def test_what_is_no_data_directory_proves_nothing(m1: Node, pgdata: str) -> None:
    done = await fence(m1, changes={"pgdata": pgdata, "restart_method": "failplugin"})
    assert_no_proof(done)
    assert done.extra["untouched"] is True
    assert m1.runs


async def test_a_symbolic_link_to_pgdata_hides_nothing(m1: Node) -> None:
    link = m1.folder / "link"
    link.symlink_to(m1.data)
    assert_fenced(m1, await fence(m1, changes={"pgdata": str(link), "restart_method": "successplugin"}))


async def test_a11_a_pgdata_in_which_nothing_can_be_left_is_no_proof(m1: Node) -> None:
    m1.stop()
    m1.data.chmod(0o500)
    try:
        done = await fence(m1)
        told = await fence(m1, "test")
    finally:
        m1.data.chmod(0o700)
    assert_no_proof(done)
    assert "cannot be written" in done.details
    assert (told.outcome, "cannot be written" in told.details) == (FAIL, True)


async def test_without_pg_controldata_it_holds_and_claims_no_end_of_wal(m1: Node) -> None:
    done = await fence(m1, bin_path="/nowhere")
    assert_fenced(m1, done)
    assert not done.extra["last_lsn"]


def reading_by(node: Node, waldump: str) -> str:
    """A folder with the real pg_controldata, and this instead of pg_waldump; the real one is $REAL."""
    folder = node.folder / "programs"
    folder.mkdir()
    (folder / "pg_controldata").symlink_to(programs() / "pg_controldata")
    (folder / "pg_waldump").write_text(f"#!/bin/sh\nREAL={programs() / 'pg_waldump'}\n{waldump}\n")
    (folder / "pg_waldump").chmod(0o755)
    folder.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    "instead",
    [
        '"$REAL" "$@" 2>&1 | head -n 1; kill -KILL $$',
        '"$REAL" "$@" 2>/dev/null | head -n 1; echo "error: could not read from file 1, offset 0: Input/output error" >&2; exit 1',
    ],
    ids=["ended by force", "a broken disk"],
)
async def test_wal_that_was_read_in_part_is_no_end_of_it(m1: Node, instead: str) -> None:
    m1.sql("insert into t select generate_series(1, 1000)")
    done = await fence(m1, bin_path=reading_by(m1, instead))
    assert_fenced(m1, done)
    assert done.extra["last_lsn"] == ""


@pytest.mark.parametrize("behind_bytes", [0, -(1 << 30)], ids=["where it stood", "further than it is"])
async def test_its_wal_is_read_from_where_it_was_last_seen(m1: Node, behind_bytes: int) -> None:
    m1.sql("select pg_switch_wal()")
    m1.sql("select pg_logical_emit_message(true, 'x', repeat('x', 3000000))")
    m1.sql("insert into t select generate_series(1, 1000)")
    end = Lsn.parse(m1.value("pg_current_wal_flush_lsn()::text"))
    m1.stop("immediate")
    asked = m1.folder / "asked"
    asked.touch()
    asked.chmod(0o666)
    folder = reading_by(m1, f'echo "$@" >> {asked}; exec "$REAL" "$@"')
    last = LastSeen(Lsn(end.position_bytes - behind_bytes), 0.0)
    async with plugins(
        m1.server("master", restart_method="restart_pg_ctl"), options={NAME: {"bin_path": folder}}
    ) as called:
        known = dataclasses.replace(called.cluster, last_seen=last)
        done = await called.caller.call(
            Kind.FENCE, NAME, arguments={"servername": "m1"}, cluster=known, deadline_s=60.0
        )
    assert_fenced(m1, done)
    assert Lsn.parse(str(done.extra["last_lsn"])) == end
    begun = [line.rpartition(" ")[2] for line in asked.read_text().splitlines()]
    redo = m1.control("Latest checkpoint's REDO location")
    assert begun[0] == str(Lsn(last.lsn.position_bytes - (1 << 17)))
    assert begun[1:] == ([redo] if behind_bytes else [])


def written_down() -> tuple[Silent, list[Command]]:
    """Hosts as they are, and every command that they are given."""
    ran: list[Command] = []

    def noted(command: Command) -> bool:
        ran.append(command)
        return False

    return Silent(noted, sent=True), ran


async def test_a_look_of_a_moment_ago_is_not_repeated_and_the_service_is_asked_meanwhile(m1: Node) -> None:
    m1.stop("immediate")
    hosts, looks = written_down()
    master = m1.server("master", restart_method="restart_pg_ctl")
    async with plugins(master, hosts=hosts, options={NAME: {}}) as called:
        assert (await called.call(Kind.FENCE, NAME, "test", servername="m1")).outcome is SUCCESS
        done = await called.call(Kind.FENCE, NAME, servername="m1")
    assert_fenced(m1, done)
    assert sum("look" in command.argv for command in looks) == 1


@pytest.mark.parametrize(
    ("later_s", "looks"), [(0.0, 1), (3.0, 2)], ids=["at once", "after a long pause of its clients"]
)
async def test_one_that_was_hastened_a_moment_ago_is_stopped_without_another_look(
    m1: Node, later_s: float, looks: int
) -> None:
    """Clients wait by then."""
    hosts, ran = written_down()
    master = m1.server("master", restart_method="restart_pg_ctl")
    async with plugins(master, hosts=hosts, options={NAME: {}}) as called:
        assert (await called.call(Kind.FENCE, NAME, "hasten", servername="m1")).outcome is SUCCESS
        called.caller._memories[NAME]["m1 is well"] -= later_s
        done = await called.call(Kind.FENCE, NAME, servername="m1")
    assert_fenced(m1, done)
    assert done.extra["state"] == "shut down"
    assert sum("look" in command.argv for command in ran) == looks


@pytest.mark.parametrize(("method", "looks"), [("restart_pg_ctl", "1"), ("successplugin", "3")])
async def test_only_where_the_service_says_that_it_does_not_run_one_look_is_enough(
    m1: Node, method: str, looks: str
) -> None:
    """Else whatever starts it again may be about to; and one that is found running after all is looked for three times in any case."""
    hosts, ran = written_down()
    async with plugins(m1.server("master", restart_method=method), hosts=hosts, options={NAME: {}}) as called:
        assert_fenced(m1, await called.call(Kind.FENCE, NAME, servername="m1"))
    (fenced,) = [command.argv for command in ran if "fence" in command.argv]
    assert fenced[fenced.index("fence") + 3] == looks


async def test_what_hinders_a_stop_is_not_forgotten_when_it_is_hastened(m1: Node) -> None:
    with asleep_in(m1):
        async with plugins(m1.server("master"), options={NAME: {}}) as called:
            await called.call(Kind.FENCE, NAME, "hasten", servername="m1")
            done = await called.call(Kind.FENCE, NAME, servername="m1")
    assert (done.outcome, done.extra.get("untouched")) == (FAIL, True)


async def test_one_that_was_started_since_the_look_is_stopped_all_the_same(m1: Node) -> None:
    m1.stop("immediate")
    async with plugins(m1.server("master", restart_method="restart_pg_ctl"), options={NAME: {}}) as called:
        assert (await called.call(Kind.FENCE, NAME, "test", servername="m1")).outcome is SUCCESS
        called.caller._memories[NAME]["m1"] = called.caller.world.clock.monotonic() + 60
        m1.start()
        done = await called.call(Kind.FENCE, NAME, servername="m1")
    assert_fenced(m1, done)
    assert "nothing of it ran any more" not in done.details


async def test_done_twice_it_is_done_and_released_once_it_is_released(m1: Node) -> None:
    for _ in range(2):
        assert_fenced(m1, await fence(m1))
    assert (await fence(m1, "release")).outcome is SUCCESS
    assert not (m1.data / "standby.signal").exists()
    assert not (m1.data / "handyrep.fenced").exists()
    m1.start()
    assert not m1.value("pg_is_in_recovery()")


async def test_the_standby_signal_of_a_replica_is_not_taken_away(house: Estate, m1: Node) -> None:
    replica = house.replica("r1", m1)
    assert_fenced(replica, await fence(replica))
    assert (await fence(replica, "release")).outcome is SUCCESS
    assert (replica.data / "standby.signal").exists()
    assert not (replica.data / "handyrep.fenced").exists()


async def test_a_release_of_what_was_not_fenced_changes_nothing(house: Estate, m1: Node) -> None:
    replica = house.replica("r1", m1)
    before = sorted(path.name for path in replica.data.iterdir())
    assert (await fence(replica, "release")).outcome is SUCCESS
    assert sorted(path.name for path in replica.data.iterdir()) == before
    assert replica.runs
    replica.stop("immediate")


def is_the_fence(command: Command) -> bool:
    return "fence" in command.argv


@pytest.mark.parametrize("sent", [True, False], ids=["carried out", "not carried out"])
async def test_no_answer_is_no_proof_and_it_can_be_repeated(m1: Node, sent: bool) -> None:
    assert_no_proof(await fence(m1, hosts=Silent(is_the_fence, sent=sent)))
    assert_fenced(m1, await fence(m1))


async def test_a_host_that_says_nothing_at_all_is_no_proof_and_keeps_its_server(m1: Node) -> None:
    done = await fence(m1, hosts=Silent(lambda _: True, sent=False))
    assert_no_proof(done)
    assert done.extra["untouched"] is True
    assert m1.runs


async def test_once_it_has_acted_it_never_says_untouched(m1: Node) -> None:
    done = await fence(m1, hosts=Silent(is_the_fence, sent=False))
    assert_no_proof(done)
    assert "untouched" not in done.extra
    assert not m1.runs


@pytest.mark.parametrize("sent", [True, False])
async def test_a_release_without_an_answer_is_uncertain(m1: Node, sent: bool) -> None:
    await fence(m1)
    assert (await fence(m1, "release", hosts=Silent(lambda _: True, sent=sent))).outcome is UNCERTAIN


async def test_its_test_leaves_everything_as_it_is(m1: Node) -> None:
    before = m1.value("pg_postmaster_start_time()")
    told = await fence(m1, "test")
    assert (told.outcome, "m1" in told.details) == (SUCCESS, True)
    assert m1.value("pg_postmaster_start_time()") == before
    assert not (m1.data / "standby.signal").exists()


async def test_its_test_fails_where_no_proof_could_be_had(m1: Node) -> None:
    wrong = await fence(m1, "test", changes={"pgdata": "/etc"})
    away = await fence(m1, "test", hosts=Silent(lambda _: True, sent=False))
    assert (wrong.outcome, away.outcome) == (FAIL, FAIL)
    assert "m1: /etc has no PG_VERSION" in wrong.details


_SLEEPS = """
import ctypes, os, sys
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[3]))
    ctypes.CDLL(None).prctl(4, 1)
open("/proc/self/comm", "w").write("postgres")
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
"""


@contextlib.contextmanager
def asleep_in(node: Node) -> Iterator[int]:
    """A process of the data directory that the kernel lets sleep uninterruptibly: its child has not begun, as no one opens the other end."""
    never = node.folder / "never"
    os.mkfifo(never)
    never.chmod(0o666)
    owner = node.data.stat()
    argv = [sys.executable, "-c", _SLEEPS, str(never), str(owner.st_gid), str(owner.st_uid)]
    with subprocess.Popen(argv, cwd=node.data) as process:
        stat, children = (Path(f"/proc/{process.pid}/{file}") for file in ("stat", f"task/{process.pid}/children"))
        until(lambda: "(postgres) D " in stat.read_text() and children.read_text())
        try:
            yield process.pid
        finally:
            os.close(os.open(never, os.O_RDWR))
            process.kill()


async def test_a_process_that_waits_for_storage_that_hangs_is_told_and_nothing_is_done(m1: Node) -> None:
    with asleep_in(m1) as process:
        done = await fence(m1)
        assert_no_proof(done)
        assert (done.extra["untouched"], f"processes {process} wait for the storage" in done.details) == (True, True)
        assert (await fence(m1, "test")).outcome is FAIL
        assert m1.value("1") == 1
    assert_fenced(m1, await fence(m1))
