"""rejoin_rewind: real former masters come back as replicas, and none ever comes up beside the new master."""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import Kind
from tests.plugins.former import (
    NAME,
    failover,
    follows,
    kept,
    lost,
    never_comes_up_as_a_master,
    pair_of,
    part,
    promote,
    received,
    rejoin,
    small_estate,
    started_by_hand,
    tools,
)
from tests.plugins.pair import Estate, Node, Silent, died, own, plugins

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
ALONE = uuid.uuid4().hex
SECRET = f"{ALONE} 'p:\\s"


@pytest.fixture(scope="module")
def house() -> Iterator[Estate]:
    with small_estate() as made:
        yield made


@pytest.fixture
def two(house: Estate) -> Iterator[tuple[Node, Node]]:
    with pair_of(house) as made:
        yield made


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_one_that_wrote_nothing_more_follows_without_pg_rewind(two: tuple[Node, Node], mode: str) -> None:
    old, new = failover(*two, mode)
    for _ in range(2):
        told = await rejoin(old, new, changes=tools(old))
        assert told.outcome is SUCCESS, told.details
        assert "without pg_rewind" in told.details
        assert told.extra["rewound"] is False
        await follows(old, new)
    assert kept(old) == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_c9_one_that_wrote_more_is_rewound_and_its_wal_is_kept(two: tuple[Node, Node], mode: str) -> None:
    old, new = part(*two, mode)
    redo = old.control("Latest checkpoint's REDO WAL file")
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert told.extra["rewound"] is True
    await follows(old, new)
    assert old.value("(select count(*) from t where x < 0)") == 0
    (aside,) = kept(old)
    assert (aside / "pg_wal" / redo).exists()
    again = await rejoin(old, new, changes=tools(old))
    assert again.outcome is SUCCESS, again.details
    assert again.extra["rewound"] is False
    await follows(old, new)


async def test_a_dead_postmaster_that_waits_to_be_reaped_is_waited_for(two: tuple[Node, Node]) -> None:
    """PostgreSQL does not recover beside one, and pg_rewind needs that of a server that crashed."""
    old, new = part(*two, "immediate")
    dead = died(old)
    told = asyncio.create_task(rejoin(old, new))
    await asyncio.sleep(1.0)
    assert not told.done()
    await asyncio.to_thread(dead.wait)
    assert (await told).outcome is SUCCESS, told.result().details
    await follows(old, new)


async def test_beside_a_dead_postmaster_that_nobody_reaps_it_stays_stopped_and_says_why(two: tuple[Node, Node]) -> None:
    old, new = part(*two, "immediate")
    dead = died(old)
    told = await rejoin(old, new)
    assert told.outcome is FAIL
    assert f"beside its dead postmaster {dead.pid}, of which the parent has not taken note" in told.details
    dead.wait()
    never_comes_up_as_a_master(old)
    assert (await rejoin(old, new)).outcome is SUCCESS
    await follows(old, new)


async def test_h4_wal_that_lies_elsewhere_is_kept_too(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    elsewhere = old.folder / "wal"
    (old.data / "pg_wal").rename(elsewhere)
    (old.data / "pg_wal").symlink_to(elsewhere)
    assert (await rejoin(old, new)).outcome is SUCCESS
    await follows(old, new)
    (aside,) = kept(old)
    assert not aside.is_symlink()
    assert [file for file in (aside / "pg_wal").iterdir() if len(file.name) == 24]


async def test_one_that_runs_is_fenced_first(two: tuple[Node, Node]) -> None:
    old, new = part(*two, "")
    assert old.runs
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    await follows(old, new)
    assert old.value("(select count(*) from t where x < 0)") == 0


async def test_one_that_is_not_proven_to_be_stopped_is_not_touched(two: tuple[Node, Node]) -> None:
    old, new = part(*two, "")
    told = await rejoin(old, new, hosts=Silent(lambda _: True, sent=False))
    assert told.outcome is FAIL
    assert "is not proven to be stopped" in told.details
    assert old.value("(select count(*) from t where x < 0)") == 40000


async def test_what_it_wrote_beyond_an_earlier_fork_counts_after_a_second_failover(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    new.sql("insert into t select generate_series(10, 80000)")
    new.stop()
    (new.data / "standby.signal").touch()
    own(new.data / "standby.signal")
    new.start()
    promote(new)
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert told.extra["rewound"] is True
    await follows(old, new)
    assert old.value("(select count(*) from t where x < 0)") == 0


async def test_what_is_refused_is_not_even_fenced(two: tuple[Node, Node]) -> None:
    old, new = two
    started = old.value("pg_postmaster_start_time()")
    for told in (
        await rejoin(old, new, newmaster="m1"),
        await rejoin(old, old),
        await rejoin(old, new, newmaster="r9"),
    ):
        assert told.outcome is FAIL
        assert "nothing was touched" in told.details
    for bad in ("x\ny", "x\0y"):
        told = await rejoin(old, new, replication_pass=bad)
        assert told.outcome is FAIL
        assert "line break" in told.details
    assert old.value("pg_postmaster_start_time()") == started
    assert not (old.data / "standby.signal").exists()


@pytest.mark.parametrize("why", ["hints", "program", "password"])
async def test_c17_what_pg_rewind_cannot_do_leaves_it_stopped_and_harmless(two: tuple[Node, Node], why: str) -> None:
    old, new = two
    if why == "hints":
        old.configure("wal_log_hints = off")
        old.stop()
        old.start()
    part(old, new, "immediate")
    known: dict[str, Any] = {"program": {"changes": tools(old)}, "password": {"superuser_pass": "canary-wrong"}}
    told = await rejoin(old, new, **known.get(why, {}))
    assert told.outcome is FAIL
    reasons = {"hints": "wal_log_hints", "program": "is not on this server", "password": "authentication failed"}
    assert reasons[why] in told.details
    assert "next: handyrep clone m1 --reclone" in told.details
    assert "canary" not in repr(told)
    assert (old.data / "standby.signal").exists()
    never_comes_up_as_a_master(old)
    if why != "hints":
        assert (await rejoin(old, new)).outcome is SUCCESS
        await follows(old, new)


# Files may grow to 1 MB: what pg_rewind has to write behind that breaks it off half way.
BREAKS = 'case "$*" in *--dry-run*) exec "$real" "$@";; esac; trap "" XFSZ; ulimit -f 2048; "$real" "$@"'


async def test_c18_one_that_was_broken_off_never_starts_and_is_rewound_again(two: tuple[Node, Node]) -> None:
    old, new = two
    old.sql("insert into t select generate_series(10, 40000)")
    old, new = part(old, new)
    told = await rejoin(old, new, changes=tools(old, BREAKS))
    assert told.outcome is FAIL
    assert "File too large" in told.details
    assert not started_by_hand(old)
    told = await rejoin(old, new)
    assert told.outcome is SUCCESS, told.details
    assert told.extra["rewound"] is True
    await follows(old, new)


async def test_one_that_recovered_alone_is_no_master_wherever_the_next_two_tries_are_killed(
    two: tuple[Node, Node],
) -> None:
    old, new = part(*two, "immediate")
    for instead, program in (('"$real" "$@"; kill -9 $PPID', "postgres"), ("kill -9 $PPID", "pg_rewind")):
        told = await rejoin(old, new, hosts=Silent(lost("forbid"), sent=False), changes=tools(old, instead, program))
        assert told.outcome is not SUCCESS, told.details
        never_comes_up_as_a_master(old)
        assert old.control("Database cluster state").startswith("shut down")


@pytest.fixture
def careful(two: tuple[Node, Node]) -> dict[str, Any]:
    """A superuser of its own, so that nobody else's passwords are seen."""
    where = f"host={two[0].folder} port={two[0].port} user=postgres dbname=postgres"
    with psycopg.connect(where, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(sql.SQL("create role careful superuser login password {}").format(SECRET))
    received(*two)
    return {"postgres_superuser": "careful", "superuser_pass": SECRET}


def left_in_tmp() -> list[str]:
    """Files directly in /tmp in which the password stands."""
    found = []
    for file in Path("/tmp").iterdir():
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if file.is_file() and ALONE.encode() in file.read_bytes():
                found.append(file.name)
    return found


async def test_at_its_deadline_it_is_uncertain_and_harmless(two: tuple[Node, Node], careful: dict[str, Any]) -> None:
    old, new = two
    old.sql("insert into t select generate_series(10, 40000)")
    old, new = part(old, new)
    told = await rejoin(
        old, new, changes=tools(old, f"{BREAKS}; echo $$ > pid; exec sleep 60"), deadline_s=8.0, **careful
    )
    assert told.outcome is UNCERTAIN
    assert ALONE not in repr(told)
    assert left_in_tmp() == []
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((old.folder / "pid").read_text()), signal.SIGKILL)
    never_comes_up_as_a_master(old)


async def test_after_each_lost_answer_it_is_uncertain_and_a_repeat_goes_on(two: tuple[Node, Node]) -> None:
    old, new = part(*two)
    for word, sent in (("rewind", False), ("rewind", True), ("set_following", False), ("set_following", True)):
        told = await rejoin(old, new, hosts=Silent(lost(word), sent=sent))
        assert told.outcome is UNCERTAIN, (word, told)
        assert (old.data / "standby.signal").exists()
        never_comes_up_as_a_master(old)
    assert (await rejoin(old, new, hosts=Silent(lost("start")))).outcome is UNCERTAIN
    assert (await rejoin(old, new)).outcome is SUCCESS
    await follows(old, new)


async def test_without_the_new_master_it_is_fenced_and_no_more(two: tuple[Node, Node]) -> None:
    old, new = part(*two, "")
    new.stop()
    told = await rejoin(old, new)
    assert told.outcome in (FAIL, UNCERTAIN)
    assert kept(old) == []
    assert (old.data / "standby.signal").exists()
    never_comes_up_as_a_master(old)


async def test_no_password_is_in_an_argument_or_a_result_or_stays_behind(two: tuple[Node, Node], careful: dict[str, Any]) -> None:  # fmt: skip
    old, new = part(*two, "immediate")
    looks = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' >> seen; "
    failed = await rejoin(old, new, changes=tools(old, f"{looks} exit 3"), **careful)
    assert failed.outcome is FAIL
    assert left_in_tmp() == []
    made = await rejoin(old, new, changes=tools(old, f'{looks} exec "$real" "$@"'), **careful)
    assert made.outcome is SUCCESS, made.details
    seen = (old.folder / "seen").read_text()
    assert "--source-server=" in seen
    assert all(secret not in seen + repr(failed) + repr(made) for secret in (ALONE, "canary"))
    assert left_in_tmp() == []
    await follows(old, new)


async def test_its_test_finds_that_the_program_is_missing(house: Estate) -> None:
    old = house.node("m1")
    for changes, outcome in (({}, SUCCESS), (tools(old), FAIL)):
        async with plugins(old.server("replica", **changes), house.node("r1").server("master")) as called:
            told = await called.call(Kind.REJOIN, NAME, "test", servername="m1")
        assert told.outcome is outcome
        assert "pg_rewind is" in told.details
