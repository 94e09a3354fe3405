"""A list of synchronous replicas is no proof of what was acknowledged before it, until enough of its replicas have received that far."""

import dataclasses
from types import MappingProxyType

import pytest

from handyrep.decide.candidates import choose
from handyrep.decide.policy import Policy
from handyrep.decide.promise import (
    UNDER_NO_LIST,
    about_to_order,
    are_readable_from,
    may_be_in_force,
    now_in_force,
    promises,
    remembered,
    with_lists_of,
)
from handyrep.decide.quorum import parse_sync_list
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from tests.factories import make_cluster

BOTH = frozenset({"r1", "r2"})


def facts(
    position: int, *, names: str = "", timeline: int = 1, in_recovery: bool = True, of: str = "1"
) -> PostgresFacts:
    return PostgresFacts(
        in_recovery=in_recovery, system_identifier=of, timeline=timeline, version_num=150000, received_lsn=Lsn(position),
        synchronous_standby_names=names,
    )  # fmt: skip


def look(names: str, position: int = 100, **replicas: int) -> Picture:
    """The master at a position with its list, and replicas at theirs."""
    seen = {name: Seen(up=Answer.YES, facts=facts(at)) for name, at in replicas.items()}
    seen["m1"] = Seen(up=Answer.YES, facts=facts(position, names=names, in_recovery=False))
    return Picture(seen=MappingProxyType(seen), verified=True)


def known(names: str = "ANY 1 (r1, r2)") -> Cluster:
    """A cluster that was looked at when all had received everything."""
    return remembered(make_cluster(), look(names, 100, r1=100, r2=100))


def test_the_first_list_that_is_seen_counts_once_enough_replicas_have_what_stood_before_it() -> None:
    behind = remembered(make_cluster(), look("ANY 1 (r1, r2)", 100, r1=99, r2=50))
    assert (behind.older_lists, behind.list_since) == ((UNDER_NO_LIST,), "0/64")
    assert not are_readable_from(behind, BOTH)
    settled = remembered(behind, look("ANY 1 (r1, r2)", 500, r1=100, r2=50))
    assert (settled.older_lists, settled.list_since) == ((), "")
    assert are_readable_from(settled, BOTH)
    assert not are_readable_from(settled, frozenset({"r1"}))


def test_the_first_look_says_nothing_of_what_a_list_kept_from_elsewhere_covers() -> None:
    kept = make_cluster(synchronous_standby_names="ANY 1 (r1, r2)")
    assert kept.timeline == 0
    seen = remembered(kept, look("ANY 1 (r1, r2)", 100, r1=50, r2=50))
    assert (seen.older_lists, seen.list_since) == ((UNDER_NO_LIST,), "0/64")


def test_a_list_that_covers_everything_goes_on_doing_so_however_far_replicas_are_behind() -> None:
    seen = remembered(known(), look("ANY 1 (r1, r2)", 200, r1=100))
    assert (seen.older_lists, seen.list_since) == ((), "")


def test_whose_cluster_it_is_and_its_timeline_are_learnt_from_its_master() -> None:
    learnt = remembered(make_cluster(), look(""))
    assert (learnt.system_identifier, learnt.timeline) == ("1", 1)
    assert remembered(dataclasses.replace(learnt, timeline=3), look("")).timeline == 3


def test_a_list_that_was_changed_counts_together_with_the_one_before() -> None:
    changed = remembered(known(), look("ANY 1 (r3)", 200, r1=200, r2=150))
    assert changed.older_lists == ("ANY 1 (r1, r2)",)
    assert not are_readable_from(changed, frozenset({"r3"})), "a commit that only r1 has would be lost"
    assert not are_readable_from(changed, BOTH), "a commit that only r3 has would be lost"
    assert are_readable_from(changed, frozenset({"r1", "r2", "r3"}))
    settled = remembered(changed, look("ANY 1 (r3)", 300, r3=200))
    assert are_readable_from(settled, frozenset({"r3"}))


def test_two_changes_in_a_row_leave_three_lists_to_count() -> None:
    once = remembered(known(), look("ANY 1 (r3)", 200))
    twice = remembered(once, look("ANY 1 (r4)", 300, r4=250))
    assert twice.older_lists == ("ANY 1 (r1, r2)", "ANY 1 (r3)")
    assert twice.list_since == "0/12C"


def test_lists_that_change_to_and_fro_are_each_counted_once() -> None:
    again = dataclasses.replace(known(), older_lists=("ANY 1 (r1, r2)",), list_since="0/64")
    assert remembered(again, look("ANY 1 (r3)", 200)).older_lists == ("ANY 1 (r1, r2)",)


def test_every_list_that_may_matter_is_kept_in_its_order_and_once() -> None:
    first, second, third, present = "ANY 1 (r3)", "ANY 1 (r4)", "ANY 1 (r5)", "ANY 1 (r1, r2)"
    ordered = about_to_order(about_to_order(dataclasses.replace(known(), older_lists=(first,)), second), third)
    assert ordered.ordered_lists == (second, third)
    assert promises(ordered) == tuple(parse_sync_list(one) for one in (present, first, second, third))
    assert may_be_in_force(about_to_order(known(), present)) == (present,)
    done = now_in_force(dataclasses.replace(ordered, list_since="0/64"), third)
    assert (done.older_lists, done.ordered_lists) == ((first, present, second), ())
    assert done.list_since == "", "from where it covers everything is known at the next look"
    repeated = dataclasses.replace(ordered, ordered_lists=(first, present))
    assert now_in_force(repeated, third).older_lists == (first, present)


def test_a_change_to_no_list_promises_nothing_and_is_forgotten_at_once() -> None:
    off = remembered(known(), look("", 200, r1=200, r2=200))
    assert (off.synchronous_standby_names, off.older_lists) == ("", ())
    assert not are_readable_from(off, BOTH)
    on_again = remembered(off, look("ANY 1 (r1, r2)", 300, r1=250, r2=250))
    assert not are_readable_from(on_again, BOTH), "what was acknowledged without a list may be on the master alone"


def test_a_replica_of_an_older_timeline_settles_nothing() -> None:
    cluster = dataclasses.replace(known(), timeline=2, older_lists=(UNDER_NO_LIST,), list_since="0/64")
    assert remembered(cluster, look("ANY 1 (r1, r2)", 200, r1=200)).older_lists == (UNDER_NO_LIST,)


def test_a_list_in_flight_counts_from_the_first_look_after_it_was_ordered() -> None:
    ordered = dataclasses.replace(known(), older_lists=("ANY 1 (r3)",))
    seen = remembered(ordered, look("ANY 1 (r1, r2)", 200, r1=150, r2=150))
    assert (seen.older_lists, seen.list_since) == (("ANY 1 (r3)",), "0/C8")
    assert remembered(seen, look("ANY 1 (r1, r2)", 300, r1=250, r2=150)).older_lists == ()


@pytest.mark.parametrize(
    "master",
    [None, facts(100, names="ANY 9 (x)"), facts(100, names="ANY 9 (x)", in_recovery=False, of="stranger")],
)
def test_what_does_not_answer_as_our_master_is_not_believed(master: PostgresFacts | None) -> None:
    cluster = dataclasses.replace(known(), system_identifier="1")
    picture = Picture(seen=MappingProxyType({"m1": Seen(facts=master)}))
    assert remembered(cluster, picture) == cluster


def test_without_one_recorded_master_nothing_is_learnt() -> None:
    cluster = make_cluster(*(m.server for m in make_cluster().replicas))
    assert remembered(cluster, look("ANY 1 (r1, r2)")) == cluster


FOLLOWING = Seen(replicating=Answer.YES, facts=facts(9))


@pytest.mark.parametrize(
    ("seen", "follows"),
    [
        (FOLLOWING, True),
        (dataclasses.replace(FOLLOWING, facts=facts(9, in_recovery=False)), False),
        (dataclasses.replace(FOLLOWING, facts=None), False),
        (dataclasses.replace(FOLLOWING, replicating=Answer.UNKNOWN), False),
        (dataclasses.replace(FOLLOWING, replicating=Answer.NO), False),
    ],
)
def test_only_one_that_is_seen_to_replicate_is_no_former_master_and_not_astray_any_more(
    seen: Seen, *, follows: bool
) -> None:
    cluster = dataclasses.replace(known(), deposed=("r1", "r2"), astray=("r1", "r2"))
    after = remembered(cluster, Picture(seen=MappingProxyType({"r1": seen})))
    left = ("r2",) if follows else ("r1", "r2")
    assert (after.deposed, after.astray) == (left, left)


def test_a_second_failover_right_after_the_first_does_not_take_the_new_list_for_a_proof() -> None:
    """r1 became the master with a row that only it had, and died before anybody else received it."""
    cluster = dataclasses.replace(known("ANY 1 (r2, r3)"), older_lists=(UNDER_NO_LIST,), list_since="0/C8")
    picture = Picture(seen=MappingProxyType({"r1": Seen(facts=facts(150)), "r2": Seen(facts=facts(150))}))
    refused = choose(["r1", "r2"], cluster, picture, Policy(), last_lsn=None)
    assert refused.candidate is None
    assert "the old master's disk was not read" in refused.excluded[-1].reason


A, B, C, D = (f"ANY 1 ({name})" for name in "abcd")


def test_what_another_handyrep_ordered_since_may_be_in_force_and_what_it_knew_counts_as_well() -> None:
    ours = make_cluster(
        synchronous_standby_names=A, older_lists=(B, C), list_since="0/1", ordered_lists=(D, C), list_orders=2
    )
    theirs = make_cluster(
        synchronous_standby_names=D, older_lists=(A, B, "ANY 1 (e)"), ordered_lists=(C, B), list_orders=3
    )
    both = with_lists_of(ours, theirs)
    assert (both.synchronous_standby_names, both.list_since, both.list_orders) == (A, "", 3)
    assert both.older_lists == (B, C, "ANY 1 (e)", D)
    assert both.ordered_lists == (D, C, B)


@pytest.mark.parametrize("orders", [2, 1, 0])
def test_one_that_ordered_no_more_lists_has_nothing_to_add(orders: int) -> None:
    ours = make_cluster(synchronous_standby_names=A, list_orders=2)
    assert (
        with_lists_of(ours, make_cluster(synchronous_standby_names=B, ordered_lists=(C,), list_orders=orders)) == ours
    )
