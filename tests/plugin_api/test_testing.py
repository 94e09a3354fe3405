"""The contract suite finds what it is there to find, each in a plugin that has that one mistake."""

import time
from pathlib import Path

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import babbling, denying
from handyrep.plugin_api.testing import check_plugin, try_plugin
from handyrep.plugins.poll_connect import poll_connect
from handyrep.plugins.restart_pg_ctl import restart_pg_ctl
from tests.plugin_api.test_containment import write

HEAD = """
from handyrep.directives import text
from handyrep.errors import HandyRepError
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin
import time


class bad(handyrepplugin):
    "Does something."
    kinds = (Kind.POLL,)
    def run(self, servername):
        try: self.run_as_root(servername, "true")
        except HandyRepError as error: return self.fail(error.what)
        return self.success()
    def test(self, servername=None): return self.run("m1")
"""
MISTAKES = {
    "    def run(self, servername): return self.success(str(self.swallowed(servername)))\n    def swallowed(self, name):\n"
    "        try: self.run_as_root(name, 'true')\n        except HandyRepError: return 1": "says SUCCESS, though nothing",
    "    def test(self, servername=None):\n        try: self.query('m1', 'select 1')\n        except HandyRepError: pass\n"
    "        return self.success()": "test() says SUCCESS, though nothing",
    "    def run(self, servername): self.query(servername, 'x'); return self.success()": "",
    "    def run(self, servername): return None": "returned NoneType None instead",
    "    def run(self, servername): return {'result': 'SUCCES'}": "whose 'result' is str",
    "    def run(self, servername): return self.fail('')": "fails without saying why",
    "    def run(self, servername): raise KeyError('x')": "ends badly: plugin bad: raised KeyError",
    "    def run(self, servername): time.sleep(3); return self.success()": "does not end by itself",
    "    def run(self): return self.success()": "does not take servername",
    "    def run(self, servername): yield 1": "yields: a plugin returns its answer",
    "    run = 5": "bad.run is no method",
    "    run = handyrepplugin.run": "has no run() of its own",
    "    seen = []": "bad.seen is a list that all calls share",
    "    greeting = option(text, 'x', ' ')": "option greeting of bad has no help",
    "    greeting = option(text, '', 'a greeting', required=True)": "greeting is required",
    "    kinds = (Kind.FENCE,)": "does not say that it is of kind poll",
    "    __doc__ = ''": "has no docstring",
    "    def take_back(self, servername): return self.success()": "has take_back() and no footprint()",
    "    def footprint(self): return self.success(traces=[])": "footprint() does not take servername",
    "    def footprint(self, servername): return self.success()": "traces is not a list but NoneType",
    "    def footprint(self, servername): return self.success(traces=[{'name': 'x'}])": "a trace is name, where",
    "    def footprint(self, servername): return self.fail('half', traces=[self.trace('a', '', 'c')])": "tells its name",
    "    def footprint(self, servername):\n        try: self.run_as_login(servername, 'true')\n        except HandyRepError: pass\n"
    "        return self.success(traces=[])": "footprint(r1) says SUCCESS, though nothing",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    write(tmp_path, HEAD + mistake + "\n")
    problems = check_plugin("bad", Kind.POLL, plugins_dir=tmp_path)
    if MISTAKES[mistake]:
        assert any(MISTAKES[mistake] in problem for problem in problems), problems
    else:
        assert all("raised NoAnswerError" in problem or "raised DatabaseError" in problem for problem in problems)


TELLS = """
    def footprint(self, servername):
        try: self.run_as_login(servername, "true")
        except HandyRepError as error: return self.fail(error.what, traces=[])
        return self.success(traces=[self.trace("a script", "/srv/script", "does something", stays="it is needed")])
    def take_back(self, servername):
        try: self.run_as_login(servername, "true")
        except HandyRepError as error: return self.uncertain(error.what)
        return self.success()
"""


@pytest.mark.parametrize("more", ["", TELLS])
def test_a_good_one_has_none(more: str, tmp_path: Path) -> None:
    write(tmp_path, HEAD + more)
    assert check_plugin("bad", Kind.POLL, plugins_dir=tmp_path) == []


@pytest.mark.parametrize(("text", "problem"), [("class bad(:", "SyntaxError"), ("x = 1", "has no class 'bad'")])
def test_a_file_that_cannot_be_loaded_is_the_one_problem(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    problems = check_plugin("bad", Kind.POLL, plugins_dir=tmp_path)
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_plugin_that_is_not_there_is_the_one_problem() -> None:
    assert "there is no plugin 'nowhere'" in check_plugin("nowhere", Kind.POLL)[0]


def test_it_takes_a_class_as_well_as_a_name() -> None:
    assert check_plugin(poll_connect, Kind.POLL) == []

    class careless(restart_pg_ctl):  # noqa: N801 - as plugins are called
        """Reports what it wished for."""

        async def run(self, servername: str, runmode: str) -> Result:  # type: ignore[override] # the contract of its kind
            await super().run(servername, runmode)
            return self.success("surely")

    problems = check_plugin(careless, Kind.RESTART)
    assert any("run(r1, stop) says SUCCESS" in problem for problem in problems)


def test_a_slow_plugin_does_not_hold_up_the_suite(tmp_path: Path) -> None:
    write(tmp_path, HEAD + "    def run(self, servername): time.sleep(5)\n")
    began = time.monotonic()
    assert check_plugin("bad", Kind.POLL, plugins_dir=tmp_path) != []
    assert time.monotonic() - began < 60


def test_try_plugin_makes_one_call_in_a_world_of_ones_choice() -> None:
    denied = try_plugin(poll_connect, Kind.POLL, arguments={"servername": "m1"}, world=denying())
    let_in = try_plugin("poll_connect", Kind.POLL, arguments={"servername": "m1"}, world=babbling())
    assert isinstance(denied, Result)
    assert isinstance(let_in, Result)
    assert (denied.outcome, denied.extra["alive"]) == (Outcome.FAIL, True)
    assert let_in.outcome is Outcome.SUCCESS
    assert try_plugin("select_replica_priority", Kind.SELECTION) == ("r1", "r2")
