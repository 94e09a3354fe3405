"""The pages tell the truth: generated ones are fresh and complete, and what a reader is told to type works."""

import re
from pathlib import Path

import pytest

from handyrep.decide.docs import page as safety
from handyrep.decide.failover import RULES
from handyrep.operations import OPERATIONS
from handyrep.plugin_api.docs import HEADINGS, page, parts
from handyrep.plugin_api.registry import Registry
from tests.mutation.page import chapter
from tests.surfaces.test_cli import GOOD, handyrep

ROOT = Path(__file__).parents[2]
SEED = [
    "handyrepplugin",
    "failplugin",
    "successplugin",
    "one_hr_master",
    "check_last_ip_db",
    "poll_connect",
    "poll_isready",
    "archive_delete_find",
    "clone_basebackup",
    "replication_mb_lag_93",
    "promote_pg_ctl",
    "select_replica_priority",
    "multi_pgbouncer",
    "pgbouncer_failover",
    "restart_pg_ctl",
    "restart_service",
]


def test_the_page_of_plugins_is_fresh() -> None:
    assert (ROOT / "docs/plugins.md").read_text(encoding="utf-8") == page(), "run: make docs"


def test_the_page_of_safety_is_fresh_and_has_every_rule() -> None:
    text = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
    assert text == f"{safety()}\n{chapter()}", "run: make docs"
    assert [line.split("|")[1].strip() for line in text.splitlines() if re.match(r"\| F\d\d ", line)] == [
        r.id for r in RULES
    ]


@pytest.mark.parametrize("command", re.findall(r"^handyrep (\S+)", safety(), re.MULTILINE))
def test_every_command_of_the_page_of_safety_exists(command: str) -> None:
    assert command.replace("-", "_") in {*OPERATIONS, "status"}


def test_every_command_of_the_page_of_explain_exists() -> None:
    commands = re.findall(r"^handyrep (\S+)", (ROOT / "docs/explain.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(commands) == {"explain", "verdicts"}
    assert set(commands) <= set(OPERATIONS)


def test_every_command_of_the_page_of_the_footprint_exists() -> None:
    commands = re.findall(r"^handyrep (\S+)", (ROOT / "docs/footprint.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(commands) == {"footprint", "release", "end-maintenance"}
    assert {name.replace("-", "_") for name in commands} <= set(OPERATIONS)


@pytest.mark.parametrize("name", SEED)
def test_every_plugin_of_the_seed_is_there_and_documented(name: str) -> None:
    assert f"### {name}\n" in page()


@pytest.mark.parametrize("name", Registry().names())
def test_every_plugin_says_what_it_does_touches_and_needs(name: str) -> None:
    about, headings = parts(Registry().load(name))
    assert about
    assert [heading for heading in HEADINGS if not headings.get(heading)] == []


def test_a_plugin_of_ones_own_as_the_page_tells(tmp_path: Path) -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    chapter = text[text.index("## Writing your own plugin") : text.index("## The plugins")]
    commands = re.findall(r"^ +(handyrep (?:plugin|config) .*)$", chapter, re.MULTILINE)
    assert len(commands) == 4
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    conf = tmp_path / "handyrep.conf"
    conf.write_text(GOOD.format(state=tmp_path / "state").replace("[handyrep]", f"[handyrep]\nplugins_dir = {folder}"))
    assert handyrep(*commands[0].split()[1:], cwd=tmp_path).returncode == 0
    code = re.search(r"```python\n(.*?)```", chapter, re.DOTALL)
    assert code is not None
    (folder / "my_poll.py").write_text(re.sub(r"^   ", "", code[1], flags=re.MULTILINE))
    conf.write_text(conf.read_text() + "[failover]\npoll_method = my_poll\n")
    for command in commands[1:]:
        ran = handyrep(*command.split()[1:], cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    polled = handyrep("poll", "m1", cwd=tmp_path)
    assert "no answer: " in polled.stdout


def test_every_file_that_a_page_points_at_is_there() -> None:
    for page_file in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page_file.read_text(encoding="utf-8")):
            assert (page_file.parent / target).exists(), f"{page_file.name} points at {target}"
