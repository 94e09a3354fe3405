"""explain and verdicts as people see them, and as they are typed: from one command to the next, in the terminal and as JSON."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handyrep.surfaces import text
from handyrep.surfaces.cli import app
from tests.engine.test_explain import after_two, call, explain, refusing
from tests.surfaces.test_cli import GOOD


@pytest.fixture(autouse=True)
def _wide_console(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "200")
    text.console.cache_clear()
    yield
    text.console.cache_clear()


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    file = tmp_path / "handyrep.conf"
    file.write_text(GOOD.format(state=tmp_path / "state"))
    return file


def shown(name: str, rd: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    text.show(name, rd)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


async def test_a_verdict_is_its_sentence_then_who_saw_what_then_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown("explain", await explain(await refusing()), capsys)
    assert lines[0].startswith("verdict 2 of 2026-01-01 00:16:41.500, 3 times until 2026-01-01 00:16:45.500")
    assert lines[1].startswith("F16 (refuse): m1 is gone, but nothing proves")
    assert lines[2] == "server up alive host runs writes hangs sees master is timeline position said"
    assert lines[3].startswith("m1 no - no - - - - - - - poll: silent; host: no SSH")
    assert lines[4].startswith("r1 yes yes yes - - - no replica 1 0/3E8")
    assert "fence fence_stop: no (no SSH)" in lines
    assert "F07: m1 was not seen to accept connections, or ends no commit" in lines
    assert "Were it not for F16: F17 (proceed)" in lines
    assert lines[-1].startswith("What you can do: Make one fence able")
    assert len([line for line in lines if "nothing proves" in line]) == 1


async def test_the_rule_that_would_be_next_has_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown("explain", await explain(await refusing(auto_failover=False)), capsys)
    assert [
        line for line in lines if line.startswith("Were it not for F13: F16 (refuse): m1 is gone, but nothing proves")
    ]
    told = await explain(await refusing(), "1")
    assert not [line for line in shown("explain", told, capsys) if line.startswith("Were it not")]


async def test_a_failover_is_its_steps_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    world = await after_two()
    lines = shown("explain", await explain(world, "failover"), capsys)
    assert lines[0].startswith("failover 2 (finished): F17: m1 is gone")
    assert lines[1:4] == [
        "2026-01-01 00:16:40.500 first suspected: times are counted from here",
        "2026-01-01 00:16:41.000 decided, 500.0 ms later",
        "after took step",
    ]
    assert lines[4].startswith("500.0 ms 0.0 ms SUCCESS recheck")
    assert lines[-1] == "SUCCESS: r1 is the master after the failover from m1"
    told = await explain(world)
    lines = shown("explain", told, capsys)
    assert "The last failover was 2 (finished): handyrep explain failover" in lines
    run = {**told["last_run"], "suspected_for_s": 0.25, "suspected_at": "2026-01-01T00:16:39.750000+00:00"}
    run["steps"] = [{**run["steps"][0], "after_s": None}]
    lines = shown("explain", {**told, "about": "failover", "last_run": run}, capsys)
    assert lines[1:3] == [
        "2026-01-01 00:16:39.750 first suspected: times are counted from here",
        "2026-01-01 00:16:41.000 decided, 250.0 ms later",
    ]
    assert lines[4].startswith("- 0.0 ms SUCCESS")


async def test_other_rules_and_old_records_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    told = await explain(await refusing())
    lines = shown("explain", {**told, "verdict": {**told["verdict"], "differs": "then F16, now F17"}}, capsys)
    assert "by the rules of today: then F16, now F17" in lines
    assert not [line for line in lines if "Rules before it" in line or "Were it not" in line]
    unreadable = {key: value for key, value in told["verdict"].items() if key != "evidence"} | {"unreadable": "too old"}
    lines = shown("explain", {**told, "verdict": unreadable}, capsys)
    assert "its evidence cannot be judged again: too old" in lines
    assert [line for line in lines if line.startswith("m1: up no, alive unknown")]


async def test_a_verdict_that_was_not_kept_and_one_of_the_first_rule(capsys: pytest.CaptureFixture[str]) -> None:
    told = await explain(await refusing())
    bare = {key: told["verdict"][key] for key in ("rule", "move", "sentence", "because", "remedy")}
    lines = shown("explain", {**told, "verdict": bare}, capsys)
    assert lines[0].startswith("F16 (refuse): m1 is gone")
    lines = shown("explain", {**told, "verdict": {**told["verdict"], "passed_over": []}}, capsys)
    assert "Rules before it, and why they did not hold:" not in lines


async def test_what_a_server_says_moves_no_cursor_and_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    told = await explain(await refusing())
    told["verdict"]["evidence"]["m1"]["notes"] = ["\x1b[2J[bold]gone[/bold]"]
    told["verdict"]["choice"] = {"candidate": None, "excluded": [{"name": "r1", "reason": "\x07[red]no[/red]"}]}
    text.show("explain", told)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]gone[/bold]" in out
    assert "may not take over: r1:  [red]no[/red]" in out


async def test_verdicts_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown("verdicts", await call(await refusing(), "verdicts"), capsys)
    assert lines[0] == "id first last times rule move sentence"
    assert lines[1].startswith(
        "1 2026-01-01 00:16:40.000 2026-01-01 00:16:40.000 1 F07 nothing m1 accepts connections."
    )
    assert lines[2].startswith("2 2026-01-01 00:16:41.500 2026-01-01 00:16:45.500 3 F16 refuse m1 is gone")


def typed(conf: Path, *arguments: str) -> tuple[int, str]:
    """(exit code, what was shown) of a command."""
    text.console.cache_clear()
    result = CliRunner().invoke(app, ["-c", str(conf), *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_what_one_command_decided_the_next_explains(conf: Path, tmp_path: Path) -> None:
    assert typed(conf, "failover-check")[0] == 1
    assert "F12 refuse m1 is gone" in " ".join(typed(conf, "verdicts")[1].split())
    explained = typed(conf, "explain")[1]
    assert all(word in explained for word in ("F12 (refuse)", "m1", "What you can do: Start the master"))
    code, replayed = typed(conf, "--json", "explain", "1", "--replay")
    told = json.loads(replayed)["verdict"]
    assert (code, told["id"], told["same_words"]) == (0, 1, True)
    assert told["inputs"]["situation"]["cluster"]["members"]["m1"]["server"]["hostname"] == "127.0.0.1"
    with sqlite3.connect(tmp_path / "state" / "history.db") as other:
        other.execute("update verdict set rule = 'F16'")
    other.close()
    code, replayed = typed(conf, "explain", "--replay")
    assert (code, "FAIL: replayed: then it was F16 (refuse), now it would be F12 (refuse)" in replayed) == (1, True)


async def test_wal_that_no_other_server_had_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    world = await refusing()
    world.events.record("diverged", "m1: 3 transactions were only on m1; kept in /kept", {})
    lines = shown("explain", await explain(world), capsys)
    assert (
        "WAL that no other server had: 2026-11-25T13:00:00 m1: 3 transactions were only on m1; kept in /kept" in lines
    )
