"""The command line without servers: help, exit codes, wrong use, wrong configuration; nothing ends in a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from handyrep.model.result import fail, success, uncertain
from handyrep.operations import OPERATIONS
from handyrep.surfaces.cli import exit_code

GOOD = """
[handyrep]
state_dir = {state}
[passwords]
superuser_pass = hush-hush-canary
[servers]
[[m1]]
hostname = 127.0.0.1
port = 9
role = master
pgdata = /nowhere/data
control = local
"""


def handyrep(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    ran = subprocess.run(
        [sys.executable, "-m", "handyrep", *arguments], capture_output=True, text=True, cwd=cwd, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "200", **environment},
    )  # fmt: skip
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "hush-hush-canary" not in ran.stdout + ran.stderr
    return ran


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    file = tmp_path / "handyrep.conf"
    file.write_text(GOOD.format(state=tmp_path / "state"))
    return file


def test_every_operation_is_a_command(tmp_path: Path) -> None:
    shown = handyrep("--help", cwd=tmp_path).stdout
    assert [name for name in OPERATIONS if name.replace("_", "-") not in shown] == []


def test_a_wrong_configuration_names_every_mistake_and_ends_with_2(tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("[failover]\nauto_failover = maybe\npol_method = x\n[servrs]\n")
    ran = handyrep("config", "check", str(bad), cwd=tmp_path)
    assert ran.returncode == 2
    assert all(word in ran.stderr for word in ("auto_failover", "poll_method", "servers"))


def test_an_unknown_plugin_refuses_the_start(conf: Path, tmp_path: Path) -> None:
    conf.write_text(conf.read_text() + "[failover]\npoll_method = pol_isready\n")
    ran = handyrep("status", cwd=tmp_path)
    assert ran.returncode == 2
    assert "did you mean poll_isready" in ran.stderr


def test_check_and_show_of_a_good_one(conf: Path, tmp_path: Path) -> None:
    assert handyrep("config", "check", cwd=tmp_path).returncode == 0
    shown = handyrep("config", "show", "--json", cwd=tmp_path)
    values = {(row["section"], row["key"]): row["value"] for row in json.loads(shown.stdout)}
    assert values["passwords", "superuser_pass"] == "***"


def test_no_configuration_at_all(tmp_path: Path) -> None:
    ran = handyrep("status", cwd=tmp_path)
    assert ran.returncode == 2
    assert "handyrep.conf" in ran.stderr


def test_status_as_json_of_a_cluster_nobody_looked_at(conf: Path, tmp_path: Path) -> None:
    ran = handyrep("--json", "status", cwd=tmp_path)
    rd = json.loads(ran.stdout)
    assert (ran.returncode, rd["result"], rd["servers"]["m1"]["status_no"]) == (0, "SUCCESS", 0)


def test_a_refusal_says_why_and_ends_with_2(conf: Path, tmp_path: Path) -> None:
    ran = handyrep("disable", "m1", cwd=tmp_path)
    assert ran.returncode == 2
    assert "is the master and cannot be disabled" in ran.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["disable"], ["read-log", "--numlines", "x"], ["--nonsense"], ["plugin", "new"]]
)
def test_wrong_use_ends_with_2(arguments: list[str], conf: Path, tmp_path: Path) -> None:
    assert handyrep(*arguments, cwd=tmp_path).returncode == 2


def test_a_state_directory_that_cannot_be_made(conf: Path, tmp_path: Path) -> None:
    conf.write_text(conf.read_text().replace(str(tmp_path / "state"), "/dev/null/state"))
    ran = handyrep("status", cwd=tmp_path)
    assert ran.returncode == 1
    assert "state_dir" in ran.stderr


def test_a_damaged_state_file_is_never_taken_for_none(conf: Path, tmp_path: Path) -> None:
    assert handyrep("alter-server-def", "m1", "lag_limit=5", cwd=tmp_path).returncode == 0
    for file in (tmp_path / "state").glob("servers.save*"):
        file.write_text("{ not whole")
    ran = handyrep("status", cwd=tmp_path)
    assert ran.returncode == 1
    assert "servers.save" in ran.stderr


def test_plugins_are_made_listed_and_tested(conf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    conf.write_text(conf.read_text().replace("[handyrep]", f"[handyrep]\nplugins_dir = {folder}"))
    assert handyrep("plugin", "new", "my_poll", "--kind", "poll", cwd=tmp_path).returncode == 0
    assert handyrep("plugin", "new", "my_poll", "--kind", "poll", cwd=tmp_path).returncode != 0
    listed = json.loads(handyrep("plugin", "list", "--json", cwd=tmp_path).stdout)
    assert [row["kinds"] for row in listed if row["name"] == "my_poll"] == ["poll"]
    tested = handyrep("plugin", "test", "my_poll", cwd=tmp_path)
    assert (tested.returncode, "my_poll is ready" in tested.stdout) == (0, True)


def test_exit_codes() -> None:
    assert [exit_code(r.as_rd()) for r in (success(), fail("x"), uncertain("x"), fail("x", error="RefusedError"))] == [
        0,
        1,
        3,
        2,
    ]


def test_e9_a_definition_that_was_changed_in_the_file_alone_is_told(conf: Path, tmp_path: Path) -> None:
    assert handyrep("alter-server-def", "m1", "lag_limit=5", cwd=tmp_path).returncode == 0
    told = handyrep("read-log", cwd=tmp_path).stdout
    assert "m1 is defined differently" in told
    assert "lag_limit" in told
