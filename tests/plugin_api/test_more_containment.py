"""What users' plugins can do before they are entered, beside what they return, and to one another: contained as well."""

import asyncio
import time
from pathlib import Path

import pytest

from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import MalformedResultError, Result, fail, parse_rd, success
from handyrep.plugin_api import registry
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option, read_options
from handyrep.plugin_api.plugin import Plugin
from tests.factories import make_cluster
from tests.plugin_api.test_containment import largest_pause_s, plugin, write
from tests.plugin_api.worlds import SilentHosts, a_caller

MANY = 3_000_000
NOT_ENTERED = {
    "hangs when loaded": "import time; time.sleep(1.2)\n" + plugin("def run(self, servername): return self.success()"),
    "hangs in __init__": plugin("def __init__(self, call, options): time.sleep(1.2)"),
    "takes other parameters": plugin("def run(self, one, two, three): return self.success()"),
    "has a run that is no method": plugin("run = 5"),
    "has kinds that are no kinds": plugin("kinds = 'poll'\ndef run(self, servername): return self.success()"),
    "has a required option that is not set": plugin(
        "from handyrep.plugin_api.options import option\nfrom handyrep.directives import text\n"
        "o = option(text, '', 'an option', required=True)\ndef run(self, servername): return self.success()"
    ),
}
ENTERED = {
    "returns far too much": f"def run(self, servername): return {{'result': 'SUCCESS', 'x': 'x' * {MANY}}}",
    "returns far too many": f"def run(self, servername): return {{'result': 'SUCCESS', 'x': [1] * {MANY}}}",
    "returns a list that is far too long": f"def run(self, servername): return ['x'] * {MANY}",
    "returns a dictionary that fights back": "def run(self, servername):\n        class D(dict):\n            def items(self): raise SystemExit\n        return D(result='SUCCESS')",
    "returns what takes long to show": "def run(self, servername):\n        class R:\n            def __repr__(self): time.sleep(1.2); return ''\n        return R()",
    "raises what exits when told": "def run(self, servername):\n        class E(Exception):\n            def __str__(self): raise SystemExit\n        raise E",
    "raises a cancellation": "def run(self, servername): raise asyncio.CancelledError",
    "raises StopIteration": "def run(self, servername): raise StopIteration",
    "raises TimeoutError": "async def run(self, servername): raise TimeoutError",
    "returns a Result without an outcome": "def run(self, servername): return Result('SUCCESS', 'x')",
    "returns a Result with no text": "def run(self, servername): return Result(self.success().outcome, None)",
    "returns a Result with odd extras": "def run(self, servername): return Result(self.success().outcome, 'x', 5)",
    "forgets an await": "async def run(self, servername): self.run_as_root(servername, 'true'); return self.success()",
    "leaves a thread at work": "def run(self, servername):\n        threading.Thread(target=lambda: self.run_as_root(servername, 'true')).start()\n        time.sleep(0.05)\n        return self.success()",
    "calls itself for ever": "def run(self, servername):\n        from handyrep.plugin_api.contract import Kind\n        return self.use_plugin(Kind.POLL, 'bad', servername=servername)",
    "uses a helper wrongly": "def run(self, servername): self.query(servername); return self.success()",
    "uses a helper that is not there": "def run(self, servername): self.reboot(servername); return self.success()",
    "awaits what is no coroutine": "async def run(self, servername): await 5",
    "returns a future": "def run(self, servername):\n        import concurrent.futures\n        return concurrent.futures.Future()",
    "returns an infinite number": "def run(self, servername): return {'result': 'SUCCESS', 'x': float('inf')}",
    "returns a number without end": "def run(self, servername): return {'result': 'SUCCESS', 'x': 10 ** 10000}",
}


class SlowHosts(SilentHosts):
    """A host that takes its time."""

    async def run(self, *arguments: object, **named: object) -> object:  # type: ignore[override] # whatever it is asked
        self.asked += 1
        await asyncio.sleep(1)
        raise AssertionError("nobody waits for this")


async def looked_and_acted(folder: Path, text: str) -> tuple[Result, Result]:
    write(folder, text)
    caller = a_caller(folder, hosts=SlowHosts())
    ticks = asyncio.create_task(largest_pause_s())
    await asyncio.sleep(0)
    results = [
        await caller.call(kind, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.4)
        for kind in (Kind.POLL, Kind.PROMOTION)
    ]
    ticks.cancel()
    assert await ticks < 0.3
    return results[0], results[1]


@pytest.mark.parametrize("name", NOT_ENTERED)
async def test_what_was_never_entered_has_certainly_done_nothing(name: str, tmp_path: Path) -> None:
    looked, acted = await looked_and_acted(tmp_path, NOT_ENTERED[name])
    assert looked.outcome is Outcome.FAIL
    assert acted.outcome is Outcome.FAIL
    assert len(looked.details) > 10


@pytest.mark.parametrize("name", ENTERED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_what_was_entered_may_have_done_anything(name: str, tmp_path: Path) -> None:
    looked, acted = await looked_and_acted(tmp_path, plugin(ENTERED[name]))
    assert looked.outcome is Outcome.FAIL
    assert acted.outcome is Outcome.UNCERTAIN or (name == "calls itself for ever" and acted.outcome is Outcome.FAIL)
    assert len(looked.details) > 10


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_missing_await_is_named(tmp_path: Path) -> None:
    looked, _ = await looked_and_acted(tmp_path, plugin(ENTERED["forgets an await"]))
    assert "an 'await' is missing" in looked.details


async def test_plugins_that_call_one_another_end(tmp_path: Path) -> None:
    looked, _ = await looked_and_acted(tmp_path, plugin(ENTERED["calls itself for ever"]))
    assert "calling one another" in looked.details


async def test_a_plugin_that_deletes_its_own_file_is_missing_from_then_on(tmp_path: Path) -> None:
    body = f"def run(self, servername): os.unlink({str(tmp_path / 'bad.py')!r}); return self.success()"
    looked, acted = await looked_and_acted(tmp_path, plugin(body))
    assert looked.outcome is Outcome.SUCCESS
    assert acted.outcome is Outcome.FAIL
    assert "there is no plugin 'bad'" in acted.details


async def test_a_coroutine_that_hangs_is_ended_and_does_not_count_as_stuck(tmp_path: Path) -> None:
    write(tmp_path, plugin("async def run(self, servername): await asyncio.sleep(60)"))
    caller = a_caller(tmp_path)
    for _ in range(12):
        result = await caller.call(
            Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.05
        )
        assert "did not answer" in result.details
        await asyncio.sleep(0.05)


async def test_a_plugin_that_came_to_its_end_after_all_is_called_again(tmp_path: Path) -> None:
    write(tmp_path, plugin("def run(self, servername): time.sleep(0.3); return self.success()"))
    caller = a_caller(tmp_path)
    for _ in range(9):
        await caller.call(Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=0.01)
    await asyncio.sleep(0.6)
    result = await caller.call(Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=2)
    assert result.outcome is Outcome.SUCCESS


async def test_a_user_may_extend_one_of_ours_under_its_own_name(tmp_path: Path) -> None:
    text = (
        "from handyrep.plugins.poll_connect import poll_connect as original\n"
        "class poll_connect(original):\n    async def run(self, servername):\n"
        "        result = await super().run(servername)\n        return self.fail('mine: ' + result.details)\n"
    )
    write(tmp_path, text, "poll_connect")
    result = await a_caller(tmp_path).call(
        Kind.POLL, "poll_connect", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=5
    )
    assert result.details.startswith("mine: no answer: ")


async def test_a_dataclass_in_a_plugin_works(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Thing:\n    x: int = 1\n"
    )
    write(tmp_path, text + plugin("def run(self, servername): return self.success(str(Thing().x))"))
    result = await a_caller(tmp_path).call(
        Kind.POLL, "bad", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=2
    )
    assert (result.outcome, result.details) == (Outcome.SUCCESS, "1")


def test_a_file_that_never_ends_does_not_hold_up_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LOAD_S", 0.2)
    write(tmp_path, "import time; time.sleep(1)")
    began = time.monotonic()
    with pytest.raises(PluginError, match="has not come to its end"):
        registry.Registry(tmp_path).load("bad")
    assert time.monotonic() - began < 0.9


def test_an_option_of_a_type_that_is_none_is_a_problem_in_words() -> None:
    class odd(Plugin):  # noqa: N801 - as plugins are called
        number = option(int, 5, "an option")  # type: ignore[arg-type] # that is the mistake

    assert read_options(odd, {"number": "7"})[1][0].startswith(
        "[plugins] [[odd]] number cannot be read: AttributeError"
    )


def test_nothing_in_extras_replaces_the_outcome() -> None:
    odd = Result(Outcome.FAIL, "no", {"result": "SUCCESS", "details": "yes"})
    assert odd.as_rd() == {"result": "FAIL", "details": "no"}
    assert parse_rd(odd) == fail("no")


def test_text_that_cannot_be_written_is_replaced() -> None:
    assert parse_rd({"result": "SUCCESS", "details": "a\ud800b"}) == success("a?b")


def test_a_result_that_is_endless_is_malformed() -> None:
    endless: dict[str, object] = {"result": "SUCCESS"}
    endless["x"] = [endless, [endless]]
    with pytest.raises(MalformedResultError, match="endless"):
        parse_rd(endless)
