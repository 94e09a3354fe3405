"""one_hr_master, successplugin and failplugin: they touch nothing, whatever they are asked, and say the same every time."""

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.fakes import refusing
from handyrep.plugin_api.testing import check_plugin, try_plugin

METHODS = [(kind, method) for kind in Kind if kind is not Kind.SELECTION for method in KINDS[kind].methods]


def answer(name: str, kind: Kind, method: str = "run", **arguments: object) -> Result:
    """It, and that no server was asked."""
    world = refusing()
    result = try_plugin(name, kind, method, arguments, world=world)
    assert isinstance(result, Result)
    assert world.asked == []
    return result


@pytest.mark.parametrize("method", ["run", "test"])
def test_one_hr_master_is_always_the_master(method: str) -> None:
    assert answer("one_hr_master", Kind.MASTER_CHECK, method).outcome is Outcome.SUCCESS


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MASTER_CHECK])
def test_one_hr_master_stands_for_no_other_kind(kind: Kind) -> None:
    assert check_plugin("one_hr_master", kind) != []
    assert check_plugin("one_hr_master", Kind.MASTER_CHECK) == []


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SELECTION])
def test_successplugin_succeeds_as_every_kind(kind: Kind) -> None:
    run = next((method for method in KINDS[kind].methods if method.name == "run"), None)
    assert run is not None
    arguments = {name.strip("*"): "r1" for name in run.parameters}
    result = answer("successplugin", kind, **arguments)
    assert (result.outcome, result.details) == (Outcome.SUCCESS, "successplugin did nothing")
    assert answer("successplugin", kind, "test").outcome is Outcome.SUCCESS


def test_successplugin_claims_no_proof_no_lag_and_no_state() -> None:
    fence = answer("successplugin", Kind.FENCE, servername="m1")
    status = answer("successplugin", Kind.RESTART, servername="m1", runmode="status")
    lag = answer("successplugin", Kind.REPLICATION_STATUS, replicaserver="r1")
    facts = answer("successplugin", Kind.INSPECT, servername="r1")
    assert [dict(one.extra) for one in (fence, status, lag, facts)] == [{}, {}, {}, {}]


@pytest.mark.parametrize(("kind", "method"), METHODS, ids=lambda value: getattr(value, "name", value))
def test_failplugin_fails_every_method_of_every_kind(kind: Kind, method: object) -> None:
    name, parameters = getattr(method, "name", ""), getattr(method, "parameters", ())
    result = answer("failplugin", kind, name, **{parameter.strip("*"): "r1" for parameter in parameters})
    assert (result.outcome, result.details) == (Outcome.FAIL, "failplugin always fails")
    assert dict(result.extra) == {}


@pytest.mark.parametrize("kind", [Kind.FENCE, Kind.PROMOTION, Kind.CLONE])
def test_failplugin_in_place_of_another_names_it_and_why_even_its_test(kind: Kind) -> None:
    arguments = dict.fromkeys(KINDS[kind].methods[0].parameters, "r1")
    for method, given in (("run", arguments), ("test", {})):
        result = answer("no_such_plugin", kind, method, **given)
        assert result.outcome is Outcome.FAIL
        assert result.details.startswith("plugin no_such_plugin cannot be used: ")
        assert len(result.details) > len("plugin no_such_plugin cannot be used: ")
