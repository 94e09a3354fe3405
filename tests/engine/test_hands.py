"""What the engine calls for, and with what: parameters and switches of the configuration reach the plugins."""

from pathlib import Path
from typing import Any

import pytest

from handyrep.engine.hands import Hands
from handyrep.engine.observe import Observer
from handyrep.engine.state import State
from handyrep.model.answer import Answer, Outcome
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.check import check_plugins
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import refusing
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.testing import check_plugin
from tests.engine.world import Events, MemoryStore, VirtualTime
from tests.factories import make_cluster, make_server, make_settings

PLUGIN = """
from handyrep.plugins.handyrepplugin import handyrepplugin


class mine(handyrepplugin):
    def run(self, *parameters):
        return self.success(" and ".join(parameters))

    def poll(self, bouncerserver):
        return self.success(servers={bouncerserver: True})
"""


OLD_PROXY = """
from handyrep.plugins.handyrepplugin import handyrepplugin


class old_proxy(handyrepplugin):
    '''Points our proxies at the master.'''

    def run(self, newmaster=None):
        return {"result": "SUCCESS", "details": "now " + (newmaster or self.master().name)}

    def init(self, bouncerserver=None):
        return {"result": "SUCCESS", "details": "init"}

    def poll(self, bouncerserver=None):
        return {"result": "SUCCESS", "details": "well"}

    def test(self):
        return {"result": "SUCCESS", "details": ""}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "old_proxy.py").write_text(OLD_PROXY)
    return tmp_path


def hands(folder: Path, **sections: Any) -> tuple[Hands, State]:
    settings = make_settings(**sections)
    cluster = make_cluster(make_server("m1", "master"), make_server("b1", "pgbouncer"))
    clock, world = VirtualTime(), refusing()
    state = State(cluster, MemoryStore(), Events(), clock)
    return Hands(Caller(Registry(folder), world.world(settings)), settings, state), state


@pytest.mark.parametrize("parameters", [(), ("one",), ("one", "two")])
async def test_master_check_method_is_called_with_its_parameters(folder: Path, parameters: tuple[str, ...]) -> None:
    known, _ = hands(folder, handyrep={"master_check_method": "mine", "master_check_parameters": parameters})
    answer = await known.may_act()
    assert (answer.outcome, answer.details) == (Outcome.SUCCESS, " and ".join(parameters))


@pytest.mark.parametrize(
    ("method", "polled", "up"),
    [("mine", True, Answer.YES), ("mine", False, Answer.UNKNOWN), ("", True, Answer.UNKNOWN)],
)
async def test_proxies_are_polled_where_that_is_asked_for(folder: Path, method: str, polled: bool, up: Answer) -> None:
    failover = {"connection_failover_method": method, "poll_connection_proxy": polled}
    known, state = hands(folder, failover=failover)
    seen = (await Observer(known, state).poll("b1")).of("b1")
    assert (seen.up, seen.notes != ()) == (up, up is Answer.UNKNOWN)


async def test_a_proxy_plugin_as_of_2014_is_enough_for_a_failover(folder: Path) -> None:
    """It has run, init and poll, and returns dictionaries; what came later is optional."""
    failover = {"connection_failover_method": "old_proxy"}
    settings = make_settings(failover=failover)
    assert check_plugins(settings, Registry(folder)) == ((), ())
    known, state = hands(folder, failover=failover)
    repointed = await known.use(Kind.CONNECTION_FAILOVER, newmaster="r1")
    corrected = await known.use(Kind.CONNECTION_FAILOVER, newmaster=None)
    assert (repointed.details, corrected.details) == ("now r1", "now m1")
    assert (await Observer(known, state).poll("b1")).of("b1").up is Answer.YES


def test_such_a_plugin_keeps_the_contract(folder: Path) -> None:
    assert check_plugin("old_proxy", Kind.CONNECTION_FAILOVER, plugins_dir=folder) == []
