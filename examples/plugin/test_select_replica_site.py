"""select_replica_site keeps the contract, and orders as it says."""

from pathlib import Path

from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Server
from handyrep.model.status import Health, Status
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.testing import check_plugin, try_plugin

HERE = Path(__file__).parent
NAME = "select_replica_site"
OPTIONS = {"sites": ("berlin-", "paris-")}


def a_cluster(**healths):
    """A master in Berlin, and replicas of these healths; _ in a name stands for -."""
    members = {"berlin-db1": Member(Server(name="berlin-db1", role="master"), Status(Health.HEALTHY))}
    for key, health in healths.items():
        name = key.replace("_", "-")
        members[name] = Member(Server(name=name, role="replica"), Status(health))
    return Cluster(members=members)


def test_it_keeps_the_contract():
    assert check_plugin(NAME, Kind.SELECTION, plugins_dir=HERE, options=OPTIONS) == []


def test_replicas_of_the_masters_site_come_first():
    cluster = a_cluster(
        paris_db2=Health.HEALTHY, berlin_db3=Health.LAGGED, berlin_db4=Health.HEALTHY, berlin_db5=Health.DOWN
    )
    names = try_plugin(NAME, Kind.SELECTION, cluster=cluster, plugins_dir=HERE, options=OPTIONS)
    assert names == ("berlin-db4", "berlin-db3", "paris-db2")


def test_a_server_without_a_site_is_told():
    cluster = a_cluster(rome_db2=Health.HEALTHY)
    result = try_plugin(NAME, Kind.SELECTION, "test", cluster=cluster, plugins_dir=HERE, options=OPTIONS)
    assert result.outcome is Outcome.FAIL
    assert "rome-db2" in result.details


def test_without_sites_it_refuses_the_start():
    problems = check_plugin(NAME, Kind.SELECTION, plugins_dir=HERE)
    assert any("sites is required" in problem for problem in problems)
