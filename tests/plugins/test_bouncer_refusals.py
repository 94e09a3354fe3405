"""What cannot go well is refused before anything is pushed: the old file stays, the pgbouncer leads where it led, the reason is said."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handyrep.model.answer import Outcome
from tests.adapters.small_disk import fill, small_disk
from tests.plugins.bouncers import TEMPLATE, Bouncer, Pair, bouncer, cluster_with, managed, owner, pid_of

FAIL, UNCERTAIN = Outcome.FAIL, Outcome.UNCERTAIN


@pytest.fixture(scope="module")
def one(pair: Pair) -> Iterator[Bouncer]:
    """All of these tests leave it as it was, and look."""
    with bouncer(pair.master.port) as made:
        yield made


async def refused(pair: Pair, one: Bouncer, templates: Path, template: str = TEMPLATE, **options: Any) -> str:
    """The reason that is given by run(), init() and test() alike; nothing has changed."""
    before, facts = one.ini.read_bytes(), one.ini.stat()
    reasons = set()
    async with managed(cluster_with(pair, one), one.ini, templates, template=template, **options) as plugin:
        for result in [await plugin.call("run", newmaster="r1"), await plugin.call("init"), await plugin.call("test")]:
            assert result.outcome is FAIL, result
            reasons.add(result.details.removeprefix("no pgbouncer was touched: "))
    assert one.ini.read_bytes() == before
    assert (one.ini.stat().st_ino, one.ini.stat().st_mode) == (facts.st_ino, facts.st_mode)
    assert list(one.folder.glob("pgbouncer.ini.*")) == []
    assert one.leads() == {"postgres": pair.master.port}
    with one.connect() as client:
        assert client.execute("select 1").fetchone() == (1,)
    assert len(reasons) == 1
    return reasons.pop()


TEMPLATES = {
    "none of that name": ("", "is not to be read in"),
    "with an error": ("{{ nothing }}", "'nothing' is undefined"),
    "not to its end": ("{% for %}", "cannot be rendered"),
    "empty": (" ", "does not lead where it should for postgres"),
    "a key that pgbouncer does not know": (TEMPLATE + "bad_key = 1\n", "unknown parameter: pgbouncer/bad_key"),
    "a value that it does not take": (TEMPLATE + "pool_mode = sometimes\n", 'invalid value "sometimes"'),
    "a file that is not there": (TEMPLATE + "%include /nonexistent/more.ini\n", "/nonexistent/more.ini"),
    "a log that it cannot write": (TEMPLATE + "logfile = /nonexistent/log\n", "reloading would end a pgbouncer"),
    "a line that is none": (TEMPLATE + "nonsense\n", "would not understand line"),
}


@pytest.mark.parametrize("name", TEMPLATES)
async def test_d6_a_template_that_gives_nothing_good(pair: Pair, one: Bouncer, tmp_path: Path, name: str) -> None:
    template, why = TEMPLATES[name]
    assert why in await refused(pair, one, tmp_path, template, template_name="" if template else "gone.j2")


@pytest.mark.parametrize("name", ["a b", 'a"b', "a'b", "a=b", "a;b", "a\nb", "50%", "%include x", "ä", "数", "{{ x }}"])
async def test_d9_a_name_that_is_hard_to_write(pair: Pair, one: Bouncer, tmp_path: Path, name: str) -> None:
    why = await refused(pair, one, tmp_path, database_list=("postgres", name))
    reason = "must not contain control characters" if "\n" in name else "cannot be the name of a database in pgbouncer"
    assert reason in why
    assert reason in await refused(pair, one, tmp_path, readonly_suffix=name)


@pytest.mark.parametrize("extra", ["user=x\nadmin_users = y", "user='x", "user", "host=elsewhere"])
async def test_extra_parameters_that_would_be_something_else(
    pair: Pair, one: Bouncer, tmp_path: Path, extra: str
) -> None:
    assert await refused(pair, one, tmp_path, extra_connect_param=extra)


async def test_d12_a_console_that_does_not_let_handyrep_in(pair: Pair, one: Bouncer, tmp_path: Path) -> None:
    users, right = one.folder / "userlist.txt", (one.folder / "userlist.txt").read_text()
    before = one.ini.read_bytes()
    users.write_text('"postgres" "another"\n')
    os.kill(pid_of(one), signal.SIGHUP)
    try:
        async with managed(cluster_with(pair, one), one.ini, tmp_path) as plugin:
            for result in [await plugin.call("run", newmaster="r1"), await plugin.call("test")]:
                assert result.outcome is FAIL
                assert "its console does not let HandyRep in" in result.details
    finally:
        users.write_text(right)
        os.kill(pid_of(one), signal.SIGHUP)
    assert one.ini.read_bytes() == before
    assert one.leads() == {"postgres": pair.master.port}


async def test_a_pgbouncer_that_reads_another_file(pair: Pair, one: Bouncer, tmp_path: Path) -> None:
    other = one.folder / "other.ini"
    other.write_text("mine\n")
    try:
        async with managed(cluster_with(pair, one), other, tmp_path) as plugin:
            for result in [await plugin.call("run", newmaster="r1"), await plugin.call("test")]:
                assert result.outcome is FAIL
                assert f"it was started with {one.ini}" in result.details
        assert other.read_text() == "mine\n"
    finally:
        other.unlink()
    assert one.leads() == {"postgres": pair.master.port}


async def test_one_that_takes_connections_and_does_nothing_is_not_waited_for_long(pair: Pair, tmp_path: Path) -> None:
    with bouncer(pair.master.port) as it:
        os.kill(pid_of(it), signal.SIGSTOP)
        async with managed(cluster_with(pair, it), it.ini, tmp_path) as plugin:
            result = await plugin.call("run", newmaster="r1")
            assert result.outcome is UNCERTAIN, result
            assert result.details.startswith("b1: ")
            assert (await plugin.call("test")).outcome is FAIL
            assert (await plugin.call("poll", bouncerserver="b1")).outcome is FAIL
            os.kill(pid_of(it), signal.SIGCONT)
            assert (await plugin.call("run", newmaster="r1")).outcome is Outcome.SUCCESS
            assert it.leads()["postgres"] == pair.replica.port


@pytest.mark.root
async def test_d5_a_disk_that_is_full(pair: Pair, tmp_path: Path) -> None:
    with bouncer() as it, small_disk(it.folder) as disk:
        shutil.chown(disk, owner())
        it.configure(pair.master.port)
        it.start()
        before = it.ini.read_bytes()
        fill(disk)
        async with managed(cluster_with(pair, it), it.ini, tmp_path) as plugin:
            result = await plugin.call("run", newmaster="r1")
        it.stop()
        assert result.outcome is FAIL, result
        assert f"{it.ini} could not be replaced" in result.details
        assert "No space left" in result.details
        assert it.ini.read_bytes() == before
        assert list(it.folder.glob("pgbouncer.ini.*")) == []
