"""Files that are no handyrep.conf, or are written in an unusual way: one clear sentence, or the same settings."""

import os
from pathlib import Path

import pytest

from handyrep.config.read import MAX_BYTES, load, read, read_text
from handyrep.errors import ConfigurationError
from tests.config.texts import MINIMAL


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "handyrep.conf"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_a_good_file_gives_its_settings(tmp_path: Path) -> None:
    file = _file(tmp_path, MINIMAL.encode())
    settings = load(file)
    assert settings.source == str(file)
    assert [(server.name, server.role, server.pgdata) for server in settings.servers] == [
        ("m1", "master", "/data"),
        ("r1", "replica", "/data"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + MINIMAL.encode(),
        MINIMAL.replace("\n", "\r\n").encode(),
        MINIMAL.replace("\n", "\r").encode(),
        MINIMAL.replace("\n", "\n\t").encode(),
        MINIMAL.rstrip("\n").encode(),
        MINIMAL.replace("[[m1]]", "  [[ 'm1' ]] # the master").replace(" = ", "=").encode(),
        MINIMAL.replace("hostname = m1.example", "'hostname' = \"m1.example\" # there").encode(),
    ],
    ids=["BOM", "CRLF", "CR", "tabs", "no last newline", "spaced and commented", "quoted"],
)
def test_how_it_is_written_does_not_matter(tmp_path: Path, content: bytes) -> None:
    found, wanted = read(_file(tmp_path, content)), read_text(MINIMAL)
    assert found.settings is not None, found.problems
    assert wanted.settings is not None
    assert found.settings.servers == wanted.settings.servers


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (MINIMAL.encode() + b"[failover]\n# caf\xe9\n", "line 12: "),
        (MINIMAL.encode() + b"# caf\xe9\n", "is not text in UTF-8"),
        (MINIMAL.encode("utf-16"), "is not text in UTF-8"),
        (MINIMAL.encode("utf-16-le"), "contains zero bytes"),
        (b"x" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
    ],
    ids=["Latin-1, with its line", "Latin-1", "UTF-16", "UTF-16 without a mark", "huge"],
)
def test_e10_what_is_no_such_text_is_one_problem(tmp_path: Path, content: bytes, problem: str) -> None:
    loaded = read(_file(tmp_path, content))
    assert loaded.settings is None
    assert len(loaded.problems) == 1
    assert problem in loaded.problems[0]


def test_a_missing_file_is_one_problem(tmp_path: Path) -> None:
    assert read(tmp_path / "none.conf").problems == (f"{tmp_path}/none.conf cannot be read: No such file or directory",)


def test_a_folder_is_one_problem(tmp_path: Path) -> None:
    assert read(tmp_path).problems == (f"{tmp_path} is a folder, not handyrep.conf",)


def test_a_pipe_or_device_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read(pipe).problems == (f"{pipe} is no regular file",)
    assert read(Path("/dev/zero")).problems == ("/dev/zero is no regular file",)


def test_a_name_that_no_file_can_have_is_one_problem() -> None:
    assert "cannot be read" in read(Path("a\0b")).problems[0]


def test_a_loop_of_links_is_one_problem(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    assert "cannot be read" in read(link).problems[0]


def test_an_unreadable_file_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = _file(tmp_path, MINIMAL.encode())
    monkeypatch.setattr(Path, "open", refuse)
    assert read(file).problems == (f"{file} cannot be read: Permission denied",)


def test_load_raises_with_every_mistake(tmp_path: Path) -> None:
    file = _file(tmp_path, (MINIMAL + "[failover]\nauto_failover = maybe\npoll_intervall = 3\n").encode())
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert len(raised.value.problems) == 2
    assert str(raised.value).startswith(f"{file}: 2 mistakes\n  - line 12: [failover] auto_failover must be")


def test_a_file_with_passwords_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    with_password = (MINIMAL + "[passwords]\nsuperuser_pass = sesame\n").encode()
    elsewhere = (MINIMAL + "[passwords]\nsuperuser_pass = env:PATH\n").encode()
    assert any("run: chmod 600" in warning for warning in read(_file(tmp_path, with_password, 0o644)).warnings)
    assert read(_file(tmp_path, with_password, 0o600)).warnings == ()
    assert read(_file(tmp_path, elsewhere, 0o644)).warnings == ()
