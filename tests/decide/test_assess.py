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
from handyrep.model.status import Health, Status
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
    found, status = assess_server(
        make_member(make_server("s", role), was), seen, verified=verified, master_silent=False
    )
    assert (found, status.health) == (row, health)
    assert status.reason
    assert status.stale is (row == "S42")


@pytest.mark.parametrize(
    ("role", "was", "seen", "verified", "row"),
    [
        ("master", Health.HEALTHY, Seen(alive=YES, running=NO), True, "S01"),
        ("master", Health.DOWN, Seen(running=NO), False, "S02"),
        ("master", Health.HEALTHY, Seen(stranger="2"), True, "S03"),
        ("master", Health.DOWN, Seen(up=YES, stranger="2", facts=facts(in_recovery=True)), False, "S04"),
        ("replica", Health.DOWN, Seen(up=YES, stranger="2", facts=facts(in_recovery=False)), False, "S04"),
        ("master", Health.DOWN, Seen(up=YES, facts=facts(in_recovery=True)), False, "S30"),
        ("replica", Health.DOWN, Seen(up=YES, facts=facts(in_recovery=False)), False, "S40"),
        ("replica", Health.DOWN, Seen(up=YES), False, "S10"),
        ("master", Health.DOWN, WELL, True, "S39"),
        ("replica", Health.UNAVAILABLE, FOLLOWS, True, "S49"),
        ("replica", Health.UNKNOWN, Seen(up=YES), False, "S11"),
        ("replica", Health.LAGGED, Seen(up=YES, replicating=NO), False, "S12"),
        ("master", Health.HEALTHY, Seen(up=YES, writable=NO), True, "S13"),
        ("master", Health.HEALTHY, Seen(up=YES, writable=NO, stalled=YES), True, "S13"),
        ("replica", Health.HEALTHY, Seen(up=YES, replicating=NO), True, "S13"),
        ("master", Health.HEALTHY, but(WELL, writable=NO, host_answers=NO), True, "S31"),
        ("replica", Health.HEALTHY, but(FOLLOWS, replicating=NO, host_answers=NO), True, "S41"),
        ("replica", Health.LAGGED, but(FOLLOWS, replicating=UNKNOWN, host_answers=NO), True, "S42"),
        ("replica", Health.HEALTHY, but(FOLLOWS, replicating=UNKNOWN), True, "S42"),
        ("replica", Health.WARNING, but(FOLLOWS, replicating=UNKNOWN, host_answers=NO), True, "S43"),
        ("replica", Health.HEALTHY, but(FOLLOWS, host_answers=NO, running=NO), True, "S20"),
        ("master", Health.HEALTHY, but(WELL, host_answers=UNKNOWN, running=UNKNOWN), True, "S20"),
        ("replica", Health.HEALTHY, but(FOLLOWS, running=NO, lag=5000.0), True, "S21"),
        ("replica", Health.HEALTHY, but(FOLLOWS, running=UNKNOWN), True, "S49"),
        ("master", Health.HEALTHY, but(WELL, running=UNKNOWN), True, "S39"),
        ("pgbouncer", Health.UNKNOWN, Seen(up=NO), True, "S51"),
        ("pgbouncer", Health.UNKNOWN, Seen(up=YES), True, "S50"),
        ("archive", Health.HEALTHY, Seen(host_answers=YES), False, "S60"),
        ("archive", Health.HEALTHY, Seen(host_answers=NO), False, "S61"),
        ("archive", Health.HEALTHY, Seen(), True, "S69"),
    ],
)
def test_of_several_rows_that_fit_the_first_counts(
    role: str, was: Health, seen: Seen, verified: bool, row: str
) -> None:
    assert (
        assess_server(make_member(make_server("s", role), was), seen, verified=verified, master_silent=False)[0] == row
    )


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (FOLLOWS, "replicates, 1 behind"),
        (but(FOLLOWS, lag=None), "replicates, unknown behind"),
        (but(FOLLOWS, lag=10.0), "replicates, 10 behind"),
        (but(FOLLOWS, lag=10.5), "replicates, 10.5 behind (limit 10)"),
        (Seen(up=YES, stranger="9"), "a PostgreSQL of another cluster answers in its place (system identifier 9), and is left alone"),
        (Seen(), "no answer, so its state is not known"),
        (Seen(notes=("a", "b")), "no answer, so its state is not known (a; b)"),
    ],
)  # fmt: skip
def test_what_is_told_of_a_replica(seen: Seen, reason: str) -> None:
    _, status = assess_server(make_member(make_server("s", lag_limit=10.0)), seen, verified=True, master_silent=False)
    assert (status.reason, status.since) == (reason, None)


RECEIVES = but(FOLLOWS, replicating=UNKNOWN, facts=dataclasses.replace(facts(in_recovery=True), receiving=True))


@pytest.mark.parametrize(
    ("was", "seen", "master_silent", "row"),
    [
        (Health.WARNING, RECEIVES, True, "S45"),
        (Health.HEALTHY, RECEIVES, True, "S42"),
        (Health.WARNING, but(RECEIVES, replicating=NO), True, "S41"),
        (Health.WARNING, but(RECEIVES, replicating=YES), True, "S49"),
        (Health.WARNING, RECEIVES, False, "S43"),
        (Health.WARNING, but(FOLLOWS, replicating=UNKNOWN), True, "S43"),
        (Health.WARNING, but(RECEIVES, host_answers=NO), True, "S45"),
    ],
)
def test_while_the_master_does_not_answer_a_receivers_own_word_counts(
    was: Health, seen: Seen, master_silent: bool, row: str
) -> None:
    member = make_member(make_server("s"), was)
    assert assess_server(member, seen, verified=True, master_silent=master_silent)[0] == row


@pytest.mark.parametrize("master", [Seen(up=YES), Seen(up=UNKNOWN)])
def test_only_a_master_that_was_asked_and_did_not_answer_is_silent(master: Seen) -> None:
    known = make_cluster().with_member(make_member(make_server("r1"), Health.WARNING))
    picture = Picture(seen=MappingProxyType({"m1": master, "r1": RECEIVES}), verified=True)
    assert assess(known, picture).members["r1"].status.health is Health.WARNING


def test_without_one_recorded_master_a_receiver_proves_nothing() -> None:
    two = make_cluster(make_server("m1", "master"), make_server("m2", "master"), make_server("r1"))
    two = two.with_member(make_member(make_server("r1"), Health.WARNING))
    assert assess(two, look(RECEIVES)).members["r1"].status.health is Health.WARNING


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


def test_a_replica_whose_connection_came_back_before_the_master_went_may_take_over_even_when_that_breaks_again() -> (
    None
):
    cluster = make_cluster()
    for seen in (but(FOLLOWS, replicating=NO), RECEIVES, Seen(up=NO), but(FOLLOWS, replicating=UNKNOWN)):
        cluster = assess(cluster, look(seen))
    assert cluster.members["r1"].status.health is Health.LAGGED


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
    _, status = assess_server(make_member(make_server("s", role), was), seen, verified=False, master_silent=False)
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


def test_the_roll_up_says_what_is_wrong_and_with_whom() -> None:
    trio = make_cluster()
    second = [make_member(make_server(name), in_recovery=NO) for name in ("r1", "r2")]
    assert assess_cluster(make_cluster(make_member(make_server("m1", "master")), *second)) == Status(
        Health.DOWN, "more than one master: m1 and r1, r2"
    )
    ill = [make_member(make_server(name), Health.DOWN) for name in ("r1", "r2")]
    for silent in (Health.DOWN, Health.UNAVAILABLE, Health.UNKNOWN):
        was = make_member(make_server("r1"), silent, in_recovery=NO)
        assert assess_cluster(trio.with_member(was)) == Status(Health.WARNING, "r1: as the test says"), (
            "a former master that was fenced and lies there is no second master"
        )
    assert assess_cluster(make_cluster(make_member(make_server("m1", "master")), *ill)) == Status(
        Health.WARNING, "r1: as the test says; r2: as the test says"
    )
    out_of_use = make_member(make_server("r3", enabled=False), Health.DOWN)
    assert assess_cluster(trio.with_member(out_of_use)) == Status(Health.HEALTHY, "master m1 works, 2 replicas follow")
    frozen = dataclasses.replace(trio, frozen="a question")
    assert assess_cluster(frozen) == Status(Health.WARNING, "automation stands still: a question")
    alone = make_cluster(make_server("m1", "master"))
    assert assess_cluster(alone).health is Health.WARNING


def test_a_look_changes_the_roll_up_as_well() -> None:
    assert assess(make_cluster(), look(FOLLOWS)).status.health is Health.DOWN


@pytest.mark.parametrize("was", [None, True, False])
@pytest.mark.parametrize("replicating", Answer)
def test_what_a_look_does_not_tell_stays_as_it_was_known(replicating: Answer, was: bool | None) -> None:
    known = make_cluster().with_member(make_member(make_server("r1"), replicating=was, lag=2.0, in_recovery=YES))
    after = assess(known, look(Seen(up=YES, replicating=replicating), verified=False)).members["r1"]
    assert after.replicating is {YES: True, NO: False, UNKNOWN: was}[replicating]
    assert (after.lag, after.in_recovery) == (2.0, YES)


@pytest.mark.parametrize("ended", [Seen(up=NO, running=NO, host_answers=YES), Seen(up=NO)])
def test_a_former_master_that_starts_anew_is_no_second_master_before_it_says_so(ended: Seen) -> None:
    def seen(r1: Seen, *, verified: bool = True) -> Picture:
        return Picture(seen=MappingProxyType({"m1": WELL, "r1": r1}), verified=verified)

    second = but(WELL, replicating=NO)
    known = assess(make_cluster(), seen(second))
    starting = assess(assess(known, seen(ended)), seen(Seen(up=NO, alive=YES), verified=False))
    assert starting.status.health is Health.WARNING, starting.status.reason
    assert starting.members["r1"].in_recovery is UNKNOWN
    assert "more than one master" in assess(starting, seen(second)).status.reason


def test_what_a_look_tells_is_known_from_then_on() -> None:
    after = assess(make_cluster(), look(but(FOLLOWS, lag=7.0))).members["r1"]
    assert (after.lag, after.replicating, after.in_recovery, after.last_well) == (7.0, True, YES, Health.HEALTHY)


@pytest.mark.parametrize(
    ("seen", "last_well", "expected"),
    [
        (Seen(up=YES), None, None),
        (Seen(up=YES), Health.LAGGED, Health.LAGGED),
        (but(FOLLOWS, host_answers=NO), Health.LAGGED, Health.LAGGED),
        (but(FOLLOWS, host_answers=NO), None, None),
        (but(FOLLOWS, lag=5000.0), None, Health.LAGGED),
        (but(FOLLOWS, replicating=NO), Health.LAGGED, None),
    ],
)
def test_only_a_replica_that_was_seen_to_replicate_well_was_well(
    seen: Seen, last_well: Health | None, expected: Health | None
) -> None:
    known = make_cluster().with_member(make_member(make_server("r1"), last_well=last_well))
    assert assess(known, look(seen, verified=seen.facts is not None)).members["r1"].last_well is expected


@pytest.mark.parametrize("was", [Health.DOWN, Health.WARNING])
def test_a_poll_that_tells_nothing_new_changes_nothing_though_it_was_well_once(was: Health) -> None:
    member = make_member(make_server("r1"), was, last_well=Health.HEALTHY)
    seen = Seen(up=NO if was is Health.DOWN else YES)
    assert assess_server(member, seen, verified=False, master_silent=False)[1] == member.status


def test_one_that_is_as_it_was_when_it_was_well_keeps_its_words() -> None:
    member = make_member(make_server("r1"), Health.LAGGED, last_well=Health.LAGGED)
    _, status = assess_server(member, but(FOLLOWS, replicating=UNKNOWN), verified=True, master_silent=False)
    assert status == dataclasses.replace(member.status, stale=True)
