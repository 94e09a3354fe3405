"""Nothing is left behind: not by a lab that ends, not by one that is killed, not even when its watcher is killed with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cgroups, estate
from tests.lab.lab import Lab
from tests.lab.network import Net
from tests.lab.shell import run

pytestmark = pytest.mark.lab

_CHILD = """
import sys, time
from tests.lab.lab import Lab
with Lab() as lab:
    lab.cluster(16, replicas=1)
    print(lab.net.lab, flush=True)
    time.sleep(600)
"""


def _left_of(number: int) -> list[str]:
    """Whatever carries the number of a lab."""
    net, folder = Net(number), estate.folder_of(number)
    left = [f"namespace {word}" for word in run("ip", "netns", "list").split() if word.split("-")[0] == net.namespace]
    left += [f"interface {net.namespace}"] if Path("/sys/class/net", net.namespace).exists() else []
    left += [
        f"mount {line.split()[1]}"
        for line in Path("/proc/mounts").read_text().splitlines()
        if f"{folder}/" in f"{line.split()[1]}/"
    ]
    left += [f"process {pid}" for pid in cgroups.processes(net.namespace)]
    left += [f"group {group}" for group in cgroups.below(net.namespace)]
    left += [str(path) for path in (folder, folder.with_name(f"{number}.lock")) if path.exists()]
    return left + [str(path) for path in Path("/run/systemd/nspawn").glob(f"*/{net.namespace}-*")]


@contextmanager
def _running_lab() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A lab with a cluster in another process, and its number."""
    top = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", _CHILD], cwd=top, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        with child.stdout:
            yield child, int(child.stdout.readline())
    finally:
        child.kill()
        child.wait()


def _watcher_of(child: int) -> int:
    children = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    return next(int(pid) for pid in children if b"tests.lab.estate" in Path(f"/proc/{pid}/cmdline").read_bytes())


def _until_nothing_is_left(number: int, patience_s: float = 40.0) -> None:
    end = time.monotonic() + patience_s
    while _left_of(number) and time.monotonic() < end:
        time.sleep(0.1)
    assert _left_of(number) == []


def test_a_lab_that_ends_leaves_nothing() -> None:
    with Lab() as lab:
        host = lab.hosts("short")[0]
        number = lab.net.lab
        assert host.init_pid()
        assert len(_left_of(number)) > 5
    assert _left_of(number) == []


def test_a_killed_run_leaves_nothing() -> None:
    with _running_lab() as (child, number):
        assert len(_left_of(number)) > 5
        child.kill()
        child.wait()
        _until_nothing_is_left(number)


def test_what_a_run_left_that_was_killed_with_its_watcher_is_removed_by_the_next_lab() -> None:
    with _running_lab() as (child, number):
        os.kill(_watcher_of(child.pid), signal.SIGKILL)
        child.kill()
        child.wait()
        assert len(_left_of(number)) > 5
        with Lab() as lab:
            if lab.net.lab != number:
                assert _left_of(number) == []
        _until_nothing_is_left(number)


def test_a_living_lab_is_not_buried() -> None:
    with Lab() as first:
        host = first.hosts("alive")[0]
        with Lab() as second:
            assert second.net.lab != first.net.lab
            assert second.hosts("alive")[0].address != host.address
        assert host.inside("hostname").strip() == "alive"


def test_a_folder_of_records_that_another_lab_removes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estate, "_RECORDS", tmp_path / "removed")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    assert estate._try_lock(1) is None


def test_a_group_that_is_taken_away_while_it_is_read_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    group, scan = f"hrlab-test-{os.getpid()}", os.scandir

    def taken_away(folder: Path | str) -> Any:
        if Path(folder).name == "going":
            (Path(folder) / "below").rmdir()
            Path(folder).rmdir()
        return scan(folder)

    try:
        cgroups.make(f"{group}/going/below")
        monkeypatch.setattr(os, "scandir", taken_away)
        assert cgroups.processes(group) == set()
    finally:
        monkeypatch.undo()
        cgroups.remove(group)
    assert cgroups.below(group) == []
