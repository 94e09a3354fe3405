"""Who may become master: safety takes out, and never reorders."""

import dataclasses
from random import Random
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.candidates import choose
from handyrep.decide.policy import Policy
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.verdict import Excluded
from tests.factories import make_cluster, make_server

POLICY = Policy(max_lost_wal_bytes=1000)


def facts(
    position: int, timeline: int = 1, *, identifier: str = "1", in_recovery: bool = True, paused: bool = False
) -> PostgresFacts:
    return PostgresFacts(
        in_recovery=in_recovery,
        system_identifier=identifier,
        timeline=timeline,
        version_num=150000,
        received_lsn=Lsn(position),
        replay_paused=paused,
    )


def picture(**seen: PostgresFacts | None) -> Picture:
    return Picture(seen=MappingProxyType({name: Seen(facts=one) for name, one in seen.items()}), verified=True)


def cluster(sync: str = "", identifier: str = "1") -> Cluster:
    return make_cluster(system_identifier=identifier, synchronous_standby_names=sync)


def test_the_first_of_the_order_is_taken_when_all_are_equal() -> None:
    choice = choose(["r2", "r1"], cluster(), picture(r1=facts(500), r2=facts(500)), POLICY, last_lsn=Lsn(500))
    assert (choice.candidate, choice.lost_bytes, choice.excluded) == ("r2", 0, ())


def test_c1_one_that_is_behind_is_taken_out_whatever_its_priority() -> None:
    choice = choose(["r1", "r2"], cluster(), picture(r1=facts(499), r2=facts(500)), POLICY, last_lsn=Lsn(500))
    assert choice.candidate == "r2"
    assert [(e.name, e.reason) for e in choice.excluded] == [("r1", "it is 1 bytes behind the most advanced replica")]


def test_a_replica_that_the_plugin_does_not_name_still_sets_the_mark() -> None:
    choice = choose(["r1"], cluster(), picture(r1=facts(400), r2=facts(500)), POLICY, last_lsn=Lsn(400))
    assert choice.candidate is None
    assert "100 bytes behind" in choice.excluded[0].reason


def test_a_newer_timeline_beats_a_larger_position() -> None:
    choice = choose(["r1", "r2"], cluster(), picture(r1=facts(900, 1), r2=facts(500, 2)), POLICY, last_lsn=Lsn(500))
    assert choice.candidate == "r2"
    assert "it is on timeline 1, another replica on 2" in choice.excluded[0].reason


def test_c8_one_that_never_followed_the_present_master_is_taken_out_though_it_is_ahead() -> None:
    known = make_cluster(system_identifier="1", timeline=2)
    choice = choose(["r1"], known, picture(r1=facts(900, 1)), POLICY, last_lsn=Lsn(500))
    assert choice.candidate is None
    assert choice.excluded[0].reason == "it is on timeline 1, the master was on 2"


def test_c10_strangers_masters_and_the_unseen_are_taken_out() -> None:
    servers = [make_server("m1", "master"), *(make_server(name) for name in ("r1", "r2", "r3", "r4"))]
    known = make_cluster(*servers, make_server("off", enabled=False), system_identifier="1")
    seen = picture(r1=facts(500, identifier="2"), r2=facts(500, in_recovery=False), r3=None, r4=facts(500))
    choice = choose(["r1", "r2", "r3", "off", "nobody", "m1", "r4"], known, seen, POLICY, last_lsn=Lsn(500))
    assert choice.candidate == "r4"
    reasons = {e.name: e.reason for e in choice.excluded}
    assert "another cluster" in reasons["r1"]
    assert "a master already" in reasons["r2"]
    assert "could not be looked at" in reasons["r3"]
    assert all("not an enabled replica" in reasons[name] for name in ("off", "nobody", "m1"))


def test_a_stranger_does_not_set_the_mark() -> None:
    choice = choose(["r1"], cluster(), picture(r1=facts(500), r2=facts(900, identifier="2")), POLICY, last_lsn=Lsn(500))
    assert choice.candidate == "r1"


def test_a_stranger_that_was_read_proves_nothing() -> None:
    seen = picture(r1=facts(500), r2=facts(500, identifier="2"))
    assert choose(["r1"], cluster("ANY 1 (r1, r2)"), seen, POLICY, last_lsn=None).candidate is None


def test_one_that_is_a_master_already_does_not_set_the_mark() -> None:
    seen = picture(r1=facts(500), r2=facts(900, in_recovery=False))
    assert choose(["r1"], cluster(), seen, POLICY, last_lsn=Lsn(500)).candidate == "r1"


def test_the_first_that_is_fit_is_taken_by_an_estimate_and_by_a_person_s_word_as_well() -> None:
    seen, accepting = picture(r1=facts(500), r2=facts(500)), dataclasses.replace(POLICY, loss_accepted=True)
    assert choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=None, estimated=Lsn(600)).candidate == "r1"
    assert choose(["r1", "r2"], cluster(), seen, accepting, last_lsn=None).candidate == "r1"


def test_loss_beyond_what_is_allowed_is_refused_and_told() -> None:
    choice = choose(["r1"], cluster(), picture(r1=facts(500)), POLICY, last_lsn=Lsn(1501))
    assert choice.candidate is None
    assert choice.excluded[0].reason == "it lacks 1001 bytes of the old master's WAL (max_lost_wal allows 1000)"
    assert choose(["r1"], cluster(), picture(r1=facts(500)), POLICY, last_lsn=Lsn(1500)).lost_bytes == 1000


def test_who_was_taken_out_before_is_told_where_the_rest_is_refused() -> None:
    seen = picture(r1=facts(400), r2=facts(500))
    refused = choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=Lsn(5000))
    assert [one.name for one in refused.excluded] == ["r1", "r2"]


def test_what_a_choice_rests_on_is_told() -> None:
    read = choose(["r1"], cluster(), picture(r1=facts(500)), POLICY, last_lsn=Lsn(600))
    assert read.proof == "the old master's WAL ends at 0/258 and r1 has it to 0/1F4"
    ahead = choose(["r1"], cluster(), picture(r1=facts(500)), POLICY, last_lsn=None, estimated=Lsn(400))
    assert ahead.proof == "it is estimated to lack 0 bytes of the old master's WAL (max_lost_wal allows 1000)"


def test_an_unknown_end_of_wal_is_no_proof() -> None:
    choice = choose(["r1"], cluster(), picture(r1=facts(500)), POLICY, last_lsn=None)
    assert choice.candidate is None
    assert "is not known" in choice.excluded[0].reason


def test_enough_read_replicas_prove_that_nothing_acknowledged_is_lost() -> None:
    both = choose(["r1"], cluster("ANY 1 (r1, r2)"), picture(r1=facts(500), r2=facts(400)), POLICY, last_lsn=None)
    assert (both.candidate, both.lost_bytes) == ("r1", 0)
    assert "R 2 + k 1 > N 2" in both.proof


def test_what_may_be_lost_is_for_asynchronous_clusters_only() -> None:
    seen = picture(r1=facts(500), r2=None)
    lacking = choose(["r1"], cluster("ANY 1 (r1, r2)"), seen, POLICY, last_lsn=Lsn(501))
    assert lacking.candidate is None
    assert (
        "1 bytes of the old master's WAL (the master was synchronous: none may be lost)" in lacking.excluded[0].reason
    )
    assert choose(["r1"], cluster("ANY 1 (r1, r2)"), seen, POLICY, last_lsn=Lsn(500)).candidate == "r1"
    assert choose(["r1"], cluster(""), seen, POLICY, last_lsn=Lsn(501)).candidate == "r1"


def test_a_synchronous_candidate_of_a_switchover_may_be_behind_while_the_master_still_writes() -> None:
    seen = picture(r1=facts(500), r2=None)
    choice = choose(["r1"], cluster("ANY 1 (r1, r2)"), seen, POLICY, last_lsn=Lsn(501), slack_bytes=1)
    assert choice.candidate == "r1"


def test_c4_one_read_replica_of_two_is_not_enough() -> None:
    choice = choose(["r1"], cluster("ANY 1 (r1, r2)"), picture(r1=facts(500), r2=None), POLICY, last_lsn=None)
    assert choice.candidate is None


def test_c5_nobody_is_left() -> None:
    assert choose([], cluster(), picture(), POLICY, last_lsn=Lsn(0)).candidate is None
    assert choose(["r1"], cluster(), picture(r1=None, r2=None), POLICY, last_lsn=Lsn(0)).candidate is None


def test_c2_c14_one_whose_replay_is_paused_is_taken_only_where_no_other_is_fit() -> None:
    seen = picture(r1=facts(500, paused=True), r2=facts(500))
    choice = choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=Lsn(500))
    assert choice.candidate == "r2"
    assert [(e.name, e.reason) for e in choice.excluded] == [("r1", "its replay is paused, and that of r2 is not")]
    seen = picture(r1=facts(500, paused=True), r2=facts(400))
    assert choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=Lsn(500)).candidate == "r1"
    seen = picture(r1=facts(500, paused=True), r2=facts(500))
    assert choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=Lsn(500), wanted="r1").candidate == "r1"


def test_of_those_that_replay_the_first_is_named() -> None:
    three = make_cluster(make_server("m1", "master"), *(make_server(name) for name in ("r1", "r2", "r3")))
    seen = picture(r1=facts(500, paused=True), r2=facts(500), r3=facts(500))
    choice = choose(["r1", "r2", "r3"], three, seen, POLICY, last_lsn=Lsn(500))
    assert [one.reason for one in choice.excluded] == ["its replay is paused, and that of r2 is not"]


def test_a_replica_without_a_voice_does_not_count_among_those_that_were_read() -> None:
    servers = (make_server("m1", "master"), *(make_server(name) for name in ("r1", "r2", "r3")))
    known = make_cluster(*servers, system_identifier="1", synchronous_standby_names="ANY 1 (r1, r2)")
    choice = choose(["r1"], known, picture(r1=facts(9), r2=facts(9), r3=facts(9)), POLICY, last_lsn=None)
    assert "R 2 + k 1 > N 2" in choice.proof


def test_a_named_one_is_taken_or_none() -> None:
    seen = picture(r1=facts(500), r2=facts(500))
    assert choose(["r1", "r2"], cluster(), seen, POLICY, last_lsn=Lsn(500), wanted="r2").candidate == "r2"
    behind = picture(r1=facts(500), r2=facts(400))
    refused = choose(["r1", "r2"], cluster(), behind, POLICY, last_lsn=Lsn(500), wanted="r2")
    assert (refused.candidate, [one.name for one in refused.excluded]) == (None, ["r2"])


def test_one_that_the_selection_does_not_name_may_be_named_by_a_person_and_is_judged_like_the_others() -> None:
    seen = picture(r1=facts(500), r2=facts(500))
    assert choose(["r1"], cluster(), seen, POLICY, last_lsn=Lsn(500), wanted="r2").candidate == "r2"
    for wanted, reason in (("m1", "not an enabled replica"), ("r2", "bytes of the old master's WAL")):
        refused = choose([], cluster(), seen, POLICY, last_lsn=Lsn(9000), wanted=wanted)
        assert refused.candidate is None
        assert reason in refused.excluded[-1].reason


MOVING = (
    "it is being worked on, or it could not be made sure that it receives nothing more: its position may still move"
)


def test_one_whose_position_may_still_move_neither_takes_over_nor_counts_nor_sets_the_mark() -> None:
    seen = picture(r1=facts(500), r2=facts(900))
    standing = frozenset({"r1"})
    choice = choose(["r2", "r1", "m1"], cluster(), seen, POLICY, last_lsn=Lsn(500), standing=standing)
    assert choice.candidate == "r1", "r2 is ahead for the moment only"
    assert choice.excluded == (Excluded("r2", MOVING), Excluded("m1", "it is not an enabled replica of this cluster"))
    synchronous, seen = cluster("ANY 1 (r1, r2)"), picture(r1=facts(500), r2=facts(500))
    assert choose(["r1"], synchronous, seen, POLICY, last_lsn=None).candidate == "r1"
    assert choose(["r1"], synchronous, seen, POLICY, last_lsn=None, standing=standing).candidate is None
    assert choose(["r1"], cluster(), seen, POLICY, last_lsn=Lsn(500), standing=frozenset()).candidate is None


@given(
    positions=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3)), min_size=1, max_size=5),
    order=st.randoms(use_true_random=False),
    last=st.one_of(st.none(), st.integers(0, 6000)),
)
def test_never_one_that_is_behind_and_never_more_loss_than_allowed(
    positions: list[tuple[int, int]], order: Random, last: int | None
) -> None:
    names = [f"r{number}" for number in range(1, len(positions) + 1)]
    known = make_cluster(make_server("m1", "master"), *(make_server(name) for name in names), system_identifier="1")
    seen = picture(**{name: facts(*place) for name, place in zip(names, positions, strict=True)})
    ordered = list(names)
    order.shuffle(ordered)
    choice = choose(ordered, known, seen, POLICY, last_lsn=None if last is None else Lsn(last))
    if choice.candidate is not None:
        position, timeline = positions[names.index(choice.candidate)]
        assert (timeline, position) == max((t, p) for p, t in positions)
        assert last is not None
        assert last - position <= POLICY.max_lost_wal_bytes
        assert choice.lost_bytes == max(last - position, 0)


def test_a_person_who_accepts_a_loss_changes_nothing_where_none_is() -> None:
    accepting = dataclasses.replace(POLICY, loss_accepted=True)
    seen = picture(r1=facts(500), r2=facts(500))
    for policy in (POLICY, accepting):
        choice = choose(["r1", "r2"], cluster(), seen, policy, last_lsn=Lsn(500))
        assert (choice.candidate, choice.lost_bytes) == ("r1", 0)


def test_a_person_may_accept_a_loss_that_is_too_large_or_not_known_and_it_is_told() -> None:
    accepting = dataclasses.replace(POLICY, loss_accepted=True)
    for last_lsn, reason in ((Lsn(5000), "lacks 4500 bytes"), (None, "not known")):
        choice = choose(["r1"], cluster(), picture(r1=facts(500)), accepting, last_lsn=last_lsn)
        assert (choice.candidate, choice.lost_bytes, choice.excluded) == ("r1", None, ())
        assert "a person accepted" in choice.proof
        assert reason in choice.proof


def test_nobody_can_accept_a_stranger() -> None:
    accepting = dataclasses.replace(POLICY, loss_accepted=True)
    choice = choose(["r1"], cluster(), picture(r1=facts(500, identifier="2")), accepting, last_lsn=None)
    assert choice.candidate is None
