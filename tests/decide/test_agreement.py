"""The wanted list, and the way to it: names come in when they follow, nobody is taken out for being slow, and every step keeps its promises."""

import dataclasses
import itertools
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.agreement import Agreement, able_to_agree, agreement, list_of_next_master, lists_of_heirs
from handyrep.decide.policy import Policy
from handyrep.decide.promise import (
    about_to_order,
    are_readable_from,
    may_be_in_force,
    now_in_force,
    remembered,
    with_lists_of,
)
from handyrep.decide.quorum import SyncList, parse_sync_list
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.verdict import Choice, Excluded
from tests.factories import make_cluster, make_server

ALL = ("r1", "r2", "r3")
ANY_1, ANY_1_OF_3 = "ANY 1 (r1, r2)", 'ANY 1 ("r1", "r2", "r3")'


def cluster(listed: str = "", *replicas: str, **known: Any) -> Cluster:
    servers = [make_server("m1", "master"), *(make_server(name) for name in replicas or ALL)]
    return make_cluster(*servers, synchronous_standby_names=listed, **known)


def facts(name: str = "", at: int = 100, listed: str = "") -> PostgresFacts:
    return PostgresFacts(
        in_recovery=bool(name), system_identifier="1", timeline=1, version_num=160000, received_lsn=Lsn(at),
        calls_itself=name, synchronous_standby_names=listed,
    )  # fmt: skip


def look(*following: str, calling: dict[str, str] | None = None) -> Picture:
    names = {**{name: name for name in following}, **(calling or {})}
    seen = {name: Seen(replicating=Answer.YES, facts=facts(own)) for name, own in names.items()}
    return Picture(seen=MappingProxyType(seen), verified=True)


def ordered(found: Agreement) -> str:
    return found.order.text if found.order is not None else ""


def of(listed: str, *following: str, k: int = 1, may: tuple[str, ...] = (), **known: Any) -> Agreement:
    policy = Policy(synchronous_required=k, synchronous_replicas=may)
    return agreement(cluster(listed, **known), look(*following), policy)


def test_without_a_list_those_that_follow_are_named() -> None:
    assert ordered(of("", "r1", "r3")) == 'ANY 1 ("r1", "r3")'
    assert of("*", *ALL) == Agreement("*", ANY_1_OF_3, parse_sync_list(ANY_1_OF_3), "it is not in force yet")


def test_one_that_follows_later_comes_in_and_one_that_is_down_or_slow_stays() -> None:
    assert ordered(of('ANY 1 ("r1", "r3")', *ALL)) == 'ANY 2 ("r1", "r3", "r2")'
    assert of(ANY_1_OF_3, "r1") == Agreement(ANY_1_OF_3, ANY_1_OF_3, None, "")
    assert of(ANY_1_OF_3).order is None


@pytest.mark.parametrize("listed", ["ANY 1 (r3, r2, r1)", "FIRST 1 (r1, r2, r3)", "r1, r2, r3"])
def test_what_promises_the_same_is_left_alone(listed: str) -> None:
    assert of(listed, *ALL) == Agreement(listed, ANY_1_OF_3, None, "")


@pytest.mark.parametrize("replicating", [Answer.NO, Answer.UNKNOWN])
def test_one_that_is_not_seen_to_receive_from_the_master_is_not_named(replicating: Answer) -> None:
    seen = {
        "r1": Seen(replicating=replicating, facts=facts("r1")),
        "r2": Seen(replicating=Answer.YES, facts=facts("r2")),
    }
    found = agreement(cluster(), Picture(seen=seen), Policy(synchronous_required=1))
    assert ordered(found) == 'ANY 1 ("r2")'


def test_in_between_every_commit_keeps_both_promises_where_enough_follow() -> None:
    assert ordered(of("ANY 1 (r1, stranger)", "r1", "r2")) == 'ANY 2 ("r1", "stranger", "r2")'
    assert ordered(of("ANY 1 (stranger, other)", "r1")) == 'ANY 1 ("r1")', "nobody of the old list follows"
    assert ordered(of("ANY 2 (r1, r2)", "r1", k=1)) == 'ANY 1 ("r1", "r2")', "less is wanted: nothing stands between"


def test_one_that_is_no_replica_any_more_goes_out() -> None:
    found = agreement(cluster(ANY_1_OF_3, "r1", "r2"), look("r1", "r2"), Policy(synchronous_required=1))
    assert ordered(found) == 'ANY 2 ("r1", "r2", "r3")'
    found = agreement(
        cluster(found.order.text if found.order else "", "r1", "r2"), look("r1", "r2"), Policy(synchronous_required=1)
    )
    assert ordered(found) == 'ANY 1 ("r1", "r2")'


def test_only_those_that_may() -> None:
    assert ordered(of("", *ALL, may=("r3", "r1", "m1"))) == 'ANY 1 ("r1", "r3")'
    found = of(ANY_1, *ALL, k=2, may=("r3",))
    assert (found.order, found.wanted) == (None, "")
    assert found.why == "2 replicas of r3 must confirm each commit, and r3 can be named"
    assert of("", *ALL, k=3, may=("r1", "r2")).why.startswith("3 replicas of r1, r2 must confirm")


def test_too_few_to_name_changes_nothing() -> None:
    assert of(ANY_1, k=3) == Agreement(ANY_1, "", None, "3 replicas must confirm each commit, and r1, r2 can be named")
    assert of("", k=1).why == "1 replicas must confirm each commit, and none can be named"


def test_no_list_is_ordered_that_would_stop_every_commit() -> None:
    found = of(ANY_1, "r1", k=2)
    assert (found.order, found.wanted) == (None, 'ANY 2 ("r1", "r2")')
    assert found.why == "no commit could end under it now: 2 must confirm, and of its names follows r1"
    assert of("ANY 2 (r1, r2)", k=1).why.endswith("follows none")
    assert of(ANY_1_OF_3, "r1", "r2", k=3).why.endswith("follows r1, r2")


def test_one_under_another_name_is_not_named_and_how_to_put_that_right_is_told() -> None:
    policy = Policy(synchronous_required=1)
    found = agreement(cluster(), look(calling={"r1": "walreceiver", "r2": ""}), policy)
    assert (
        found.why
        == "1 replicas must confirm each commit, and none can be named; r1 confirms as 'walreceiver': handyrep remaster r1"
    )
    other = agreement(cluster(), look(calling={"r1": "a", "r2": "b"}), policy)
    assert other.why.endswith("; r1 confirms as 'a': handyrep remaster r1; r2 confirms as 'b': handyrep remaster r2")
    silent = Picture(seen={"R1": Seen(facts=facts("r1"))})
    assert "confirms as" not in agreement(cluster("", "R1"), silent, policy).why, "upper and lower case are one name"
    twice = agreement(cluster(), look("r1", "r3", calling={"r2": "R1"}), policy)
    assert (ordered(twice), twice.why) == ('ANY 1 ("r3")', "it is not in force yet"), "r2 would confirm for r1"
    in_force = agreement(cluster("ANY 1 (r1)"), look("r1", calling={"r2": "walreceiver"}), policy)
    assert in_force == Agreement("ANY 1 (r1)", 'ANY 1 ("r1")', None, ""), "nothing is in the way of what is in force"
    assert ordered(agreement(cluster("", "R1"), look(calling={"R1": "r1"}), policy)) == 'ANY 1 ("R1")'


def test_the_next_step_waits_until_the_last_one_covers_what_was_before_it() -> None:
    found = of(ANY_1, *ALL, older_lists=("",))
    assert (found.order, found.why) == (None, "the present list does not cover yet what was acknowledged before it")
    assert ordered(of(ANY_1, "r3", older_lists=("",))) != "", "it never will"
    assert ordered(of("", *ALL, older_lists=("",))) == ANY_1_OF_3


def test_an_order_whose_end_is_not_known_is_made_again_even_if_nothing_is_to_change() -> None:
    found = of(ANY_1_OF_3, *ALL, ordered_lists=("ANY 1 (r1)",), older_lists=("",))
    assert (ordered(found), found.why) == (ANY_1_OF_3, "how the last order ended is not known")


@pytest.mark.parametrize(
    ("listed", "k", "may", "expected"),
    [
        ("ANY 1 (r1, r2)", 1, (), 'ANY 1 ("r2")'),
        ("ANY 1 (r1, r2, r3, m1)", 1, (), 'ANY 1 ("r2", "r3")'),
        ("", 1, (), 'ANY 1 ("r2", "r3")'),
        ("ANY 2 (r1, r2)", 2, (), 'ANY 2 ("r2", "r3")'),
        ("ANY 1 (r1)", 1, (), 'ANY 1 ("r2")'),
        ("ANY 1 (r1)", 1, ("r1", "m1"), 'ANY 1 ("m1")'),
        ("ANY 2 (r1, r2)", 3, (), 'ANY 3 ("r2", "r3", "m1")'),
        ("ANY 2 (r1, r2)", 4, (), ""),
        ("ANY 2 (r1, r2)", 2, ("r1", "r2"), ""),
    ],
)
def test_the_next_master_names_who_had_a_voice_and_others_only_where_they_are_needed(
    listed: str, k: int, may: tuple[str, ...], expected: str
) -> None:
    policy = Policy(synchronous_required=k, synchronous_replicas=may)
    names, why = list_of_next_master(cluster(listed), "r1", policy)
    assert (names.text if names is not None else "", bool(why)) == (expected, not expected)


def test_the_next_master_names_nobody_more_where_enough_had_a_voice() -> None:
    known = cluster("ANY 1 (r1, r2, r3)", *ALL, "r4", "r5")
    names, _ = list_of_next_master(known, "r1", Policy(synchronous_required=1))
    assert names == SyncList(1, ("r2", "r3"))


def test_a_candidate_that_could_have_no_list_is_none() -> None:
    known, chosen = cluster("ANY 2 (r1, r2)"), Choice("r1", (Excluded("r3", "behind"),), 0, "read")
    for k in (0, 1, 3):
        assert able_to_agree(chosen, known, Policy(synchronous_required=k)) == chosen
    refused = able_to_agree(chosen, known, Policy(synchronous_required=4))
    assert (refused.candidate, [one.name for one in refused.excluded]) == (None, ["r3", "r1"])
    assert "4 replicas must confirm" in refused.excluded[-1].reason
    for k in (4, 5):
        assert able_to_agree(refused, known, Policy(synchronous_required=k)) == refused


@given(st.text(min_size=1, max_size=8), st.integers(1, 3))
def test_a_list_is_read_as_it_was_written(name: str, needed: int) -> None:
    made = SyncList(needed, (name, f"{name}x", "y\"'z,"))
    if name != "*" and len(set(made.names)) == len(made.names):
        assert parse_sync_list(made.text) == made


lists = st.builds(
    lambda names, k: SyncList(min(k, len(names)), tuple(names)),
    st.lists(st.sampled_from(("r1", "r2", "r3", "x")), min_size=1, max_size=4, unique=True),
    st.integers(1, 3),
)


@given(lists, st.integers(1, 3), st.sets(st.sampled_from(ALL)), st.sets(st.sampled_from(ALL), min_size=1))
def test_each_step_keeps_r_plus_k_over_n(first: SyncList, k: int, following: set[str], members: set[str]) -> None:
    """I11: whoever was enough to read before a change, or is enough after it, is enough in between, where something stands in between."""
    known = cluster(first.text, *sorted(members))
    policy = Policy(synchronous_required=k)
    seen: list[SyncList] = [first]
    for _ in range(4):
        found = agreement(known, look(*following), policy)
        if found.order is None:
            break
        assert found.order.needed >= k, "never fewer than k"
        assert len(found.order.names) >= k
        assert len(following & set(found.order.names)) >= found.order.needed, "commits can end at once"
        seen.append(found.order)
        known = dataclasses.replace(known, synchronous_standby_names=found.order.text)
    else:
        raise AssertionError(f"it never ends: {seen}")
    if len(seen) == 3:
        _, between, last = seen
        for read in subsets(first, last):
            if first.is_readable_from(read) or last.is_readable_from(read):
                assert between.is_readable_from(read), "who was enough to read still is"
        for holders in itertools.combinations(between.names, between.needed):
            for end in (first, last):
                assert len(set(holders) & set(end.names)) >= end.needed, "a commit under it keeps both promises"


def subsets(*of_lists: SyncList) -> list[frozenset[str]]:
    names = sorted({name for one in of_lists for name in one.names})
    return [frozenset(part) for size in range(len(names) + 1) for part in itertools.combinations(names, size)]


def test_an_order_counts_from_before_it_is_sent_until_it_is_known_to_have_ended() -> None:
    both = frozenset({"r1", "r2"})
    known = cluster(ANY_1, timeline=1)
    sent = about_to_order(known, "ANY 1 (r3)")
    assert may_be_in_force(sent) == (ANY_1, "ANY 1 (r3)")
    assert not are_readable_from(sent, both)
    assert not are_readable_from(sent, frozenset({"r3"}))
    seen = Picture(seen={"m1": Seen(facts=facts("", 200, ANY_1)), **{n: Seen(facts=facts(n, 200)) for n in both}})
    assert remembered(sent, seen).ordered_lists == sent.ordered_lists, "a look says nothing of an order under way"
    assert about_to_order(sent, "ANY 1 (r3)") == sent
    done = now_in_force(sent, "ANY 1 (r3)")
    assert (done.synchronous_standby_names, done.older_lists, done.ordered_lists) == ("ANY 1 (r3)", (ANY_1,), ())
    assert not are_readable_from(done, frozenset({"r3"})), "what was acknowledged before may be on r1 alone"


def test_while_an_order_is_under_way_nothing_is_settled() -> None:
    known = cluster(ANY_1, timeline=1, older_lists=("",), list_since="0/64")
    seen = Picture(seen={"m1": Seen(facts=facts("", 200, ANY_1)), "r1": Seen(facts=facts("r1", 200))})
    assert remembered(known, seen).older_lists == ()
    assert remembered(about_to_order(known, "ANY 1 (r3)"), seen).older_lists == ("",)


def test_the_lists_of_another_handyrep_count_beside_ones_own_until_the_master_was_asked() -> None:
    mine = cluster(ANY_1, timeline=1)
    ordered = about_to_order(mine, "ANY 1 (r3)")
    assert with_lists_of(mine, mine) == mine
    assert with_lists_of(ordered, mine) == ordered, "what is no newer changes nothing"
    known = with_lists_of(mine, ordered)
    assert (known.synchronous_standby_names, known.older_lists, known.ordered_lists) == (ANY_1, (), ("ANY 1 (r3)",))
    in_force = now_in_force(ordered, "ANY 1 (r3)")
    known = with_lists_of(dataclasses.replace(mine, list_since="0/1"), in_force)
    assert (known.older_lists, known.list_since, known.list_orders) == (("ANY 1 (r3)",), "", 1)
    assert not are_readable_from(known, frozenset({"r1", "r2"}))


def heirs(seen: dict[str, Seen], listed: str = ANY_1, k: int = 1) -> dict[str, str]:
    return dict(
        lists_of_heirs(
            cluster(listed, "r1", "r2"),
            Picture(seen=MappingProxyType(seen), verified=True),
            Policy(synchronous_required=k),
        )
    )


FOR_R1, FOR_R2 = 'ANY 1 ("r2")', 'ANY 1 ("r1")'
FOLLOWS = Seen(replicating=Answer.YES, facts=facts("r1"))


def test_each_replica_that_has_not_its_list_as_a_master_is_to_be_given_it() -> None:
    has = dataclasses.replace(FOLLOWS, facts=facts("r2", listed=FOR_R2))
    assert heirs({"r1": FOLLOWS, "r2": FOLLOWS}) == {"r1": FOR_R1, "r2": FOR_R2}
    assert heirs({"r1": FOLLOWS, "r2": has}) == {"r1": FOR_R1}
    assert heirs({"r1": has, "r2": has}) == {"r1": FOR_R1}


@pytest.mark.parametrize(
    "seen",
    [
        Seen(),
        dataclasses.replace(FOLLOWS, facts=None),
        dataclasses.replace(FOLLOWS, replicating=Answer.NO),
        dataclasses.replace(FOLLOWS, replicating=Answer.UNKNOWN),
        dataclasses.replace(FOLLOWS, facts=facts("")),
    ],
)
def test_only_a_replica_that_was_seen_to_follow_is_to_be_given_one(seen: Seen) -> None:
    assert heirs({"r1": seen}) == {}


def test_where_no_list_is_wanted_or_can_be_had_none_is_to_be_given() -> None:
    assert heirs({"r1": FOLLOWS}, k=0) == {}
    assert heirs({"r1": FOLLOWS}, k=3) == {}
    assert heirs({"r1": FOLLOWS}, k=2) == {"r1": 'ANY 2 ("r2", "m1")'}
