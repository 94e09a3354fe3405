"""TCP servers that never say anything sensible, and a way to one that does on which everything takes its time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def silent_server(says: bytes = b"") -> AsyncIterator[int]:
    """The port of a server that takes every connection, says this, and then nothing for ever."""
    ended = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await ended.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def slow_way(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to that one on this host; whatever is said on it, either way, arrives so much later."""
    loop = asyncio.get_running_loop()
    ends: list[asyncio.StreamWriter] = []
    ways: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                loop.call_later(delay_s, writer.transport.write, data)
        loop.call_later(delay_s, writer.transport.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, there_writer))
        ways.update((loop.create_task(carry(reader, there_writer)), loop.create_task(carry(there_reader, writer))))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for way in ways:
            way.cancel()
        for end in ends:
            end.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)
        await asyncio.sleep(delay_s)
