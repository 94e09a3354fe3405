"""haproxy_update where hosts refuse, deny or talk rubbish: it says so, and pushes nothing that nobody would take up."""

from collections.abc import Mapping

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.model.status import Health
from handyrep.plugin_api import fakes
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Command, Ran
from tests.factories import make_member

METHODS: Mapping[str, Mapping[str, str | None]] = {
    "run": {"newmaster": "r1"},
    "init": {"bouncerserver": None},
    "block": {},
    "unblock": {},
    "leads": {},
    "test": {},
}
ACTS = {"run", "init", "block", "unblock"}
WORLDS = {
    "refusing": fakes.refusing,
    "unknown keys": fakes.unknown_keys,
    "denying": fakes.denying,
    "babbling": fakes.babbling,
}


def with_a_proxy() -> Cluster:
    proxy = Server(name="h1", role="proxy", hostname="h1.example")
    return fakes.example_cluster().with_member(make_member(proxy, Health.HEALTHY))


def called(method: str, world: fakes.FakeWorld) -> Result:
    kind, given = Kind.CONNECTION_FAILOVER, METHODS[method]
    result = try_plugin("haproxy_update", kind, method, given, world=world, cluster=with_a_proxy())
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", WORLDS)
def test_it_never_says_success_and_always_why(where: str, method: str) -> None:
    result = called(method, WORLDS[where]())
    assert result.outcome in ((Outcome.FAIL, Outcome.UNCERTAIN) if method in ACTS else (Outcome.FAIL,)), result
    assert "h1: " in result.details
    assert "raised" not in result.details


@pytest.mark.parametrize("method", sorted(ACTS))
def test_without_socat_nothing_is_pushed(method: str) -> None:
    world = fakes.babbling()

    async def command(_: Server | None, command: Command, __: float) -> Ran:
        return Ran(3, "", "socat is not installed") if "talk" in command.argv else Ran(0, "", "")

    world.on_command = command
    result = called(method, world)
    assert result.outcome is Outcome.FAIL
    assert "socat is not installed: nothing was pushed" in result.details
    assert not any("put_file" in one.argv for _, one in world.asked if isinstance(one, Command))
