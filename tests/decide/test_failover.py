"""The words of a verdict, and what a situation means in which little is known. Which rule holds when is told in tests/scenarios."""

import dataclasses
from types import MappingProxyType
from typing import Any

import pytest

from handyrep.decide.failover import Proof, Situation, judge, verdicts, words
from handyrep.decide.policy import Policy
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.status import Health
from handyrep.model.verdict import Choice, Excluded
from tests.factories import make_cluster, make_member, make_server

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
NOTHING_SEEN = Picture(verified=True)


def facts(*, in_recovery: bool = False, identifier: str = "1", timeline: int = 1) -> PostgresFacts:
    return PostgresFacts(
        in_recovery=in_recovery,
        system_identifier=identifier,
        timeline=timeline,
        version_num=160000,
        received_lsn=Lsn(1),
    )


def situation(picture: Picture = NOTHING_SEEN, cluster: Cluster | None = None, **known: Any) -> Situation:
    return Situation(cluster=make_cluster() if cluster is None else cluster, picture=picture, policy=Policy(), **known)


def look(**seen: Seen) -> Picture:
    return Picture(seen=MappingProxyType(seen), verified=True)


def test_what_nobody_said_of_a_situation() -> None:
    plain = situation()
    assert (plain.is_active, plain.passive, plain.proofs, plain.choice) == (YES, "", (), Choice(None))
    assert (plain.cooldown_left_s, plain.maintenance_left_s, plain.restarts_tried) == (0.0, 0.0, 0)
    assert not Proof("fence_stop", YES, "").routes_only


def test_the_words_where_nothing_is_known() -> None:
    nobody = situation(cluster=Cluster())
    assert words(nobody) == {
        "master": "the master", "masters": "0", "frozen": "", "passive": "it is not the HandyRep master.", "returned": "", "stranger": "",
        "maintenance": "0", "why": "", "writable": "", "witnesses": "", "cooldown": "0", "excluded": "the selection plugin named none",
        "proofs": "no fence_methods are configured", "proof": "no fence", "candidate": "nobody", "gone": "is gone", "unseen": ", nobody sees it",
    }  # fmt: skip


def test_why_the_selection_named_nobody_is_how_the_replicas_were_seen_last() -> None:
    """Both had lost their connection for a moment, just before the master hung."""
    away = [make_member(make_server(name), Health.WARNING) for name in ("r1", "r2")]
    out_of_use = make_member(make_server("r3", enabled=False), Health.HEALTHY)
    seen = situation(cluster=make_cluster(make_member(make_server("m1", "master")), *away, out_of_use))
    assert words(seen)["excluded"] == (
        "the selection plugin named none (r1 is warning, r2 is warning); "
        "to name one that may all the same: handyrep manual-failover NAME"
    )


def test_the_words_where_everything_is_known() -> None:
    picture = look(
        r2=Seen(sees_master=YES, facts=facts()), r1=Seen(sees_master=YES, facts=facts()), m1=Seen(stranger="9", sees_master=YES)
    )  # fmt: skip
    cluster = make_cluster(frozen="a question", maintenance_reason="a new kernel")
    proofs = (Proof("a", UNKNOWN, "said little"), Proof("b", YES, "said yes"), Proof("c", YES, "so did c"))
    choice = Choice("r1", (Excluded("r2", "behind"), Excluded("r3", "away")))
    known = situation(
        picture, cluster, passive="another one is", proofs=proofs, choice=choice, cooldown_left_s=61.4, maintenance_left_s=3541.0
    )  # fmt: skip
    assert words(known) == {
        "master": "m1", "masters": "1", "frozen": "a question", "passive": "another one is", "returned": "", "stranger": "9",
        "maintenance": "60", "why": "a new kernel", "writable": "r1 and r2", "witnesses": "r1 and r2", "cooldown": "61",
        "excluded": "r2: behind; r3: away", "proof": "b", "candidate": "r1", "gone": "is gone", "unseen": ", nobody sees it",
        "proofs": "a: said little; b: it proves nothing of a master that still answers; c: it proves nothing of a master that still answers",
    }  # fmt: skip


def test_a_verdict_tells_what_it_rests_on_server_by_server() -> None:
    verdict = judge(situation(look(r1=Seen(up=YES, notes=("slow", "late")), m1=Seen(up=YES, alive=YES, running=NO))))
    assert verdict.because == (
        "m1: up yes, alive yes, host answers unknown, running no, writes hang unknown, sees the master unknown",
        "r1: up yes, alive unknown, host answers unknown, running unknown, writes hang unknown, sees the master unknown (slow; late)",
    )


DEPOSED = make_cluster(system_identifier="1", timeline=2, deposed=("m0",))
OLD = Seen(facts=facts(timeline=1))


@pytest.mark.parametrize(
    ("seen", "returned"),
    [
        ({"m0": OLD}, "m0"),
        ({"m0": OLD, "m1": Seen(facts=facts(timeline=2))}, "m0"),
        ({"m0": OLD, "r1": Seen(facts=facts(timeline=2))}, ""),
        ({"r1": OLD}, ""),
        ({"m0": Seen(facts=facts(timeline=2))}, ""),
        ({"m0": Seen(facts=facts(timeline=1, in_recovery=True))}, ""),
        ({"m0": Seen(facts=facts(timeline=1, identifier="2"))}, ""),
        ({"m0": Seen(up=YES)}, ""),
        ({}, ""),
    ],
)
def test_only_one_former_master_on_an_older_timeline_is_one_that_returned(seen: dict[str, Seen], returned: str) -> None:
    assert situation(look(**seen), DEPOSED).returned == returned


def test_before_it_is_known_whose_cluster_it_is_whoever_takes_writes_is_seen() -> None:
    assert situation(look(r1=Seen(facts=facts(identifier="9")), m1=Seen(facts=facts()))).writable_servers == (
        "r1",
        "m1",
    )


@pytest.mark.parametrize("sees", Answer)
def test_others_that_see_the_master_are_witnesses_and_the_master_is_none(sees: Answer) -> None:
    picture = look(m1=Seen(sees_master=YES), r1=Seen(sees_master=sees), r2=Seen(sees_master=UNKNOWN))
    assert situation(picture).witnesses == (("r1",) if sees is YES else ())


@pytest.mark.parametrize("answer", Answer)
@pytest.mark.parametrize("question", ["up", "alive", "host_answers"])
def test_any_answer_of_another_shows_that_handyrep_is_not_cut_off(question: str, answer: Answer) -> None:
    seen = dataclasses.replace(Seen(), **{question: answer})  # type: ignore[arg-type] # field by field
    assert situation(look(m1=Seen(host_answers=YES), r1=seen)).reachable_others == (("r1",) if answer is YES else ())


@pytest.mark.parametrize("host", Answer)
@pytest.mark.parametrize("sees", Answer)
def test_a_master_is_dead_on_its_own_host_only_where_that_says_so(host: Answer, sees: Answer) -> None:
    found = situation(look(m1=Seen(host_answers=host, sees_master=sees))).master_is_dead_on_its_own_host
    assert found is (host is YES and sees is NO)


@pytest.mark.parametrize("possible", Answer)
def test_a_proof_that_may_be_possible_is_none(possible: Answer) -> None:
    dead = look(m1=Seen(up=NO), r1=Seen(up=YES))
    willing = Policy(auto_failover=True)
    proofs = (Proof("fence_lease", NO, ""), Proof("fence_stop", possible, ""))
    known = Situation(
        cluster=make_cluster(), picture=dead, policy=willing, proofs=proofs, choice=Choice("r1")
    )  # fmt: skip
    assert judge(known).rule == ("F17" if possible is YES else "F16")


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"is_active": UNKNOWN}, "F01"),
        ({"maintenance_left_s": 0.1}, "F19"),
        ({"restarts_tried": 1}, "F13"),
        ({"cooldown_left_s": 0.1}, "F13"),
        ({}, "F11"),
    ],
)
def test_where_a_rule_begins_to_hold(changed: dict[str, Any], rule: str) -> None:
    stopped = look(m1=Seen(up=NO, running=NO), r1=Seen(up=YES))
    restarting = Policy(restart_master="cooldown_left_s" not in changed)
    assert judge(Situation(cluster=make_cluster(), picture=stopped, policy=restarting, **changed)).rule == rule


@pytest.mark.parametrize("running", Answer)
def test_only_a_master_that_is_known_to_have_stopped_is_started_in_place(running: Answer) -> None:
    silent = look(m1=Seen(up=NO, running=running), r1=Seen(up=YES))
    known = Situation(cluster=make_cluster(), picture=silent, policy=Policy(restart_master=True))
    assert judge(known).rule == ("F11" if running is NO else "F13")


def test_a_cooldown_holds_until_nothing_of_it_is_left() -> None:
    dead, willing = look(m1=Seen(up=NO), r1=Seen(up=YES)), Policy(auto_failover=True)
    rules = [
        judge(Situation(cluster=make_cluster(), picture=dead, policy=willing, cooldown_left_s=left_s)).rule
        for left_s in (0.1, 0.0, -1.0)
    ]
    assert rules == ["F14", "F15", "F15"]


TWO_MASTERS = make_cluster(
    make_server("m1", "master"),
    make_server("m2", "master"),
    make_server("r1"),
    frozen="why",
    timeline=2,
    deposed=("m0",),
)
STRANGE = Seen(stranger="9", facts=facts(in_recovery=True), up=YES, alive=YES, running=NO)


@pytest.mark.parametrize(
    ("picture", "cluster", "known", "rules"),
    [
        (look(m0=OLD), TWO_MASTERS, {"is_active": NO, "maintenance_left_s": 60.0}, "F01 F02 F19 F03 F18 F05 F10 F13 F15 F16 F17"),
        (look(m0=OLD, m1=Seen(facts=facts(timeline=2))), DEPOSED, {}, "F18 F04 F05 F10 F13 F15 F16 F17"),
        (
            look(m1=STRANGE, r1=Seen(facts=facts(), sees_master=YES), r2=Seen(facts=facts())), make_cluster(),
            {"policy": Policy(restart_master=True), "cooldown_left_s": 9.0}, "F04 F05 F20 F06 F07 F08 F09 F10 F11 F13 F14 F15 F16 F17",
        ),
        (
            look(m1=Seen(running=NO)), make_cluster(make_server("m1", "master")), {"policy": Policy(restart_master=True)},
            "F11 F12 F13 F15 F16 F17",
        ),
    ],
)  # fmt: skip
def test_of_all_rules_that_hold_the_one_that_stands_first_counts(
    picture: Picture, cluster: Cluster, known: dict[str, Any], rules: str
) -> None:
    """Each neighbour in the table holds together with the one before it: what comes first is not left to chance."""
    everything = Situation(**{"cluster": cluster, "picture": picture, "policy": Policy(), **known})
    assert [one.rule for one in verdicts(everything)] == rules.split()
    assert judge(everything).rule == rules.split(maxsplit=1)[0]


@pytest.mark.parametrize("up", [Answer.NO, Answer.UNKNOWN])
def test_only_a_master_that_lets_clients_in_is_stalled(up: Answer) -> None:
    seen = Picture(seen={"m1": Seen(up=up, stalled=Answer.YES)})
    assert not Situation(cluster=make_cluster(), picture=seen, policy=Policy()).master_is_stalled


def test_a_proof_claims_nothing_that_was_not_said_of_it() -> None:
    proof = Proof("fence_stop", Answer.YES, "")
    assert not any((proof.routes_only, proof.needs_silence, proof.final, proof.needs_host))
