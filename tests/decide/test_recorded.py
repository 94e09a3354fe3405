"""A situation that was written down is the same when it is read, and is judged the same; what is not ours is never read at all."""

import copy
import dataclasses
import datetime as dt
import enum
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from handyrep.decide.failover import Proof, Situation, judge
from handyrep.decide.policy import Policy
from handyrep.decide.recorded import VERSION, differs, likeness, recall, record
from handyrep.directives import Secret
from handyrep.errors import RecordError
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster, LastSeen
from handyrep.model.codec import decode, encode
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from handyrep.model.status import Health
from handyrep.model.verdict import Choice, Excluded, Move, Verdict
from tests.decide.situations import SITUATIONS, fields, nouns
from tests.factories import LONG_AGO, make_cluster
from tests.scenarios.stories import Story, read_stories

STORIES = read_stories(Path(__file__).parents[1] / "scenarios" / "failover.txt")
FACTS = PostgresFacts(
    in_recovery=True, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(9), message_age_s=0.5
)
FULL = Situation(
    cluster=make_cluster(failed_over_at=LONG_AGO, last_seen=LastSeen(Lsn(1), 2.0), deposed=("m0",)),
    picture=Picture(seen={"m1": Seen(up=Answer.NO, notes=("silent",)), "r1": Seen(facts=FACTS)}),
    policy=Policy(auto_failover=True),
    proofs=(Proof("fence_stop", Answer.YES, "its proof can be had"),),
    choice=Choice("r1", (Excluded("r2", "it could not be looked at"),), 0, "read"),
    cooldown_left_s=1.5,
)


def written(situation: Situation) -> dict[str, Any]:
    """The record as it comes back from a file."""
    plain: dict[str, Any] = json.loads(json.dumps(record(situation), allow_nan=False))
    return plain


def verdict_or_error(situation: Situation) -> Verdict | type[Exception]:
    """What judging comes to; an impossible situation may have no verdict at all."""
    try:
        return judge(situation)
    except (OverflowError, ValueError) as error:
        return type(error)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(SITUATIONS)
def test_what_was_written_is_what_is_read_and_is_judged_the_same(situation: Situation) -> None:
    again = recall(written(situation))
    assert again == situation
    assert repr(again) == repr(situation)
    assert verdict_or_error(again) == verdict_or_error(situation)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_every_story_is_judged_the_same_from_its_record(story: Story) -> None:
    again = recall(written(story.situation))
    assert again == story.situation
    assert judge(again) == judge(story.situation)
    assert list(again.cluster.members) == list(story.situation.cluster.members)


def _paths(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a record stands."""
    children = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _parent(plain: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        plain = plain[key]
    return plain


def test_every_field_of_every_noun_is_in_the_record() -> None:
    names = {str(path[-1]) for path in _paths(written(FULL))}
    assert {name for noun in nouns() if noun is not Lsn for name in fields(noun)} - names == set()
    assert {noun.__name__ for noun in nouns()} >= {"Server", "Status", "Member", "PostgresFacts", "Seen", "Excluded"}


def _is_of_a_mapping(path: tuple[Any, ...]) -> bool:
    """Whether the last name is a server's: one may be missing or more without being wrong."""
    return path[-2:-1] in (("members",), ("seen",)) or isinstance(path[-1], int)


FIELDS = [path for path in _paths(written(FULL)) if not _is_of_a_mapping(path)]


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
def test_a_field_that_is_missing_or_new_or_of_another_kind_is_an_error(path: tuple[Any, ...]) -> None:
    def refused(change: Any) -> str:
        plain = copy.deepcopy(written(FULL))
        change(_parent(plain, path))
        with pytest.raises(RecordError) as caught:
            recall(plain)
        return str(caught.value)

    assert (
        path[0] == "version"
        or f"{path[-1]} is missing" in refused(lambda parent: parent.pop(path[-1]))
        or len(path) == 1
    )
    assert "not known" in refused(lambda parent: parent.update(new=1)) or len(path) == 1
    assert refused(lambda parent: parent.update({path[-1]: {"no": ["such", "thing"]}}))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_record_of_another_version_is_not_read(version: object) -> None:
    with pytest.raises(RecordError, match=f"is of version {version!r}, and .* reads version {VERSION}") as refused:
        recall({**record(FULL), "version": version})
    assert "Replay it with the HandyRep that wrote it" in str(refused.value)


def test_what_is_wrong_in_a_record_is_told_by_its_place() -> None:
    plain = written(FULL)
    plain["situation"]["policy"]["remaster"] = "perhaps"
    with pytest.raises(RecordError, match=r"situation\.policy\.remaster"):
        recall(plain)


@pytest.mark.parametrize(
    ("hint", "plain"),
    [
        (bool, 1), (int, True), (int, 1.0), (str, None), (float, "much"), (float, True), (Answer, "maybe"), (Answer, True), (Health, True), (Lsn, "x"),
        (dt.datetime, "today"), (dt.datetime, 5), (tuple[str, ...], "abc"), (tuple[str, ...], [1]), (Mapping[str, int], []),
        (Mapping[str, int], {"a": "b"}), (Excluded, []), (int | None, "1"), (Move, "hope"), (LastSeen, {"lsn": "0/0"}),
    ],
)  # fmt: skip
def test_nothing_is_taken_for_something_near_it(hint: Any, plain: object) -> None:
    with pytest.raises(RecordError, match="it"):
        decode(hint, plain, "it")


def test_numbers_that_json_does_not_have_come_back() -> None:
    assert decode(float, encode(math.inf), "it") == math.inf
    assert decode(float, encode(-math.inf), "it") == -math.inf
    assert math.isnan(decode(float, encode(math.nan), "it"))
    assert decode(float | None, encode(3), "it") == 3


@pytest.mark.parametrize(
    "value", [object(), Secret("x"), b"bytes", {1, 2}, ["a list, which would come back as a tuple"]]
)
def test_what_has_no_plain_form_is_told(value: object) -> None:
    with pytest.raises(RecordError, match=f"a {type(value).__name__} has no plain form"):
        encode((value,))


def test_a_word_that_is_one_of_ours_stays_a_word() -> None:
    class Word(enum.StrEnum):
        MASTER = "master"

    assert decode(str, encode(Word.MASTER), "it") == "master"


def test_a_verdict_differs_by_its_rule_or_move_not_by_its_words() -> None:
    then = Verdict("F16", Move.REFUSE, "as it was said", ("a",))
    assert differs(then, Verdict("F16", Move.REFUSE, "as it is said now")) == ""
    assert "then it was F16 (refuse), now it would be F17 (proceed): go" in differs(
        then, Verdict("F17", Move.PROCEED, "go")
    )
    assert "F16 (ask)" in differs(then, Verdict("F16", Move.ASK, "as it was said"))


def _seen(name: str = "m1", **changes: Any) -> Situation:
    seen = {**FULL.picture.seen, name: dataclasses.replace(FULL.picture.seen[name], **changes)}
    return dataclasses.replace(FULL, picture=Picture(seen=seen))


def _told(**changes: Any) -> Situation:
    """The replica told something else of itself."""
    return _seen("r1", facts=dataclasses.replace(FACTS, **changes))


def _named(name: str) -> Situation:
    """What was seen of the replica was seen of another one."""
    seen = {"m1": FULL.picture.seen["m1"], name: FULL.picture.seen["r1"]}
    return dataclasses.replace(FULL, picture=Picture(seen=seen))


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (_seen(notes=("silent for 3.2 s",)), True),
        (dataclasses.replace(FULL, cooldown_left_s=0.5), True),
        (_seen(lag=7.0), True),
        (_seen(facts=dataclasses.replace(FACTS, received_lsn=Lsn(10))), False),
        (_seen(sees_master=Answer.YES), False),
        (dataclasses.replace(FULL, proofs=()), False),
        (_told(received_lsn=Lsn(10), message_age_s=7.0), True),
        (_told(in_recovery=False), False),
        (_told(timeline=2), False),
        (_named("r1"), True),
        (_named("r2"), False),
        (dataclasses.replace(FULL, proofs=(Proof("fence_stop", Answer.YES, "in other words"),)), True),
        (dataclasses.replace(FULL, proofs=(Proof("fence_stop", Answer.NO, "its proof can be had"),)), False),
        (dataclasses.replace(FULL, proofs=(Proof("fence_lease", Answer.YES, "its proof can be had"),)), False),
        (dataclasses.replace(FULL, choice=dataclasses.replace(FULL.choice, candidate="r3")), False),
        (dataclasses.replace(FULL, choice=Choice("r2")), False),
        (dataclasses.replace(FULL, choice=Choice("r1")), False),
    ],
)
def test_verdicts_are_alike_when_the_answers_are(other: Situation, *, alike: bool) -> None:
    refused = Verdict("F16", Move.REFUSE, "")
    assert (likeness(FULL, refused) == likeness(other, refused)) is alike
    assert likeness(FULL, refused) != likeness(FULL, dataclasses.replace(refused, rule="F15"))


def test_where_nothing_is_to_be_done_the_rule_says_it_all() -> None:
    well = Verdict("F07", Move.NOTHING, "")
    assert likeness(FULL, well) == likeness(Situation(cluster=Cluster(), picture=Picture(), policy=Policy()), well)
    assert likeness(FULL, well) != likeness(FULL, Verdict("F01", Move.NOTHING, ""))


def test_no_secret_can_be_in_a_record() -> None:
    assert [its for noun in nouns() for its in fields(noun).values() if "Secret" in str(its)] == []


def test_a_record_of_three_servers_is_small() -> None:
    assert max(len(zlib.compress(json.dumps(record(story.situation)).encode())) for story in STORIES) < 2000
