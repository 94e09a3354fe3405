"""The estimate of where a lost master's WAL ended, and the only case in which it is used."""

import dataclasses
from types import MappingProxyType

import pytest

from handyrep.decide.candidates import choose
from handyrep.decide.estimate import estimated_end, seen_again
from handyrep.decide.policy import Policy
from handyrep.model.cluster import LastSeen
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from tests.factories import make_cluster

FACTS = PostgresFacts(in_recovery=True, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(1000))
LOOK = Picture(seen=MappingProxyType({"r1": Seen(facts=FACTS), "r2": Seen(facts=FACTS)}))
GENEROUS = Policy(max_lost_wal_bytes=500)


def test_it_goes_on_from_the_last_look_as_fast_as_the_master_wrote() -> None:
    last = seen_again(seen_again(None, Lsn(1000), 10.0), Lsn(3000), 12.0)
    assert last == LastSeen(Lsn(3000), 12.0, 1000.0)
    assert estimated_end(last, 15.0) == Lsn(6000)
    assert estimated_end(last, 11.0) == Lsn(3000)
    assert estimated_end(None, 15.0) is None


def test_a_burst_counts_for_a_while_and_a_position_that_went_back_is_no_rate() -> None:
    last = seen_again(LastSeen(Lsn(3000), 12.0, 1000.0), Lsn(3000), 42.0)
    assert last.bytes_per_s == 500.0
    assert seen_again(last, Lsn(3000), 142.0).bytes_per_s == 0.0
    assert seen_again(LastSeen(Lsn(3000), 12.0), Lsn(10), 13.0).bytes_per_s == 0.0
    assert seen_again(LastSeen(Lsn(3000), 12.0, 9.0), Lsn(10), 142.0).bytes_per_s == 0.0
    assert seen_again(LastSeen(Lsn(3000), 12.0, 9.0), Lsn(4000), 12.0) == LastSeen(Lsn(4000), 12.0)


@pytest.mark.parametrize(
    ("end", "candidate"), [(Lsn(1000), "r1"), (Lsn(900), "r1"), (Lsn(1500), "r1"), (Lsn(1501), None)]
)
def test_an_asynchronous_cluster_may_be_judged_by_it(end: Lsn, candidate: str | None) -> None:
    choice = choose(["r1"], make_cluster(), LOOK, GENEROUS, last_lsn=None, estimated=end)
    assert choice.candidate == candidate
    assert choice.lost_bytes is None
    told = choice.proof or choice.excluded[-1].reason
    assert "estimated" in told


def test_what_was_read_on_the_disk_wins_over_an_estimate() -> None:
    choice = choose(["r1"], make_cluster(), LOOK, GENEROUS, last_lsn=Lsn(9000), estimated=Lsn(1000))
    assert choice.candidate is None
    assert "lacks 8000 bytes" in choice.excluded[-1].reason


def test_a_synchronous_cluster_is_never_judged_by_an_estimate() -> None:
    cluster = dataclasses.replace(make_cluster(), synchronous_standby_names="ANY 1 (r1, r2, r3)")
    choice = choose(["r1"], cluster, LOOK, GENEROUS, last_lsn=None, estimated=Lsn(1000))
    assert choice.candidate is None
    assert "is not known" in choice.excluded[-1].reason
