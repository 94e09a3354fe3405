"""The ready configurations load as they stand, and each has its table."""

from pathlib import Path

import pytest

from handyrep.app import load_checked

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "ready").glob("*.conf"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_configuration_is_in_order(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB", "REPLICATION", "PGBOUNCER"):
        monkeypatch.setenv(f"HANDYREP_{name}_PASS", "a-secret")
    copy = tmp_path / file.name
    copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    copy.chmod(0o600)
    loaded, registry = load_checked(copy)
    assert loaded.problems == ()
    assert registry is not None
    assert loaded.settings is not None
    assert loaded.settings.failover.auto_failover


def test_there_are_three_and_each_has_its_table() -> None:
    page = (ROOT / "docs" / "ready.md").read_text(encoding="utf-8")
    assert len(FILES) == 3
    for file in FILES:
        table = page.partition(f"<!-- {file.stem} -->")[2].partition(f"<!-- end of {file.stem} -->")[0]
        rows = [line for line in table.splitlines() if line.startswith("| ")]
        assert len(rows) >= 6, f"make outcomes ARGS='--write --layout {file.stem}'"
