"""One act at several servers at once, and one result of it. None waits for another, and none is forgotten."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from handyrep.errors import DatabaseError, HostKeyError, NoAnswerError, PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.server import Server

T = TypeVar("T")
U = TypeVar("U")


async def both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """What came of these two, at once. Neither is left at work when the other raises; then that is raised."""
    first, second = asyncio.ensure_future(one), asyncio.ensure_future(other)
    await asyncio.gather(first, second, return_exceptions=True)
    return first.result(), second.result()


async def on_each(
    servers: Iterable[Server], act: Callable[[Server], Awaitable[Result]], *, limit_s: float, acts: bool
) -> dict[str, Result]:
    """What came of it at each, by name. One that gives no answer is UNCERTAIN if it `acts`, else a FAIL."""
    unknown = uncertain if acts else fail

    async def contained(server: Server) -> tuple[str, Result]:
        try:
            async with asyncio.timeout(limit_s):
                return server.name, await act(server)
        except (DatabaseError, HostKeyError, PluginError) as error:
            return server.name, fail(error.what)
        except NoAnswerError as error:
            return server.name, unknown(f"no answer: {error.what}")
        except TimeoutError:
            return server.name, unknown(f"no answer within {limit_s:g} s")

    return dict(await asyncio.gather(*(contained(server) for server in servers)))


def together(said: Mapping[str, Result], well: str, **extra: object) -> Result:
    """UNCERTAIN when one is, else FAIL when one is; `each` tells the outcome of every server. `well` completes "a, b …"."""
    if not said:
        return success("there is no server to do it at", **extra)
    for result in said.values():
        extra |= result.extra
    extra["each"] = {name: result.outcome.value for name, result in said.items()}
    ill = {name: result for name, result in said.items() if result.outcome is not Outcome.SUCCESS}
    if ill:
        unknown = any(result.outcome is Outcome.UNCERTAIN for result in ill.values())
        return (uncertain if unknown else fail)(_listed(ill), **extra)
    notes = _listed({name: result for name, result in said.items() if result.details})
    return success(f"{', '.join(said)} {well}" + (f" ({notes})" if notes else ""), **extra)


def _listed(said: Mapping[str, Result]) -> str:
    return "; ".join(f"{name}: {result.details}" for name, result in said.items())
