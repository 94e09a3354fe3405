"""The sample file and the reference page: made from the directives, up to date, and true."""

import dataclasses
import re
from pathlib import Path

import pytest

from handyrep.config.read import read, read_text
from handyrep.config.reference import reference
from handyrep.config.sample import sample
from handyrep.config.settings import SECTIONS, ExtraCommand, Settings
from handyrep.directives import directives_of
from handyrep.model.server import Server

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "handyrep.conf"
PAGE = ROOT / "docs" / "configuration.md"


def test_the_sample_is_what_the_directives_say() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample(), "run: make docs"


def test_the_page_is_what_the_directives_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make docs"


def test_the_sample_loads_without_a_word() -> None:
    loaded = read(SAMPLE)
    assert (loaded.problems, loaded.warnings) == ((), ())


def test_the_sample_with_every_comment_taken_away_loads_to_the_same() -> None:
    """So each default in it is right, and is the default."""
    plain, opened = read(SAMPLE), read_text(re.sub(r"(?m)^# (?=\w+ =)", "", sample()), source=str(SAMPLE))
    assert opened.settings is not None, opened.problems
    assert plain.settings is not None
    assert opened.settings.failover == plain.settings.failover
    assert opened.settings.handyrep == plain.settings.handyrep
    assert opened.settings.servers == tuple(_with_a_home(server) for server in plain.settings.servers)
    assert (opened.settings.archive, opened.settings.passwords) == (plain.settings.archive, plain.settings.passwords)
    assert opened.warnings == ()


def _with_a_home(server: Server) -> Server:
    """A default that begins with ~ is made out when it is used; one that is written, when it is read."""
    return dataclasses.replace(server, known_hosts=str(Path(server.known_hosts).expanduser()))


def test_the_examples_in_the_sample_load_too() -> None:
    opened = read_text(re.sub(r"(?m)^    # ", "    ", sample()))
    assert opened.settings is not None, opened.problems
    assert [server.name for server in opened.settings.servers] == ["db1", "db2", "bouncer1"]
    assert opened.settings.extra_failover_commands[0].parameters == ("first", "second, with a comma")
    assert opened.settings.plugins["poll_isready"] == {"isready_path": "/usr/bin/pg_isready"}


@pytest.mark.parametrize("declared", [*SECTIONS.values(), Server, ExtraCommand], ids=lambda declared: declared.__name__)
def test_every_directive_stands_in_both(declared: type) -> None:
    for key, directive in directives_of(declared).items():
        assert re.search(rf"(?m)^(# )?(    )?{key}( =|:)", sample()), key
        assert f"| `{key}` |" in reference()
        assert directive.help.replace("|", "\\|") in reference()


def test_the_sample_fails_over_only_when_told() -> None:
    loaded = read(SAMPLE)
    assert isinstance(loaded.settings, Settings)
    assert loaded.settings.failover.auto_failover is False
