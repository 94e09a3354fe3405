"""The daemon as a process: it logs JSON, answers the command line, and ends when told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handyrep.surfaces.control import SOCKET_NAME
from tests.surfaces.test_cli import GOOD, handyrep


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_watches_answers_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    conf = tmp_path / "handyrep.conf"
    conf.write_text(GOOD.format(state=tmp_path / "state").replace("[passwords]", "profile = fast\n[passwords]"))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "handyrep", "-c", str(conf), "serve"],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    socket = tmp_path / "state" / SOCKET_NAME
    end = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    answers = handyrep("--json", "poll", "m1", cwd=tmp_path)
    assert json.loads(answers.stdout)["up"] == "no"
    assert "HandyRep watches" in handyrep("read-log", cwd=tmp_path).stdout
    assert handyrep("serve", cwd=tmp_path).returncode == 1
    while "F12" not in handyrep("verdicts", cwd=tmp_path).stdout:
        assert time.monotonic() < end + 60, "the first check came to no verdict"
    explained = handyrep("explain", "1", "--replay", cwd=tmp_path)
    assert (explained.returncode, "as then" in explained.stdout) == (0, True), explained.stdout
    daemon.send_signal(number)
    _, log = daemon.communicate(timeout=20)
    assert daemon.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line["text"].startswith("HandyRep watches") for line in lines)
    assert any("m1 is unavailable" in line["text"] for line in lines)
    assert not socket.exists()
