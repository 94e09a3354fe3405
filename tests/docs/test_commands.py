"""Whatever command a page shows, the command line takes it as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from handyrep.surfaces import cli

ROOT = Path(__file__).parents[2]
_OF_THEIR_OWN = ("config", "plugin", "serve")


def shown() -> list[str]:
    """Every command in a block of a page, without the comment behind it."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [line for page in pages for line in re.findall(r"^handyrep .*$", page.read_text("utf-8"), re.MULTILINE)]
    commands = [shlex.join(shlex.split(line, comments=True)) for line in lines]
    return sorted({one for one in commands if not set(shlex.split(one)) & set(_OF_THEIR_OWN)})


def wrong_use(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command line has against it; '' when nothing."""

    def taken(*_: object) -> None:
        raise typer.Exit(0)

    monkeypatch.setattr(cli, "_do", taken)
    ran = CliRunner().invoke(cli.app, shlex.split(command)[1:])
    return "" if ran.exit_code == 0 else ran.output


@pytest.mark.parametrize("command", shown())
def test_a_command_of_a_page_is_taken(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong_use(command, monkeypatch) == ""


@pytest.mark.parametrize("command", ["handyrep manual-failover a b", "handyrep explain --epock 7"])
def test_a_wrong_one_would_be_found(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong_use(command, monkeypatch)
