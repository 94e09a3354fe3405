"""The level of protection is never higher than what a fence and the replicas give at that moment."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.decide.failover import Proof
from handyrep.decide.protection import MEANINGS, Level, Protection, protection
from handyrep.model.answer import Answer
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from tests.factories import make_cluster

FACTS = PostgresFacts(in_recovery=True, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(9))
CAN, CANNOT = Proof("fence_stop", Answer.YES, ""), Proof("fence_command", Answer.NO, "it says nothing")

ROUTES = Proof("fence_proxy", Answer.YES, "the routes alone", routes_only=True)


def test_protection_claims_nothing_that_was_not_said_of_it() -> None:
    assert Protection(Level.P0, ()).uncovered == ""


def test_every_fence_that_needs_the_masters_host_is_named() -> None:
    bound = [Proof(name, Answer.YES, "", needs_host=True) for name in ("fence_stop", "fence_own")]
    assert "then fence_stop, fence_own can prove nothing" in protection(make_cluster(), seen(), bound).uncovered


def seen(*names: str) -> Picture:
    return Picture(seen={name: Seen(facts=FACTS) for name in names})


@pytest.mark.parametrize(
    ("proofs", "listed", "read", "level", "missing"),
    [
        ((CAN,), "ANY 1 (r1, r2)", ("r1", "r2"), Level.P4, ""),
        ((CANNOT, CAN), "FIRST 1 (r1, r2)", ("r1", "r2"), Level.P4, ""),
        ((CAN,), "ANY 1 (r1, r2)", ("r1",), Level.P2, "r2 could not be read"),
        ((CAN,), "ANY 2 (r1, r2)", ("r1",), Level.P4, ""),
        ((CAN,), "", ("r1", "r2"), Level.P2, "synchronous_standby_names is blank"),
        ((CAN,), "*", ("r1", "r2"), Level.P2, "synchronous_standby_names is *"),
        ((CANNOT,), "ANY 1 (r1, r2)", ("r1", "r2"), Level.P3, "fence_command: it says nothing"),
        ((), "ANY 1 (r1, r2)", ("r1", "r2"), Level.P3, "no fence_methods are configured"),
        ((CANNOT,), "", (), Level.P0, "no fence could prove now"),
        ((CANNOT, ROUTES), "", (), Level.P1, "fence_proxy: the routes alone"),
        ((ROUTES,), "ANY 1 (r1, r2)", ("r1", "r2"), Level.P3, "fence_proxy: the routes alone"),
        ((ROUTES, CAN), "", (), Level.P2, "is blank"),
    ],
)
def test_levels(proofs: tuple[Proof, ...], listed: str, read: tuple[str, ...], level: Level, missing: str) -> None:
    found = protection(make_cluster(synchronous_standby_names=listed), seen(*read), proofs)
    assert found.level is level
    assert missing in " ".join(found.missing)
    assert found.sentence.startswith(f"{level.value}, ")
    assert (found.missing == ()) is (level is Level.P4)


@given(
    possible=st.lists(st.sampled_from(Answer)),
    listed=st.sampled_from(["", "*", "r1", "ANY 1 (r1, r2)", "ANY 2 (r1, r2)", "ANY 1 (r1, stranger)"]),
    read=st.sets(st.sampled_from(["r1", "r2"])),
)
def test_no_fence_is_no_p4_and_no_reading_is_no_p3(possible: list[Answer], listed: str, read: set[str]) -> None:
    proofs = [Proof(f"fence_{number}", answer, "") for number, answer in enumerate(possible)]
    level = protection(make_cluster(synchronous_standby_names=listed), seen(*read), proofs).level
    assert level not in (Level.P2, Level.P4) or Answer.YES in possible
    assert level not in (Level.P3, Level.P4) or read


def test_a_list_that_does_not_cover_what_was_acknowledged_before_is_no_protection_from_loss() -> None:
    cluster = make_cluster(synchronous_standby_names="ANY 1 (r1, r2)", older_lists=("",), list_since="0/64")
    found = protection(cluster, seen("r1", "r2"), (CAN,))
    assert found.level is Level.P2
    assert "to 0/64, is not on enough of them yet" in found.missing[0]


def test_what_is_missing_is_told_fence_by_fence_and_replica_by_replica() -> None:
    listed = "ANY 1 (r1, r2, r3)"
    found = protection(make_cluster(synchronous_standby_names=listed), seen("r1"), (CANNOT, ROUTES))
    assert found.missing == (
        "no fence could prove now that the master itself acknowledges nothing (fence_command: it says nothing; fence_proxy: the routes alone)",
        "r2, r3 could not be read, and may be the only replica that has a commit (ANY 1 (r1, r2, r3))",
    )


def test_every_level_is_explained() -> None:
    assert [level.value for level in Level] == ["P0", "P1", "P2", "P3", "P4"]
    assert all(MEANINGS.values())
    assert set(MEANINGS) == set(Level)
    assert len(set(itertools.chain(MEANINGS.values()))) == len(Level)


def test_fences_that_all_need_the_masters_host_cover_no_host_that_is_off() -> None:
    stop, lease = Proof("fence_stop", Answer.YES, "", needs_host=True), Proof("fence_lease", Answer.YES, "")

    def uncovered(*proofs: Proof) -> str:
        return protection(make_cluster(), Picture(), proofs).uncovered

    assert uncovered(stop).startswith(
        "a host that is off or cut off: then fence_stop can prove nothing, and a person is asked"
    )
    assert uncovered(stop, lease) == ""
    assert uncovered(dataclasses.replace(lease, possible=Answer.NO), stop) != ""
    assert uncovered(dataclasses.replace(stop, possible=Answer.NO)) == uncovered() == ""
