"""Whatever a user's plugin does, HandyRep gets a FAIL or UNCERTAIN with a reason, and its own loop goes on."""

import asyncio
import gc
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from handyrep.model.answer import Outcome
from handyrep.plugin_api.call import Call, helper
from handyrep.plugin_api.contract import Kind
from tests.factories import make_cluster
from tests.plugin_api.worlds import SilentHosts, a_caller

DEADLINE_S = 0.3
HEAD = """
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.model.result import Result
import asyncio, os, sys, time, threading


class bad(handyrepplugin):
"""
BODIES = {
    "raises": "def run(self, servername): raise ValueError('boom')",
    "raises in async": "async def run(self, servername): raise ValueError('boom')",
    "exits": "def run(self, servername): sys.exit(3)",
    "exits in async": "async def run(self, servername): sys.exit(3)",
    "raises KeyboardInterrupt": "def run(self, servername): raise KeyboardInterrupt",
    "raises a bare BaseException": "def run(self, servername): raise BaseException('odd')",
    "raises what cannot be told": "def run(self, servername):\n        class E(Exception):\n            def __str__(self): raise ValueError\n        raise E",
    "recurses for ever": "def run(self, servername): return self.run(servername)",
    "hangs in a plain def": "def run(self, servername): time.sleep(1.0); return self.success('late')",
    "hangs in async": "async def run(self, servername): await asyncio.sleep(5)",
    "ignores being cancelled": "async def run(self, servername):\n        try:\n            await asyncio.sleep(5)\n        except asyncio.CancelledError:\n            await asyncio.sleep(5)",
    "blocks its event loop": "async def run(self, servername): time.sleep(1.0)",
    "spins": "def run(self, servername):\n        end = time.monotonic() + 0.8\n        while time.monotonic() < end: pass",
    "returns None": "def run(self, servername): return None",
    "returns nothing": "def run(self, servername): pass",
    "returns True": "def run(self, servername): return True",
    "returns a tuple": "def run(self, servername): return ('SUCCESS', 'x')",
    "returns text": "def run(self, servername): return 'SUCCESS'",
    "returns bytes": "def run(self, servername): return b'SUCCESS'",
    "returns a number": "def run(self, servername): return 1",
    "returns a list": "def run(self, servername): return [{'result': 'SUCCESS'}]",
    "returns an empty dictionary": "def run(self, servername): return {}",
    "returns another word": "def run(self, servername): return {'result': 'ERROR'}",
    "returns the word in lower case": "def run(self, servername): return {'result': 'success'}",
    "returns True as the word": "def run(self, servername): return {'result': True}",
    "returns details that are no text": "def run(self, servername): return {'result': 'SUCCESS', 'details': 7}",
    "returns what is no JSON": "def run(self, servername): return {'result': 'SUCCESS', 'details': '', 'x': object()}",
    "returns NaN": "def run(self, servername): return {'result': 'SUCCESS', 'details': '', 'x': float('nan')}",
    "returns itself in itself": "def run(self, servername):\n        d = {'result': 'SUCCESS'}\n        d['d'] = d\n        return d",
    "returns a Result with an object": "def run(self, servername): return self.success('x', thing=object())",
    "returns a coroutine in a coroutine": "async def run(self, servername):\n        async def more(): return self.success()\n        return more()",
    "returns a generator": "def run(self, servername): yield self.success()",
    "returns a class": "def run(self, servername): return Result",
    "returns what cannot be shown": "def run(self, servername):\n        class R:\n            def __repr__(self): raise ValueError\n        return R()",
    "fails in __init__": "def __init__(self, call, options): raise RuntimeError('no')",
    "has the wrong parameters": "def run(self): return self.success()",
    "has no run": "run = None",
    "changes the cluster": "def run(self, servername): self.cluster.members['x'] = 1; return self.success()",
    "changes its options": "def run(self, servername): self.options['x'] = 1; return self.success()",
    "changes the settings": "def run(self, servername): self.settings.failover.auto_failover = True; return self.success()",
    "asks for a server that is not there": "def run(self, servername): self.server('nobody'); return self.success()",
    "uses a host that does not answer": "def run(self, servername): self.run_as_root(servername, 'true'); return self.success()",
}
FILES = {
    "syntax error": "class bad(:",
    "import error": "import there_is_no_such_module",
    "exits when loaded": "import sys; sys.exit(1)",
    "raises when loaded": "1 / 0",
    "no class": "x = 1",
    "another class": "class good: pass",
    "wrong parent": "class bad: pass",
    "no class but a function": "def bad(): pass",
    "NUL in the file": "x = 1\0",
    "not UTF-8": "class bad: '\udcff'",
}


def write(folder: Path, text: str, name: str = "bad") -> None:
    folder.chmod(0o755)
    (folder / f"{name}.py").write_bytes(text.encode("utf-8", "surrogateescape"))


def plugin(body: str) -> str:
    return HEAD + textwrap.indent(body, "    ")


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_e12_e13_a_plugin_that_misbehaves_is_contained(name: str, tmp_path: Path) -> None:
    write(tmp_path, plugin(BODIES[name]))
    ticks = asyncio.create_task(largest_pause_s())
    await asyncio.sleep(0)
    caller, cluster = a_caller(tmp_path), make_cluster()
    looked = await caller.call(Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=cluster, deadline_s=DEADLINE_S)
    acted = await caller.call(
        Kind.PROMOTION, "bad", arguments={"servername": "m1"}, cluster=cluster, deadline_s=DEADLINE_S
    )
    ticks.cancel()
    assert looked.outcome is Outcome.FAIL, looked
    assert acted.outcome in (Outcome.FAIL, Outcome.UNCERTAIN), acted
    assert len(looked.details) > 5
    assert await pause_of(ticks) < 0.8  # a blocked loop would stand still for a second
    assert cluster == make_cluster()


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_cannot_be_loaded_is_a_fail_that_names_it(name: str, tmp_path: Path) -> None:
    write(tmp_path, FILES[name])
    result = await a_caller(tmp_path).call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=DEADLINE_S
    )
    assert result.outcome is Outcome.FAIL
    assert "bad" in result.details


async def largest_pause_s() -> float:
    worst, last = 0.0, time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            worst, last = max(worst, now - last), now
    except asyncio.CancelledError:
        return worst


async def pause_of(ticks: "asyncio.Task[float]") -> float:
    return await ticks


async def test_e13_an_acting_plugin_that_hangs_is_uncertain_never_failed(tmp_path: Path) -> None:
    write(tmp_path, plugin(BODIES["hangs in a plain def"]))
    result = await a_caller(tmp_path).call(
        Kind.PROMOTION, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.1
    )
    assert result.outcome is Outcome.UNCERTAIN
    assert "did not answer within" in result.details


async def test_a_late_thread_can_do_nothing(tmp_path: Path) -> None:
    done = tmp_path / "done"
    body = (
        "def run(self, servername):\n        time.sleep(0.4)\n        try:\n            self.run_as_root(servername, 'promote')\n"
        f"        except BaseException as error:\n            __import__('pathlib').Path({str(done)!r}).write_text(type(error).__name__)\n"
    )
    write(tmp_path, plugin(body))
    hosts = SilentHosts()
    await a_caller(tmp_path, hosts=hosts).call(
        Kind.PROMOTION, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.1
    )
    for _ in range(200):
        if done.exists() and done.read_text():
            break
        await asyncio.sleep(0.02)
    assert done.read_text() == "RevokedError"
    assert hosts.asked == 0


async def test_e13_a_plugin_whose_calls_never_end_is_not_called_any_more(tmp_path: Path) -> None:
    write(tmp_path, plugin("def run(self, servername): time.sleep(1.5)"))
    caller = a_caller(tmp_path)
    for _ in range(8):
        await caller.call(Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.01)
    threads = threading.active_count()
    result = await caller.call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.01
    )
    assert "is not called any more" in result.details
    assert threading.active_count() <= threads


async def test_a_plugin_that_is_not_there_is_stood_in_for_by_failplugin() -> None:
    result = await a_caller().call(
        Kind.PROMOTION, "nowhere", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=1
    )
    assert result.outcome is Outcome.FAIL
    assert "nowhere" in result.details


async def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    write(tmp_path, plugin("def run(self, servername): return self.success()"))
    (tmp_path / "bad.py").chmod(0o666)
    result = await a_caller(tmp_path).call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=1
    )
    assert result.outcome is Outcome.FAIL
    assert "may be written by other accounts" in result.details


@pytest.mark.parametrize("name", ["../../etc/passwd", "os.path", "a b", "", "x\0y", "a/b", "1abc"])
async def test_a_name_that_is_no_plain_name_loads_nothing(name: str, tmp_path: Path) -> None:
    result = await a_caller(tmp_path).call(
        Kind.POLL, name, arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=1
    )
    assert result.outcome is Outcome.FAIL


@pytest.mark.parametrize("keyword", ["def", "async def"])
async def test_a_good_plugin_works_in_both_forms_with_the_same_helpers(keyword: str, tmp_path: Path) -> None:
    wait = "await " if keyword == "async def" else ""
    body = (
        f"{keyword} run(self, server):\n        from handyrep.errors import NoAnswerError\n        try:\n            {wait}self.run_as_root(server, 'true')\n"
        "        except NoAnswerError as error:\n            return {'result': 'SUCCESS', 'details': error.what, 'server': server}\n"
    )
    write(tmp_path, plugin(body))
    result = await a_caller(tmp_path).call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=2
    )
    assert (result.outcome, result.details, result.extra["server"]) == (Outcome.SUCCESS, "silent", "m1")


async def test_the_import_line_of_2014_works(tmp_path: Path) -> None:
    text = "from plugins.handyrepplugin import HandyRepPlugin\nclass bad(HandyRepPlugin):\n    def run(self, servername): return {'result': 'SUCCESS', 'details': ''}\n"
    write(tmp_path, text)
    result = await a_caller(tmp_path).call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=1
    )
    assert result.outcome is Outcome.SUCCESS


class Helped:
    """As a plugin that is called on this loop."""

    def __init__(self, world: Any) -> None:
        self.call = Call(world, world, make_cluster(), deadline=0.0, memory={})

    @helper
    async def help(self) -> None:
        """Do nothing."""


async def test_a_helper_that_is_called_off_before_it_has_begun_leaves_nothing_unawaited() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        gc.collect()  # what other tests left
        warnings.simplefilter("always")
        asked = asyncio.ensure_future(Helped(None).help())
        asked.cancel()
        await asyncio.wait((asked,))
        gc.collect()
    assert asked.cancelled()
    assert [str(one.message) for one in told if "never awaited" in str(one.message)] == []
