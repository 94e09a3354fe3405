"""The example of a plugin works as it stands, for somebody who copies the folder."""

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


def test_its_own_tests_pass_where_it_is_copied_to(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(folder),
    ]
    ran = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout


def test_it_is_in_the_form_of_the_house() -> None:
    for options in (["format", "--check"], ["check", "--select", "E,F,W,I,B,SIM,RET", "--ignore", "E501"]):
        argv = [sys.executable, "-m", "ruff", *options, "-q", "--isolated", "--line-length", "120", str(EXAMPLE)]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
