"""HandyRep is killed at every place at which it waits, in each of several stories, and started again or replaced by another one.

Whatever it was in the middle of is then done, undone, or asks or waits for something from a closed list; nothing acknowledged is lost,
and there are never two that take writes. The places are counted while HandyRep runs, so a new one cannot be missed.
"""

from random import Random

import pytest

from handyrep.decide.progress import Question
from handyrep.engine.journal import Journal
from tests.simulation.killed_stories import STORIES, Played, Story, healed, play

_DOUBLE_KILLS = 40
_STRIDE = 3
"""Another HandyRep goes on from the same files: what differs is only whether it may act, so each third place is enough."""
_ENDINGS = ("closed", *(f"asks {question.name}" for question in Question))


def told(story: Story, played: Played, at: str) -> str:
    lines = "\n".join(played.told)
    return f"{story.name}, killed at place {at}: {played.wrong or played.ending or 'it stands still without a word'}\n{lines}"


def well(played: Played) -> bool:
    """It came to an end that people can understand."""
    return not played.wrong and (played.ending in _ENDINGS or played.ending.startswith("waits for "))


@pytest.mark.parametrize("replaced", [False, True], ids=["restarted", "replaced"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name.replace(" ", "-"))
def test_e1_e2_killed_at_every_place(story: Story, replaced: bool) -> None:
    whole = play(story)
    assert well(whole), told(story, whole, "none")
    assert whole.passed >= story.places, f"only {whole.passed} places"
    shapes = (whole.after, whole.before)
    first = whole.turned_at if story.as_another_until_its_turn else 1
    for place in range(first, whole.passed + 1, story.stride * (_STRIDE if replaced else 1)):
        played = play(story, place, replaced=replaced)
        assert well(played), told(story, played, str(place))
        if played.ending == "closed":
            assert played.after in shapes or healed(played.after), (
                f"neither done nor undone: {played.after}\n{told(story, played, str(place))}"
            )


def test_killed_once_more_while_it_puts_things_right() -> None:
    rng = Random(20261125)
    for number in range(_DOUBLE_KILLS):
        story = rng.choice(STORIES)
        first = rng.randint(1, play(story).passed)
        again = rng.randint(1, 200)
        played = play(story, first, again_at=again)
        assert well(played), told(story, played, f"{first} and {again} (double kill {number})")


def test_what_was_not_written_down_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "intend", lambda *_: None)
    (story,) = (one for one in STORIES if one.name == "failover")
    ends = [play(story, place) for place in range(1, play(story).passed + 1, 3)]
    assert any(not well(played) for played in ends)
