"""The soak itself: it ends well where all is well, and it sees what must not be."""

import json

import pytest
from soak.__main__ import parsed, run
from soak.calamities import drawn

from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, int]]:
    out = capsys.readouterr().out
    return out, json.loads(out.splitlines()[-1])


def test_two_rounds_of_it(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["cut off from HandyRep", "kill -9, busy sessions"]
    seed = next(n for n in range(10_000) if [drawn(n).calamity.name, drawn(n + 1).calamity.name] == wanted)
    status = run(lab, parsed(["-n", "1", "--version", "16", "--seed", str(seed)]))
    out, counts = told(capsys)
    assert status == 0, out
    assert (counts["rounds"], counts["failovers"], counts["held"]) == (2, 1, 1), out
    assert [counts[bad] for bad in ("lost", "parted", "two_writable", "needless", "stuck")] == [0] * 5, out
    assert counts["acknowledged"] > 100, out


def test_a_control_that_takes_silence_for_death_is_found_guilty(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab, parsed(["--control", "unreachable-is-dead", "-n", "2"])) == 0
    out, counts = told(capsys)
    assert counts["lost"] > 0, out
    assert counts["two_writable"] > 0, out
