"""What is told of a verdict beside its sentence is there for every rule, and is about that situation."""

import dataclasses
import re
from pathlib import Path

import pytest

from handyrep.decide.failover import RULES, Situation, judge
from handyrep.decide.hindsight import REMEDIES, UNMET, WELL, next_in_line, passed_over
from handyrep.decide.policy import Policy
from handyrep.operations import OPERATIONS
from tests.scenarios.stories import Story, read_stories

STORIES = read_stories(Path(__file__).parents[1] / "scenarios" / "failover.txt")


def story(name: str) -> Situation:
    return next(one.situation for one in STORIES if one.name == name)


def test_every_rule_has_its_words() -> None:
    assert [rule.id for rule in RULES if not REMEDIES.get(rule.id)] == []
    assert [rule.id for rule in RULES[:-1] if not UNMET.get(rule.id)] == []
    assert {*REMEDIES, *UNMET} - {rule.id for rule in RULES} == set()


@pytest.mark.parametrize("remedy", REMEDIES.values())
def test_every_command_that_a_remedy_names_is_there(remedy: str) -> None:
    assert [
        name for name in re.findall(r"handyrep ([a-z-]+)", remedy) if name.replace("-", "_") not in OPERATIONS
    ] == []


@pytest.mark.parametrize("one", STORIES, ids=lambda one: one.name)
def test_the_rules_before_the_one_that_holds_are_told_and_no_other(one: Story) -> None:
    told = passed_over(one.situation)
    before = [rule.id for rule in RULES]
    assert [rule for rule, _ in told] == before[: before.index(one.rule)]
    assert [why for _, why in told if "{" in why or not why] == []


def test_they_are_told_in_the_words_of_the_situation() -> None:
    told = dict(passed_over(story("A killed postmaster on a host that answers")))
    assert told["F07"] == "m1 was not seen to accept connections, or ends no commit"
    assert told["F15"] == "r1 may take over"
    assert told["F16"] == "fence_stop can prove that m1 is fenced"


def test_the_next_in_line_is_what_would_come_if_the_rule_did_not_hold() -> None:
    killed = story("A killed postmaster on a host that answers")
    off = dataclasses.replace(killed, policy=Policy(auto_failover=False))
    following = next_in_line(off)
    assert following is not None
    assert (judge(off).rule, following) == ("F13", judge(killed))


def test_after_the_last_rule_there_is_none_and_none_where_all_is_well() -> None:
    well = next(one.situation for one in STORIES if one.rule == WELL)
    assert next_in_line(well) is None
    assert next_in_line(story("A killed postmaster on a host that answers")) is None
