"""Supposed events: what may be said, and that only what would change changes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.what_if import Fate, Hypothesis, imagine, parse
from handyrep.errors import RefusedError
from handyrep.model.answer import Answer
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
ROLES = {"m1": "master", "r1": "replica", "r2": "replica", "b1": "pgbouncer"}
WELL = Seen(
    up=YES, alive=YES, host_answers=YES, running=YES, sees_master=YES, replicating=YES,
    facts=PostgresFacts(in_recovery=True, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(9), receiving=True, message_age_s=1.0),
)  # fmt: skip
NOW = Picture(seen=dict.fromkeys(ROLES, WELL), verified=True)


@pytest.mark.parametrize(
    ("text", "names", "fate"),
    [
        ("m1 dies", ("m1",), Fate.DIES),
        ("  m1   dies ", ("m1",), Fate.DIES),
        ("m1 DIES", ("m1",), Fate.DIES),
        ("m1,, r1, , r2 die", ("m1", "r1", "r2"), Fate.DIES),
        ("m1 host dies", ("m1",), Fate.HOST_DIES),
        ("m1  Host   dies", ("m1",), Fate.HOST_DIES),
        ("all of  replica  host dies", ("r1", "r2"), Fate.HOST_DIES),
        ("m1 unreachable", ("m1",), Fate.UNREACHABLE),
        ("m1, r1 die", ("m1", "r1"), Fate.DIES),
        ("m1 and r1 and m1 unreachable", ("m1", "r1"), Fate.UNREACHABLE),
        ("r1,r2 hosts die", ("r1", "r2"), Fate.HOST_DIES),
        ("all of replica host dies", ("r1", "r2"), Fate.HOST_DIES),
        ("All of Pgbouncer unreachable", ("b1",), Fate.UNREACHABLE),
    ],
)
def test_what_may_be_said(text: str, names: tuple[str, ...], fate: Fate) -> None:
    assert parse(text, ROLES) == Hypothesis(names, fate)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "Say it as"),
        ("dies", "Say it as"),
        ("m1", "Say it as"),
        ("m1 explodes", "Say it as"),
        ("M1 dies", "There are m1"),
        ("r11 dies", "Did you mean r1"),
        ("m1 host unreachable", "There are m1"),
        ("zzzzzzzz dies", "There are m1, r1, r2, b1"),
        ("all of proxy dies", "Say it as"),
        ("m1; rm -rf / dies", "There are m1"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str, hint: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(text, ROLES)
    assert hint in str(refused.value)


def test_of_several_names_that_are_near_the_nearest_is_told() -> None:
    with pytest.raises(RefusedError, match="Did you mean r10"):
        parse("r101 dies", dict.fromkeys(("r100", "r10", "r1"), "replica"))


def test_an_event_is_told_in_words_that_say_what_is_supposed() -> None:
    assert [fate.value for fate in Fate] == ["dies", "host dies", "unreachable"]
    assert {fate: str(Hypothesis(("m1", "r1"), fate)) for fate in Fate} == {
        Fate.DIES: "m1 and r1: PostgreSQL is killed there, and its host goes on answering",
        Fate.HOST_DIES: "m1 and r1: the host is off: nobody reaches it",
        Fate.UNREACHABLE: "m1 and r1: HandyRep does not reach the host any more; the other servers still do",
    }


@pytest.mark.parametrize("fate", Fate)
def test_what_happens_to_a_replica_changes_nothing_of_what_others_see_of_the_master(fate: Fate) -> None:
    seen = imagine(Hypothesis(("r1",), fate), NOW, "m1")
    assert seen.of("r2") == seen.of("m1") == WELL
    assert seen.of("r1").sees_master is UNKNOWN, "it can be asked nothing any more"
    assert seen.verified


def test_a_dead_postgresql_is_seen_dead_from_its_own_host() -> None:
    seen = imagine(Hypothesis(("m1",), Fate.DIES), NOW, "m1")
    assert (seen.of("m1").up, seen.of("m1").host_answers, seen.of("m1").running) == (NO, YES, NO)
    assert (seen.of("m1").sees_master, seen.of("r1").sees_master, seen.of("r1").up) == (NO, NO, YES)
    facts = seen.of("r1").facts
    assert facts is not None
    assert not facts.receiving


def test_what_is_supposed_of_the_master_is_seen_of_every_server() -> None:
    assert WELL.facts is not None
    silent = dataclasses.replace(WELL.facts, receiving=False, message_age_s=None)
    deaf = dataclasses.replace(WELL, sees_master=NO, replicating=NO, facts=silent)
    before = Picture(seen={**NOW.seen, "r2": Seen(up=YES)})
    dead = imagine(Hypothesis(("m1",), Fate.DIES), before, "m1")
    assert dead.of("m1") == Seen(
        up=NO, host_answers=YES, running=NO, sees_master=NO, notes=("supposed to be dead",)
    )  # fmt: skip
    assert (dead.of("r1"), dead.of("r2")) == (deaf, Seen(up=YES, sees_master=NO, replicating=NO))
    off = imagine(Hypothesis(("m1",), Fate.HOST_DIES), before, "m1")
    assert off.of("m1") == Seen(up=NO, notes=("supposed: the host is off: nobody reaches it",))
    assert off.of("r1") == deaf


def test_a_host_that_is_off_tells_nothing_and_nobody_hears_from_it() -> None:
    seen = imagine(Hypothesis(("m1",), Fate.HOST_DIES), NOW, "m1")
    assert (seen.of("m1").host_answers, seen.of("m1").alive, seen.of("r1").sees_master) == (UNKNOWN, UNKNOWN, NO)


def test_what_only_handyrep_does_not_reach_the_others_still_see() -> None:
    seen = imagine(Hypothesis(("m1",), Fate.UNREACHABLE), NOW, "m1")
    assert (seen.of("m1").up, seen.of("m1").host_answers, seen.of("r1").sees_master) == (NO, UNKNOWN, YES)


@given(names=st.sets(st.sampled_from(sorted(ROLES)), min_size=1), fate=st.sampled_from(Fate))
def test_nobody_is_seen_alive_who_is_supposed_gone_and_nobody_else_dies(names: set[str], fate: Fate) -> None:
    after = imagine(Hypothesis(tuple(sorted(names)), fate), NOW, "m1")
    for name in ROLES:
        one = after.of(name)
        assert one.up is (NO if name in names else YES)
        assert (one.facts is None) is (name in names)
        assert YES not in (one.alive, one.running, one.writable) or name not in names
    assert NOW.of("m1") is WELL
