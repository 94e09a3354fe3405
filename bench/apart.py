"""A client in a process of its own: in HandyRep's it would take time from the very thing that is measured."""

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Self

from tests.lab.heard import Heard
from tests.lab.writer import Client

_APART = multiprocessing.get_context("spawn")
_ANSWER_S = 90.0
"""The client itself gives up earlier, and says why."""
_END_S = 30.0
_FIRST_ROWS = 20


class Apart:
    """Writes inside `async with`. `make` makes the client, over there: it and what it is made of must be picklable."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._pipe, over_there = _APART.Pipe()
        self._process = _APART.Process(target=_serve, args=(over_there, make), daemon=True)

    async def __aenter__(self) -> Self:
        self._process.start()
        await self.heard_after(_FIRST_ROWS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.close()
        await asyncio.to_thread(self._process.join, _END_S)
        if self._process.is_alive():
            self._process.kill()

    async def heard_after(self, more: int) -> Heard:
        """What it heard until so many further rows were acknowledged. Raises TimeoutError."""
        self._pipe.send(more)
        told = await asyncio.to_thread(self._told)
        if isinstance(told, Exception):
            raise told
        assert isinstance(told, Heard)
        return told

    def _told(self) -> object:
        if not self._pipe.poll(_ANSWER_S):
            raise TimeoutError(f"the client's process said nothing for {_ANSWER_S:g} s")
        return self._pipe.recv()


def _serve(pipe: Connection, make: Callable[[], Client]) -> None:
    asyncio.run(_answer(pipe, make()))


async def _answer(pipe: Connection, client: Client) -> None:
    async with client:
        while True:
            try:
                more = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            pipe.send(await asyncio.to_thread(_heard, client, more))


def _heard(client: Client, more: int) -> Heard | Exception:
    try:
        client.wait_for(more)
    except TimeoutError as error:
        return error
    return Heard(dict(client.acknowledged), dict(client.by), list(client.errors), set(client.in_doubt))
