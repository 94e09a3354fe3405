"""Every plugin that HandyRep ships keeps the contract of each of its kinds."""

from collections.abc import Mapping

import pytest

from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.testing import check_plugin

OPTIONS: Mapping[str, Mapping[str, str | tuple[str, ...]]] = {
    "fence_command": {"off_command": ("power", "off", "{name}"), "status_command": ("power", "status", "{name}")},
    "multi_pgbouncer": {"database_list": "app"},
    "pgbouncer_failover": {"database_list": "app"},
    "restart_service": {"service_name": "postgresql@15-main"},
}
OF_ANY_KIND = {"handyrepplugin", "failplugin", "successplugin"}
REGISTRY = Registry()
PAIRS = [(name, kind) for name in REGISTRY.names() for kind in REGISTRY.load(name).kinds]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_it_keeps_the_contract(name: str, kind: Kind) -> None:
    assert check_plugin(name, kind, options=OPTIONS.get(name, {})) == []


def test_every_plugin_says_its_kinds() -> None:
    assert {name for name in REGISTRY.names() if not REGISTRY.load(name).kinds} == OF_ANY_KIND


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SELECTION])
def test_the_stand_in_has_every_method_of_every_kind(kind: Kind) -> None:
    assert check_plugin("failplugin", kind) == []


@pytest.mark.parametrize("kind", [kind for kind in Kind if [m.name for m in KINDS[kind].methods] == ["run"]])
def test_successplugin_serves_wherever_run_is_all(kind: Kind) -> None:
    if kind is Kind.SELECTION:
        assert check_plugin("successplugin", kind) != []
    else:
        assert check_plugin("successplugin", kind) == []
