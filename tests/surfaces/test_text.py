"""Answers as people see them, and the commands in this process: tables, sentences, nothing that moves a cursor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handyrep.surfaces import text
from handyrep.surfaces.cli import app
from tests.surfaces.test_cli import GOOD

SERVER = {
    "name": "m1", "role": "master", "enabled": True, "hostname": "h", "port": 1, "lag": 0.5, "replicating": None, "status": "healthy",
    "status_no": 1, "status_ts": "2026-01-01T00:00:00+00:00", "status_message": "bad \x1b[31m and\nnew line",
}  # fmt: skip
CLUSTER = {"name": "c", "epoch": 1, "frozen": "", "status": "healthy", "status_message": "all is well"}
VERDICT = {"rule": "F07", "move": "nothing", "sentence": "m1 accepts connections.", "because": ["m1: up yes"]}


@pytest.fixture(autouse=True)
def _fresh_console() -> Iterator[None]:
    text.console.cache_clear()
    yield
    text.console.cache_clear()


@pytest.mark.parametrize(
    ("name", "rd", "words"),
    [
        (
            "get_status",
            {
                "result": "SUCCESS",
                "cluster": CLUSTER,
                "servers": {"m1": SERVER},
                "under_way": "failover 2",
                "verdict": VERDICT,
                "given_up": {
                    "times": 3,
                    "at": "2026-01-01T05:40:12+00:00",
                    "text": "it was given up: r1 lacks 9 bytes",
                },
                "synchronous": {"in_force": "ANY 1 (r1)", "wanted": "ANY 1 (r1)", "why": ""},
            },
            [
                "all is well",
                "m1",
                "failover 2",
                "F07",
                "tried 3 times in vain since the master is not well, the last time at 2026-01-01 05:40:12: it was given up",
                "commits wait for ANY 1 (r1)",
            ],
        ),
        (
            "get_server_info",
            {"result": "SUCCESS", "servers": {"m1": {**SERVER, "enabled": False, "lag": None}}},
            ["disabled"],
        ),
        (
            "doctor",
            {
                "result": "FAIL",
                "details": "1 of 1",
                "plugins": [{"result": "FAIL", "plugin": "fence_stop", "kind": "fence", "details": "no"}],
                "protection": {
                    "level": "P0",
                    "sentence": "P0, nothing",
                    "missing": ["a fence"],
                    "uncovered": "a host that is off",
                },
                "synchronous": {"in_force": "", "wanted": "ANY 1 (r1)", "why": "not yet"},
            },
            [
                "fence_stop",
                "protection P0, nothing",
                "missing: a fence",
                "not covered: a host that is off",
                "commits wait for no replica",
                "wanted: ANY 1 (r1); not yet",
            ],
        ),
        (
            "what_if",
            {
                "result": "SUCCESS",
                "details": "fail over",
                "event": "m1: off",
                "because": ["m1: up no"],
                "proofs": [{"fence": "fence_stop", "possible": "no", "said": "away"}],
                "plan": ["look", "promote"],
                "candidate": "r1",
                "lost_bytes": 7,
                "data_proof": "read",
                "lost_slots": ["r1 lacks the slot cdc"],
            },
            [
                "Supposed: m1: off",
                "m1: up no",
                "fence_stop: no (away)",
                "2. promote",
                "7 bytes (read)",
                "slot cdc",
                "fail over",
            ],
        ),
        (
            "footprint",
            {
                "result": "FAIL",
                "details": "2 things",
                "traces": [
                    {"server": "m1", "name": "guard", "where": "unit g", "purpose": "stops it\x07", "stays": ""},
                    {"server": "r1", "name": "slot", "where": "slot s", "purpose": "keeps WAL", "stays": "r2 uses it"},
                ],
                "unknown": [{"server": "b1", "plugin": "", "why": "no answer"}],
            },
            [
                "unit g",
                "stops it",
                "takes it back",
                "leaves it: r2 uses it",
                "not known: b1: no answer",
                "FAIL: 2 things",
            ],
        ),
        (
            "release",
            {
                "result": "FAIL",
                "details": "1 taken",
                "taken": [{"server": "m1", "name": "guard", "where": "unit g", "purpose": "p", "stays": ""}],
                "still_there": [{"server": "r1", "name": "file", "where": "/f", "purpose": "p", "stays": ""}],
                "staying": [{"server": "r1", "name": "slot", "where": "slot s", "purpose": "p", "stays": "needed"}],
            },
            ["taken back", "STILL THERE", "stays: needed", "FAIL: 1 taken"],
        ),
        (
            "release",
            {
                "result": "SUCCESS",
                "details": "nothing was done",
                "going": [{"server": "m1", "name": "guard", "where": "unit g", "purpose": "p", "stays": ""}],
            },
            ["would be taken back", "SUCCESS: nothing was done"],
        ),
        ("release", {"result": "FAIL", "details": "refused"}, ["FAIL: refused"]),
        ("what_if", {"result": "FAIL", "details": "no such server"}, ["no such server"]),
        ("read_log", {"result": "SUCCESS", "lines": [{"at": "t", "text": "said \x07"}]}, ["said"]),
        (
            "doctor",
            {
                "result": "FAIL",
                "details": "one",
                "plugins": [{"result": "FAIL", "plugin": "p", "kind": "poll", "details": "no"}],
            },
            ["FAIL", "p (poll)"],
        ),
        ("poll", {"result": "FAIL", "details": "silent"}, ["FAIL: silent"]),
    ],
)
def test_what_people_see(
    name: str, rd: dict[str, object], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text.show(name, rd)
    shown = capsys.readouterr().out
    assert [word for word in words if word not in shown] == []
    assert "\x1b[31m and" not in shown
    assert "\x07" not in shown


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    file = tmp_path / "handyrep.conf"
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    file.write_text(GOOD.format(state=tmp_path / "state").replace("[handyrep]", f"[handyrep]\nplugins_dir = {plugins}"))
    return file


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["version"], 0, "0."),
        (["config", "check"], 0, "in order"),
        (["config", "show"], 0, "poll_interval"),
        (["config", "show", "--json"], 0, "poll_interval"),
        (["plugin", "list"], 0, "fence_stop"),
        (["plugin", "list", "--json"], 0, "fence_stop"),
        (["plugin", "new", "mine", "--kind", "poll"], 0, "Next: fill in"),
        (["plugin", "test", "one_hr_master"], 0, "SUCCESS"),
        (["plugin", "test", "poll_connect"], 1, "FAIL"),
        (["status"], 0, "m1"),
        (["status", "--check", "poll"], 0, "no answer"),
        (["--json", "get-master-name"], 0, '"master": "m1"'),
        (["doctor"], 1, "fence_stop"),
        (["footprint"], 3, "not known"),
        (["footprint", "m9"], 2, "there is no server"),
        (["release", "other"], 2, "this cluster is named"),
        (["explain"], 0, "no verdict yet"),
        (["explain", "failover"], 2, "no failover yet"),
        (["explain", "17"], 2, "there is no verdict '17'"),
        (["explain", "--replay"], 2, "no verdict is kept"),
        (["verdicts"], 0, "0 verdicts"),
        (["verdicts", "--count", "0"], 2, "between 1 and"),
        (["failover-check"], 1, ""),
        (["get-setting", "failover", "poll_method"], 0, "poll_isready"),
        (["poll-all"], 1, "m1"),
        (["verify-master"], 1, "no answer"),
        (["manual-failover"], 1, "nothing was promoted"),
        (["start-archiving"], 1, "archive_script_method"),
        (["connection-failover"], 1, "connection_failover_method"),
        (["answer", "settled"], 0, "automation goes on"),
        (["add-server", "r1", "hostname=h,pgdata=/d"], 0, "r1 is known and disabled"),
        (["add-server", "r1", "hostname=h,nonsense=1"], 2, "nonsense"),
        (["alter-server-def", "m1", "role=replica"], 2, "switchover"),
        (["alter-server-def", "m1", "enabled=False"], 2, "handyrep enable"),
        (["clone", "m1"], 2, "overwrite"),
        (["remaster", "m1"], 2, "it is the master"),
        (["startup", "nobody"], 2, "there is no server"),
        (["promote", "m1"], 2, "is the master already"),
    ],
)
def test_commands_in_this_process(arguments: list[str], code: int, words: str, conf: Path) -> None:
    result = CliRunner().invoke(app, ["-c", str(conf), *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    assert words in result.output
