"""fence_command: off is what the status command answers, exactly and twice; nothing else is, and no secret is told."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import FakeWorld, example_cluster, refusing
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Command, Ran
from tests.plugins.pair import Silent, plugins

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "fence_command"
SECRET = "canary-of-the-switch"


@dataclasses.dataclass
class Switch:
    """A power switch: programs that keep its state in a folder, and write down what they were given."""

    folder: Path

    def program(self, name: str, script: str) -> str:
        file = self.folder / name
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> {self.folder}/asked\ncd {self.folder}\n{script}\n')
        file.chmod(0o755)
        return str(file)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def options(self, off: str = "echo off > state", status: str = "cat state", on: str = "") -> dict[str, Any]:
        self.state.exists() or self.state.write_text("on\n")
        known: dict[str, Any] = {
            "off_command": (self.program("off", off), "{name}", "{hostname}", SECRET),
            "status_command": (self.program("status", status), "{name}"),
            "poll_interval": "10 ms", "patience": "500 ms",
        }  # fmt: skip
        return known | ({"on_command": (self.program("on", on), "{name}")} if on else {})


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path)


async def call(options: dict[str, Any], method: str = "run", hosts: Any = None, **arguments: Any) -> Result:
    given = arguments or {"servername": "m1"}
    async with plugins(*example_cluster().servers, hosts=hosts, options={NAME: options}) as called:
        answer = await called.call(Kind.FENCE, NAME, method, **given)
    assert "canary" not in json.dumps(answer.as_rd())
    return answer


async def test_it_is_switched_off_and_that_is_proven_by_two_answers(switch: Switch) -> None:
    done = await call(switch.options())
    assert done.outcome is SUCCESS, done.details
    assert done.extra["proof"] == "status_command answered 'off' for m1, 2 times in a row"
    assert switch.asked == ["status", "m1", "off", "m1", "m1.example", SECRET, "status", "m1", "status", "m1"]


async def test_it_may_take_a_while(switch: Switch) -> None:
    slowly = switch.options(off="(sleep 0.3; echo off > state) >/dev/null 2>&1 &")
    done = await call(slowly | {"patience": "30 s"})
    assert done.outcome is SUCCESS
    assert switch.asked.count("status") > 3


async def test_what_is_off_already_is_sent_nothing(switch: Switch) -> None:
    switch.state.write_text("  off\n\n")
    done = await call(switch.options())
    assert done.outcome is SUCCESS
    assert done.extra["proof"]
    assert switch.asked == ["status", "m1"] * 2


async def test_once_off_and_then_on_again_is_sent_the_order(switch: Switch) -> None:
    options = switch.options(status="cat state; echo on > state")
    switch.state.write_text("off\n")
    assert (await call(options)).outcome is UNCERTAIN
    assert "off" in switch.asked


@pytest.mark.parametrize(
    "status",
    [
        "echo OFF",
        "echo off; echo really",
        "echo offline",
        "echo 'power is off'",
        "echo off >&2; echo on",
        "echo 'o ff'",
    ],
)
async def test_an_accepted_order_is_not_off(switch: Switch, status: str) -> None:
    done = await call(switch.options(off="echo off", status=status))
    assert (done.outcome, "proof" in done.extra, "untouched" in done.extra) == (UNCERTAIN, False, False)
    assert "nothing is proven: off_command was accepted; status_command answered something else" in done.details


async def test_never_twice_in_a_row_is_not_off(switch: Switch) -> None:
    flapping = "test -e flag && { rm flag; echo on; exit; }; touch flag; cat state"
    done = await call(switch.options(status=flapping))
    assert (done.outcome, "proof" in done.extra) == (UNCERTAIN, False)


async def test_an_answer_of_a_status_command_that_fails_does_not_count(switch: Switch) -> None:
    options = switch.options(status="cat state; grep -q on state")
    done = await call(options)
    assert (done.outcome, "proof" in done.extra) == (UNCERTAIN, False)
    assert "status_command ended with 1" in done.details


async def test_a_failed_order_is_looked_after_all_the_same(switch: Switch) -> None:
    done = await call(switch.options(off="echo off > state; exit 3"))
    assert done.outcome is SUCCESS
    assert "off_command ended with 3" in done.details


async def test_a_refused_order_is_a_plain_no(switch: Switch) -> None:
    done = await call(switch.options(off=f"echo {SECRET}; echo {SECRET} >&2; exit 3"))
    assert (done.outcome, "untouched" in done.extra) == (FAIL, False)
    assert "off_command ended with 3" in done.details


async def test_a_program_that_is_not_there_proves_nothing(switch: Switch) -> None:
    done = await call({**switch.options(), "off_command": ("/nowhere/power", "off")})
    assert (done.outcome, "proof" in done.extra) == (FAIL, False)
    assert "off_command ended with 127" in done.details


@pytest.mark.parametrize("status", ["exit 1", "echo off; exit 1", "echo", f"echo {SECRET} >&2; exit 9", "kill -9 $$"])
async def test_when_the_status_cannot_be_asked_nothing_is_done(switch: Switch, status: str) -> None:
    done = await call(switch.options(status=status))
    assert (done.outcome, done.extra) == (FAIL, {"untouched": True})
    assert "nothing was done" in done.details
    assert "off" not in switch.asked


async def test_when_the_status_is_lost_after_the_order_it_is_uncertain(switch: Switch) -> None:
    (switch.folder / "broken").write_text("")
    done = await call(switch.options(off="echo off > state; echo exit 7 > broken", status=". ./broken; cat state"))
    assert (done.outcome, done.extra) == (UNCERTAIN, {})
    assert "status_command ended with 7" in done.details


def within(deadline_s: float, options: dict[str, Any]) -> Result:
    async def called() -> Result:
        async with plugins(*example_cluster().servers, options={NAME: options}) as known:
            arguments = {"servername": "m1"}
            return await known.caller.call(
                Kind.FENCE, NAME, "run", arguments, cluster=known.cluster, deadline_s=deadline_s
            )

    return asyncio.run(called())


def test_an_order_that_hangs_leaves_time_to_look(switch: Switch) -> None:
    done = within(3.0, switch.options(off="echo off > state; exec sleep 60", status="sleep 0.15; cat state"))
    assert done.outcome is SUCCESS
    assert "off_command did not end in time" in done.details


def test_an_order_that_hangs_and_is_not_seen_done_is_uncertain(switch: Switch) -> None:
    done = within(2.0, switch.options(off="exec sleep 60"))
    assert (done.outcome, "proof" in done.extra) == (UNCERTAIN, False)
    assert "off_command did not end in time" in done.details


def test_a_status_that_hangs_leaves_it_untouched(switch: Switch) -> None:
    done = within(1.0, switch.options(status="exec sleep 60"))
    assert (done.outcome, done.extra) == (FAIL, {"untouched": True})
    assert switch.asked == ["status", "m1"]


def test_without_patience_it_ends_by_itself(switch: Switch) -> None:
    done = within(1.0, {**switch.options(off=":"), "patience": "1 h"})
    assert done.outcome is UNCERTAIN
    assert "nothing is proven: off_command was accepted" in done.details


def test_no_shell_sees_an_argument_and_only_the_two_placeholders_are_replaced() -> None:
    sent: list[tuple[str, ...]] = []

    async def command(_: object, given: Command, __: float) -> Ran:
        sent.append(given.argv)
        return Ran(0, "off", "")

    odd = ("power", "$(id); {name}", "{hostname}:{name}", "{other}", '{"name": 1}', "{{name}}")
    try_plugin(
        NAME, Kind.FENCE, "run", {"servername": "m1"}, world=FakeWorld(command, refusing().on_query),
        options={"status_command": odd, "off_command": ("power",)},
    )  # fmt: skip
    assert sent == [("power", "$(id); m1", "m1.example:m1", "{other}", '{"name": 1}', "{m1}")] * 2


async def test_release_switches_on_and_looks(switch: Switch) -> None:
    options = switch.options(on="echo on > state")
    assert (await call(options)).outcome is SUCCESS
    assert (await call(options, "release")).outcome is SUCCESS
    assert switch.state.read_text() == "on\n"
    assert "on" in switch.asked


async def test_release_of_what_stays_off_is_uncertain(switch: Switch) -> None:
    options = switch.options(on=":")
    switch.state.write_text("off\n")
    done = await call(options, "release")
    assert (done.outcome, done.details) == (
        UNCERTAIN, "m1: on_command was accepted; status_command answered off_answer"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "status", "outcome"),
    [("on", "cat state", SUCCESS), ("off", "cat state", FAIL), ("off", "exit 1", UNCERTAIN)],
)
async def test_release_without_a_command_says_what_a_person_must_do(
    switch: Switch, state: str, status: str, outcome: Outcome
) -> None:
    options = switch.options(status=status)
    switch.state.write_text(state)
    assert (await call(options, "release")).outcome is outcome
    assert switch.state.read_text() == state


async def test_its_test_asks_every_server_and_switches_nothing(switch: Switch) -> None:
    done = await call(switch.options(on=":"), "test", parameter=None)
    assert done.outcome is SUCCESS
    assert switch.asked == ["status", "m1", "status", "r1", "status", "r2"]


async def test_its_test_of_one_server_asks_that_one(switch: Switch) -> None:
    assert (await call(switch.options(), "test", servername="r2")).outcome is SUCCESS
    assert switch.asked == ["status", "r2"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"off_command": ("/nowhere/power",)}, "the program /nowhere/power is not there"),
        ({"on_command": ("/nowhere/power",)}, "the program /nowhere/power is not there"),
        ({"status_command": ("/bin/false",)}, "m1: status_command ended with 1"),
        ({"status_command": ("/bin/true",)}, "m1: status_command ended with 0 and answered nothing"),
    ],
)
async def test_its_test_finds_what_would_be_no_proof(switch: Switch, changes: dict[str, Any], says: str) -> None:
    done = await call({**switch.options(), **changes}, "test")
    assert done.outcome is FAIL
    assert says in done.details
    assert "off" not in switch.asked


async def test_lost_answers_are_no_answers(switch: Switch) -> None:
    class Lost(Silent):
        async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
            ran = await super().run_here(command, deadline_s=deadline_s)
            return Ran(255, "", "") if self.lost(command) and "off" in switch.asked else ran

    done = await call(switch.options(), hosts=Lost(lambda command: command.argv[0].endswith("status")))
    assert (done.outcome, "proof" in done.extra) == (UNCERTAIN, False)
    assert switch.state.read_text() == "off\n"


def test_the_commands_are_required() -> None:
    refused = try_plugin(NAME, Kind.FENCE, "run", {"servername": "m1"})
    assert isinstance(refused, Result)
    assert refused.outcome is FAIL
    assert "off_command is required" in refused.details
