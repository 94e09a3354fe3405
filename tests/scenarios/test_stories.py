"""Every story leads to its verdict, and every rule has a story."""

from pathlib import Path

import pytest

from handyrep.decide.failover import RULES, judge
from tests.scenarios.stories import Story, read_stories

STORIES = read_stories(Path(__file__).with_name("failover.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_story(story: Story) -> None:
    verdict = judge(story.situation)
    assert (verdict.rule, verdict.move.value) == (story.rule, story.move), verdict.sentence
    if story.says:
        assert verdict.sentence == story.says


def test_every_rule_has_a_story() -> None:
    assert {story.rule for story in STORIES} == {rule.id for rule in RULES}


def test_no_sentence_is_left_unformatted() -> None:
    for story in STORIES:
        assert "{" not in judge(story.situation).sentence
