"""journal_on_hosts on real files: each server has a home of its own, and the plugin's own scripts run there."""

import asyncio
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api import fakes
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Command, Ran, RunAs

NAMES = ("m1", "r1", "r2", "b1", "a1")


class Homes:
    """A folder for each server; those that are `away` do not answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away: set[str] = set()
        for name in NAMES:
            (folder / name).mkdir()

    async def _run(self, server: Server | None, command: Command, _: float) -> Ran:
        assert server is not None
        assert command.run_as is RunAs.LOGIN, "no more rights than it takes"
        if server.name in self.away:
            raise NoAnswerError("no route", server=server.name)
        environment = {"HOME": str(self.folder / server.name), "PATH": "/usr/bin:/bin"}
        done = await asyncio.to_thread(
            subprocess.run,
            command.argv,
            env=environment,
            cwd="/",
            input=command.stdin,
            capture_output=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def call(self, method: str, **arguments: Any) -> Result:
        world = fakes.refusing()
        world.on_command = self._run
        result = try_plugin("journal_on_hosts", Kind.JOURNAL, method, arguments, world=world)
        assert isinstance(result, Result)
        return result

    def file(self, name: str) -> Path:
        return self.folder / name / ".handyrep" / "handyrep.journal"


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path)


TEXT = '{"records": [], "cluster": "öß\'\\"$(id)`"}\n'


def test_what_is_written_is_read_from_every_host(homes: Homes) -> None:
    assert homes.call("test").outcome is Outcome.SUCCESS
    assert homes.call("read").extra["texts"] == {}
    assert homes.call("run", text=TEXT).outcome is Outcome.SUCCESS
    assert homes.call("read").extra["texts"] == dict.fromkeys(NAMES, TEXT)
    assert homes.call("run", text="newer").details == "5 of 5 servers hold it"
    assert homes.call("read").extra["texts"] == dict.fromkeys(NAMES, "newer")


def test_nobody_else_reads_it_and_nothing_is_left_beside_it(homes: Homes) -> None:
    homes.call("run", text=TEXT)
    homes.call("run", text=TEXT)
    file = homes.file("r1")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)] == [0o700, 0o600]
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("away", "outcome"), [(2, Outcome.SUCCESS), (3, Outcome.FAIL)])
def test_more_than_half_must_answer(homes: Homes, away: int, outcome: Outcome) -> None:
    homes.call("run", text="old")
    homes.away = set(NAMES[:away])
    assert homes.call("run", text=TEXT).outcome is outcome
    read = homes.call("read")
    assert read.outcome is outcome
    assert read.extra["texts"] == dict.fromkeys(NAMES[away:], TEXT)
    assert "m1: no answer: no route" in read.details
    assert homes.call("test").outcome is outcome


def test_a_home_that_cannot_be_written_does_not_count(homes: Homes) -> None:
    for name in ("m1", "r1", "r2"):
        (homes.folder / name / ".handyrep").write_text("a file stands where the folder should be")
    assert "File exists" in homes.call("run", text=TEXT).details
    assert homes.call("run", text=TEXT).outcome is Outcome.FAIL


def test_a_copy_that_was_torn_leaves_the_one_before(homes: Homes) -> None:
    homes.call("run", text="old")
    file = homes.file("m1")
    file.chmod(0o600)
    (file.parent / "XYZ").write_text("half a copy")
    assert homes.call("read").extra["texts"]["m1"] == "old"


def places(homes: Homes, name: str) -> list[str]:
    told = homes.call("footprint", servername=name)
    assert told.outcome is Outcome.SUCCESS, told.details
    return [one["where"] for one in told.extra["traces"]]


def test_its_copies_are_told_of_and_taken_back_with_the_folder(homes: Homes) -> None:
    assert places(homes, "m1") == []
    homes.call("run", text=TEXT)
    fresh, old = (homes.file("m1").parent / name for name in ("ABCDabcd", "12345678"))
    for part in (fresh, old):
        part.write_text("half a copy")
    os.utime(old, (0, 0))
    assert sorted(places(homes, "m1")) == sorted(map(str, (old, homes.file("m1"))))
    assert homes.call("take_back", servername="m1").outcome is Outcome.SUCCESS
    assert places(homes, "m1") == []
    assert fresh.exists(), "it may be being written at this moment"
    assert places(homes, "b1") == [str(homes.file("b1"))]
    assert homes.call("take_back", servername="b1").outcome is Outcome.SUCCESS
    assert not homes.file("b1").parent.exists()
    assert homes.call("take_back", servername="b1").outcome is Outcome.SUCCESS


def test_what_is_on_a_host_that_is_away_is_not_known(homes: Homes) -> None:
    homes.away = {"m1"}
    assert homes.call("footprint", servername="m1").outcome is Outcome.FAIL
    assert homes.call("take_back", servername="m1").outcome is Outcome.UNCERTAIN
