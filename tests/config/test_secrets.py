"""Passwords come from the file, the environment or a file of their own, and never show."""

import dataclasses
import json
import os
import traceback
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handyrep.config.read import load, read, read_text
from handyrep.config.settings import PasswordSettings
from handyrep.config.show import rows
from handyrep.directives import Secret, ValueProblem, directives_of, secret
from handyrep.errors import ConfigurationError
from tests.config.texts import MINIMAL

KEYS = [key for key, directive in directives_of(PasswordSettings).items() if directive.type is secret]
WORD = "xyzzy-sesame"


def _with(passwords: str) -> str:
    return f"{MINIMAL}[passwords]\n{passwords}\n"


def test_every_password_is_a_secret() -> None:
    assert [key for key in directives_of(PasswordSettings) if "pass" in key] == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_a_password_shows_nowhere(key: str) -> None:
    loaded = read_text(_with(f"{key} = {WORD}"))
    assert loaded.settings is not None, loaded.problems
    kept = getattr(loaded.settings.passwords, key)
    assert kept.reveal() == WORD
    shown = rows(loaded.settings, loaded.origins)
    everything = [
        str(loaded.settings), repr(loaded.settings), str(loaded), str(loaded.origins), f"{kept}", f"{kept!s}",
        json.dumps([dataclasses.asdict(row) for row in shown]),
        json.dumps(dataclasses.asdict(loaded.settings.passwords), default=str),
    ]  # fmt: skip
    assert not [text for text in everything if WORD in text]
    assert [row.value for row in shown if (row.section, row.key) == ("passwords", key)] == ["***"]


def test_a_secret_cannot_become_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(WORD))


@pytest.mark.parametrize(
    "line",
    [
        f"superuser_pass = '{WORD}",
        f"superuser_pass = {WORD}, {WORD}",
        f"superuser_pass = '''{WORD}\n{WORD}'''",
        f"superuser_pass = '''{WORD}\n{WORD}",
        f"superuser_pass = '{WORD}\x07'",
        f'superuser_pass = "{WORD}" {WORD}',
        f"superuser_pass {WORD}",
        WORD,
        f"superuser_pass = {WORD}\nsuperuser_pass = {WORD}",
        f"superuser_pas = {WORD}",
        f"superuser_pass = {WORD}#1",
    ],
)  # fmt: skip
def test_a_password_with_a_mistake_shows_in_no_message(tmp_path: Path, line: str) -> None:
    file = tmp_path / "handyrep.conf"
    file.write_text(_with(line) + "[failover]\nauto_failover = maybe\n")
    loaded = read(file)
    assert WORD not in str(loaded)
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert WORD not in "".join(traceback.format_exception(raised.value))
    assert WORD not in repr(raised.value)


def test_passwords_are_taken_to_the_letter() -> None:
    loaded = read_text(_with("superuser_pass = '100%(x)s, $HOME ${x} #1 \"q\"'"))
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.passwords.superuser_pass == Secret('100%(x)s, $HOME ${x} #1 "q"')


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDYREP_TEST_PASSWORD", WORD)
    loaded = read_text(_with("superuser_pass = env:HANDYREP_TEST_PASSWORD"))
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.passwords.superuser_pass == Secret(WORD)


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "word").write_text(f"{WORD}\n")
    loaded = read_text(_with(f"superuser_pass = file:{tmp_path}/word"))
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.passwords.superuser_pass == Secret(WORD)


def test_files_that_hold_no_password_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 5000)
    (tmp_path / "lines").write_text(f"{WORD}\n{WORD}\n")
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "binary", "long", "lines", "pipe", "missing", "", "nul\0"):
        with pytest.raises(ValueProblem) as raised:
            secret.parse(f"file:{tmp_path}/{name}")
        assert WORD not in str(raised.value)


def test_an_empty_variable_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDYREP_TEST_PASSWORD", "")
    loaded = read_text(_with("superuser_pass = env:HANDYREP_TEST_PASSWORD"))
    assert any(
        "[passwords] superuser_pass 'env:HANDYREP_TEST_PASSWORD' holds an empty" in text for text in loaded.problems
    )


def test_blank_is_no_password() -> None:
    loaded = read_text(_with("superuser_pass ="))
    assert loaded.settings is not None
    assert loaded.settings.passwords.superuser_pass is None


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1), st.sampled_from("'\""))
def test_any_printable_password_is_taken(word: str, quote: str) -> None:
    assume(word.strip() and quote not in word and not word.startswith(("env:", "file:")))
    loaded = read_text(_with(f"superuser_pass = {quote}{word}{quote}"))
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.passwords.superuser_pass == Secret(word)


@pytest.mark.parametrize(
    "option",
    [f"smtp_pass = {WORD}", f"api_token = {WORD}", f"PASSWORD = {WORD}", f"secret_words = {WORD}, b",
     f"extra_connect_param = 'user=x password={WORD}'", f"url = http://me:{WORD}@example.com/"],
)  # fmt: skip
def test_what_looks_secret_among_a_plugins_options_is_hidden(option: str) -> None:
    loaded = read_text(f"{MINIMAL}[plugins]\n[[mailer]]\n{option}\nplain = 1\n")
    assert loaded.settings is not None, loaded.problems
    shown = {row.key: row.value for row in rows(loaded.settings, loaded.origins) if row.section == "plugins.mailer"}
    assert shown == {option.partition(" ")[0]: "***", "plain": "1"}
    assert WORD not in f"{loaded.settings}{loaded}"
