"""What a look makes of statuses. The rows are numbered; each has a case here."""

import dataclasses
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.assess import assess, assess_cluster, assess_server
from handyrep.model.answer import Answer
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.status import Health
from tests.factories import make_cluster, make_member, make_server

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


def facts(*, in_recovery: bool) -> PostgresFacts:
    return PostgresFacts(
        in_recovery=in_recovery, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(1)
    )


WELL = Seen(up=YES, alive=YES, host_answers=YES, running=YES, writable=YES, facts=facts(in_recovery=False))
FOLLOWS = Seen(
    up=YES, alive=YES, host_answers=YES, running=YES, replicating=YES, lag=1.0, facts=facts(in_recovery=True)
)


def but(seen: Seen, **changed: object) -> Seen:
    return dataclasses.replace(seen, **changed)  # type: ignore[arg-type] # field by field


@pytest.mark.parametrize(
    ("role", "was", "seen", "verified", "row", "health"),
    [
        ("master", Health.HEALTHY, Seen(up=NO, alive=YES), False, "S01", Health.WARNING),
        ("master", Health.HEALTHY, Seen(up=NO, running=NO, host_answers=YES), True, "S02", Health.DOWN),
        ("master", Health.HEALTHY, Seen(up=NO), False, "S03", Health.UNAVAILABLE),
        ("master", Health.DOWN, Seen(up=NO), False, "S05", Health.DOWN),
        ("master", Health.DOWN, Seen(up=NO), True, "S03", Health.UNAVAILABLE),
        ("master", Health.HEALTHY, Seen(up=YES, stranger="2"), False, "S04", Health.DOWN),
        ("replica", Health.HEALTHY, Seen(up=YES, stranger="2"), True, "S04", Health.DOWN),
        ("replica", Health.UNAVAILABLE, Seen(up=YES), False, "S10", Health.WARNING),
        ("replica", Health.UNKNOWN, Seen(up=YES), False, "S11", Health.UNKNOWN),
        ("replica", Health.WARNING, Seen(up=YES), False, "S12", Health.WARNING),
        ("replica", Health.HEALTHY, Seen(up=YES), True, "S13", Health.WARNING),
        ("master", Health.HEALTHY, but(WELL, host_answers=NO), True, "S20", Health.WARNING),
        ("master", Health.HEALTHY, but(WELL, running=NO), True, "S21", Health.WARNING),
        ("master", Health.HEALTHY, but(WELL, facts=facts(in_recovery=True)), True, "S30", Health.DOWN),
        ("master", Health.HEALTHY, but(WELL, writable=UNKNOWN), True, "S31", Health.WARNING),
        ("master", Health.HEALTHY, but(WELL, writable=UNKNOWN, stalled=YES), True, "S32", Health.DOWN),
        ("master", Health.UNKNOWN, WELL, True, "S39", Health.HEALTHY),
        ("replica", Health.HEALTHY, but(FOLLOWS, facts=facts(in_recovery=False)), True, "S40", Health.WARNING),
        ("replica", Health.HEALTHY, but(FOLLOWS, replicating=NO), True, "S41", Health.WARNING),
        ("replica", Health.LAGGED, but(FOLLOWS, replicating=UNKNOWN), True, "S42", Health.LAGGED),
        ("replica", Health.WARNING, but(FOLLOWS, replicating=UNKNOWN), True, "S43", Health.WARNING),
        ("replica", Health.HEALTHY, but(FOLLOWS, lag=5000.0), True, "S44", Health.LAGGED),
        ("replica", Health.WARNING, FOLLOWS, True, "S49", Health.HEALTHY),
        ("pgbouncer", Health.UNKNOWN, Seen(up=YES), False, "S50", Health.HEALTHY),
        ("proxy", Health.HEALTHY, Seen(up=NO), False, "S51", Health.UNAVAILABLE),
        ("pgbouncer", Health.UNKNOWN, Seen(), False, "S52", Health.UNKNOWN),
        ("pgbouncer", Health.HEALTHY, Seen(), False, "S59", Health.HEALTHY),
        ("archive", Health.UNKNOWN, Seen(host_answers=YES), True, "S60", Health.HEALTHY),
        ("archive", Health.HEALTHY, Seen(), False, "S61", Health.HEALTHY),
        ("whatever", Health.HEALTHY, Seen(host_answers=NO), True, "S69", Health.UNAVAILABLE),
    ],
)
def test_each_row(role: str, was: Health, seen: Seen, verified: bool, row: str, health: Health) -> None:
    found, status = assess_server(make_member(make_server("s", role), was), seen, verified=verified)
    assert (found, status.health) == (row, health)
    assert status.reason
    assert status.stale is (row == "S42")


def look(seen: Seen, *, verified: bool = True) -> Picture:
    """At r1, while the master says nothing."""
    return Picture(seen=MappingProxyType({"m1": Seen(up=NO), "r1": seen}), verified=verified)


def test_a_replica_that_was_silent_for_a_moment_while_the_master_is_away_may_still_take_over() -> None:
    cluster = assess(make_cluster(), look(but(FOLLOWS, lag=5000.0)))
    for answers in (Seen(up=NO), Seen(up=YES), but(FOLLOWS, replicating=UNKNOWN)):
        cluster = assess(cluster, look(answers, verified=answers.facts is not None))
    status = cluster.members["r1"].status
    assert (status.health, status.stale) == (Health.LAGGED, True)
    assert status.reason == "replicated when its master could last be asked"


@pytest.mark.parametrize("since", [but(FOLLOWS, replicating=NO), but(FOLLOWS, facts=facts(in_recovery=False))])
def test_a_replica_that_was_seen_to_stop_replicating_is_not_taken_for_well_later(since: Seen) -> None:
    cluster = assess(make_cluster(), look(FOLLOWS))
    for seen in (since, but(FOLLOWS, replicating=UNKNOWN)):
        cluster = assess(cluster, look(seen))
    assert cluster.members["r1"].status.health is Health.WARNING


ANSWERS = st.sampled_from(Answer)


@given(
    was=st.sampled_from(Health),
    up=ANSWERS,
    alive=ANSWERS,
    host=ANSWERS,
    running=ANSWERS,
    role=st.sampled_from(["master", "replica"]),
)
def test_a_poll_alone_never_makes_anything_healthy(
    was: Health, up: Answer, alive: Answer, host: Answer, running: Answer, role: str
) -> None:
    seen = Seen(up=up, alive=alive, host_answers=host, running=running)
    _, status = assess_server(make_member(make_server("s", role), was), seen, verified=False)
    assert status.health is not Health.HEALTHY or was is Health.HEALTHY
    assert status.health is not Health.DOWN or running is NO or was is Health.DOWN


def test_the_roll_up() -> None:
    trio = make_cluster()
    assert assess_cluster(trio).health is Health.HEALTHY
    assert assess_cluster(trio.without("m1")).health is Health.DOWN
    two = trio.with_member(make_member(make_server("m2", "master")))
    assert "2 servers are recorded as master" in assess_cluster(two).reason
    for health, expected in (
        (Health.UNKNOWN, Health.UNKNOWN),
        (Health.DOWN, Health.DOWN),
        (Health.UNAVAILABLE, Health.DOWN),
        (Health.WARNING, Health.WARNING),
    ):
        assert assess_cluster(trio.with_member(make_member(make_server("m1", "master"), health))).health is expected
    lagged = trio.with_member(make_member(make_server("r1"), Health.LAGGED))
    assert assess_cluster(lagged).health is Health.HEALTHY
    ill = trio.with_member(make_member(make_server("r1"), Health.DOWN))
    assert assess_cluster(ill).health is Health.WARNING
    alone = make_cluster(make_server("m1", "master"))
    assert "no replica to fail over to" in assess_cluster(alone).reason
    frozen = dataclasses.replace(trio, frozen="a question")
    assert "a question" in assess_cluster(frozen).reason
    second = trio.with_member(make_member(make_server("r1"), in_recovery=Answer.NO))
    assert assess_cluster(second).health is Health.DOWN


def test_a_server_that_is_not_in_the_cluster_changes_nothing() -> None:
    trio = make_cluster()
    after = assess(trio, Picture(seen=MappingProxyType({"stranger": WELL, "m1": WELL}), verified=True))
    assert set(after.members) == set(trio.members)
    assert after.members["m1"].in_recovery is Answer.NO
