"""select_replica_priority: who may become master, in which order; and that the order does not depend on anything else."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.model.answer import Outcome
from handyrep.model.cluster import Member
from handyrep.model.result import Result
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import refusing
from handyrep.plugin_api.testing import try_plugin
from tests.factories import make_cluster, make_member, make_server

NAME = "select_replica_priority"


def replica(name: str, health: Health = Health.HEALTHY, priority: int = 999, **directives: object) -> Member:
    return make_member(make_server(name, "replica", failover_priority=priority, **directives), health)


def ordered(*members: Member) -> tuple[str, ...]:
    master = make_member(make_server("m1", "master", failover_priority=0))
    world = refusing()
    names = try_plugin(NAME, Kind.SELECTION, cluster=make_cluster(master, *members), world=world)
    assert isinstance(names, tuple)
    assert world.asked == []
    return names


def test_lower_priority_numbers_come_first() -> None:
    assert ordered(replica("a", priority=3), replica("b", priority=1), replica("c", priority=2)) == ("b", "c", "a")


def test_every_healthy_one_comes_before_every_lagged_one() -> None:
    assert ordered(replica("a", Health.LAGGED, 0), replica("b", Health.HEALTHY, 999)) == ("b", "a")


def test_of_equal_ones_the_name_decides_wherever_they_stand_in_the_file() -> None:
    equal = [replica(name, priority=7) for name in ("r10", "r2", "r1")]
    for members in itertools.permutations(equal):
        assert ordered(*members) == ("r1", "r10", "r2")


@pytest.mark.parametrize("health", [Health.UNKNOWN, Health.WARNING, Health.UNAVAILABLE, Health.DOWN])
def test_one_that_is_not_healthy_or_lagged_is_no_candidate(health: Health) -> None:
    assert ordered(replica("a", health, 0), replica("b", Health.LAGGED, 999)) == ("b",)


def test_one_that_was_never_verified_is_no_candidate() -> None:
    assert ordered(Member(make_server("a", "replica", failover_priority=0))) == ()


def test_a_disabled_one_is_no_candidate() -> None:
    assert ordered(replica("a", priority=0, enabled=False), replica("b")) == ("b",)


@pytest.mark.parametrize("role", ["master", "pgbouncer", "proxy", "archive", "mine"])
def test_only_replicas_are_candidates(role: str) -> None:
    assert ordered(make_member(make_server("a", role, failover_priority=0))) == ()


def test_without_a_replica_there_is_none() -> None:
    assert ordered() == ()


@given(
    st.lists(
        st.builds(
            replica,
            st.text("abc", min_size=1, max_size=3),
            st.sampled_from(Health),
            st.integers(0, 3),
            enabled=st.booleans(),
        ),
        unique_by=lambda member: member.name,
        max_size=6,
    )
)
def test_all_that_are_fit_and_no_others_each_once_and_never_a_worse_one_first(members: list[Member]) -> None:
    by_name = {member.name: member for member in members}
    names = ordered(*members)
    fit = {m.name for m in members if m.server.enabled and m.status.health in (Health.HEALTHY, Health.LAGGED)}
    assert sorted(names) == sorted(fit)
    keys = [(by_name[n].status.health, by_name[n].server.failover_priority, n) for n in names]
    assert keys == sorted(keys)


def test_its_test_tells_the_order() -> None:
    told = try_plugin(NAME, Kind.SELECTION, "test", {}, cluster=make_cluster(replica("b", priority=2), replica("a")))
    none = try_plugin(NAME, Kind.SELECTION, "test", {}, cluster=make_cluster(replica("b", Health.DOWN)))
    assert isinstance(told, Result)
    assert isinstance(none, Result)
    assert (told.outcome, none.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)
    assert "b, a" in told.details
    assert "no replica is healthy or lagged" in none.details
