"""Kills HandyRep at a place given by its number: before any step of any of its tasks, and at each touch of its disk, clock or plugins.

Every `await` that waits for something outside makes a task take one more step, so a place that was never tried cannot exist.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from tests.simulation.cluster import World
from tests.simulation.door import Door, Given
from tests.simulation.loop import StuckError, never_waiting
from tests.simulation.weather import Killed, Trouble, Weather

Place = tuple[str, str, int]
"""The file, the function and the line at which a task of HandyRep waits."""


class Killer(Weather):
    """A calm sky that counts the places at which HandyRep may be killed, and kills it at one of them."""

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng, lambda: None)
        self.power_works = True
        self.active = True
        self.passed = 0
        self.kill_at = 0
        self.next_trouble = Trouble.NONE

    def live_until(self, kill_at: int) -> None:
        """Count from the beginning; 0 is never."""
        self.passed, self.kill_at = 0, kill_at

    def maybe_killed(self, where: str) -> None:
        if not self.dead:
            self.passed += 1
            if self.passed == self.kill_at:
                self.dead = True
                self._world.tell(f"HandyRep is killed {where} (place {self.passed})")
        if self.dead:
            raise Killed(where)

    def trouble(self, *, acts: bool) -> Trouble:
        trouble, self.next_trouble = self.next_trouble, Trouble.NONE
        return trouble

    def is_active(self) -> bool:
        return self.active


class WaitingDoor(Door):
    """Makes HandyRep wait before and after each call, and lets a story happen at the call that it names."""

    turns: dict[str, Callable[[], None]]

    async def call(
        self, kind: Kind, name: str, method: str = "run", arguments: Given | None = None, *, cluster: Cluster, deadline_s: float
    ) -> Result:  # fmt: skip
        await asyncio.sleep(0)
        self.turns.pop(f"{kind.value}.{method}", lambda: None)()
        result = await super().call(kind, name, method, arguments, cluster=cluster, deadline_s=deadline_s)
        await asyncio.sleep(0)
        return result

    async def select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...] | Result:
        await asyncio.sleep(0)
        selected = await super().select(name, cluster=cluster, deadline_s=deadline_s)
        await asyncio.sleep(0)
        return selected


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that is stepped only while HandyRep lives; `seen` collects where it waits."""

    def __init__(self, inner: Coroutine[Any, Any, Any], killer: Killer, seen: set[Place] | None) -> None:
        self._inner = inner
        self._killer = killer
        self._seen = seen

    def _step(self, do: Callable[[], Any]) -> Any:
        try:
            self._killer.maybe_killed("before a step of a task")
            waits_for = do()
        except Killed:
            self.close()
            raise asyncio.CancelledError from None
        if self._seen is not None:
            self._seen.update(places(self._inner))
        return waits_for

    def send(self, value: Any) -> Any:
        return self._step(lambda: self._inner.send(value))

    def throw(
        self, kind: Any, value: BaseException | object = None, traceback: TracebackType | None = None, /
    ) -> Any:  # fmt: skip
        return self._step(lambda: self._inner.throw(kind))

    def close(self) -> None:
        """Nothing of a killed HandyRep runs on: whatever it would still do meets a shut door."""
        try:
            self._inner.close()
        except Killed:
            return

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())


def places(coroutine: Any) -> list[Place]:
    """Where it and those that it awaits are waiting."""
    found = []
    while getattr(coroutine, "cr_frame", None) is not None:
        frame = coroutine.cr_frame
        path = Path(frame.f_code.co_filename)
        found.append((f"{path.parent.name}/{path.name}", frame.f_code.co_qualname, frame.f_lineno))
        coroutine = coroutine.cr_await
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Lived:
    """How a piece of HandyRep's life ended: with the result, an error, or (neither) a kill."""

    result: Any = None
    error: BaseException | None = None


def lived(work: Coroutine[Any, Any, Any], killer: Killer, seen: set[Place] | None = None) -> Lived:
    """Let HandyRep do this until it has ended or is killed. In neither case is anything of it left."""
    with asyncio.Runner(loop_factory=never_waiting) as runner:
        loop = runner.get_loop()
        loop.set_task_factory(lambda of, inner, **named: asyncio.Task(Stepped(inner, killer, seen), loop=of, **named))
        try:
            return Lived(runner.run(_to_the_end(work)))
        except (asyncio.CancelledError, StuckError) as error:
            return Lived() if killer.dead else Lived(error=error)
        except Exception as error:  # noqa: BLE001 - a story tells what HandyRep raised
            return Lived(error=error)
        finally:
            loop.set_task_factory(None)
            work.close()


async def _to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Also what it began beside itself."""
    done = await asyncio.gather(work, return_exceptions=True)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.gather(*left, return_exceptions=True)
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]
