"""`handyrep plugin new` writes a plugin that keeps the contract from the first moment, for every kind."""

import subprocess
import sys
from pathlib import Path

import pytest

from handyrep.errors import RefusedError
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.skeleton import write_skeleton
from handyrep.plugin_api.testing import check_plugin


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_keeps_the_contract(kind: Kind, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    plugin, test = write_skeleton("mine", kind, folder)
    assert (plugin.name, test.name) == ("mine.py", "test_mine.py")
    assert check_plugin("mine", kind, plugins_dir=folder) == []
    assert check_plugin("mine", kind, plugins_dir=folder, options={"greeting": "hi"}) == []


def test_the_test_that_is_written_runs_and_can_fail(tmp_path: Path) -> None:
    plugin, test = write_skeleton("mine", Kind.POLL, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(test)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    plugin.write_text(
        plugin.read_text().replace('return self.fail("not written yet: this plugin does nothing")', "return 5")
    )
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "returned int 5 instead of a return dictionary" in failed.stdout


@pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "../a", "class", "test_a", "a" * 64, "a.py", "é", "a\n"])
def test_a_name_that_will_not_do_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="cannot be the name of a plugin"):
        write_skeleton(name, Kind.POLL, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_what_is_there_is_not_overwritten(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(RefusedError, match="is there already"):
        write_skeleton("mine", Kind.POLL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_a_refusal() -> None:
    with pytest.raises(RefusedError, match="cannot be written"):
        write_skeleton("mine", Kind.POLL, Path("/proc/nowhere"))
