"""Where programs of PostgreSQL are found on a server."""

import subprocess
from pathlib import Path

import pytest

from handyrep.plugins._programs import FINDING


def found(program: str, *, path: Path, bin_dir: str = "", pgdata: str = "/nowhere") -> str:
    script = f'{FINDING}\nset -eu\nprogram_path "$@" || echo none'
    argv = ("sh", "-c", script, "sh", program, bin_dir, pgdata)
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": f"{path}:/usr/bin:/bin"})
    return ran.stdout.strip()


def made(program: Path) -> Path:
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return program


def test_what_is_configured_comes_first_and_is_not_guessed_beyond(tmp_path: Path) -> None:
    program = made(tmp_path / "pg_example")
    assert found("pg_example", path=Path("/nowhere"), bin_dir=str(tmp_path)) == str(program)
    assert found("pg_other", path=tmp_path, bin_dir=str(tmp_path)) == "none"


def test_else_what_is_on_the_path(tmp_path: Path) -> None:
    program = made(tmp_path / "pg_example")
    assert found("pg_example", path=tmp_path) == str(program)
    assert found("pg_other", path=tmp_path) == "none"


@pytest.mark.parametrize("program", ["pg_example", "pg_isready"])
def test_debians_wrapper_is_never_taken(program: str, tmp_path: Path) -> None:
    (tmp_path / program).symlink_to(made(tmp_path / "pg_wrapper"))
    assert str(tmp_path) not in found(program, path=tmp_path)
