"""Two things at once: what came of both, and nothing that goes on when one raises."""

import asyncio

import pytest

from handyrep.errors import NoAnswerError
from handyrep.plugins._at_once import both


async def after(moments: int, what: str) -> str:
    for _ in range(moments):
        await asyncio.sleep(0)
    return what


async def test_what_came_of_each_in_their_order() -> None:
    assert await both(after(5, "one"), after(1, "other")) == ("one", "other")


async def test_an_error_that_is_returned_is_no_error_that_is_raised() -> None:
    error = NoAnswerError("silent")

    async def returns() -> NoAnswerError:
        return error

    assert await both(returns(), after(1, "other")) == (error, "other")


@pytest.mark.parametrize("first", [True, False])
async def test_when_one_raises_the_other_has_ended_too(first: bool) -> None:
    """A plugin that returns while a helper is at work is told to lack an await, and why it failed is lost."""
    ended: list[str] = []

    async def raises() -> str:
        raise NoAnswerError("silent")

    async def ends() -> str:
        ended.append(await after(20, "it"))
        return ""

    with pytest.raises(NoAnswerError, match="silent"):
        await (both(raises(), ends()) if first else both(ends(), raises()))
    assert ended == ["it"]
