"""The control socket: one JSON line with an operation and its arguments, one JSON line with the answer.

Who asks with "progress": true is sent lines {"progress": sentence} before it, as things happen.
A Unix socket in the state directory, mode 0600: whoever can open it may do everything.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from handyrep.errors import RefusedError
from handyrep.model.result import RD, fail
from handyrep.operations.declare import Running, invoke
from handyrep.surfaces.progress import Audience, Listener

SOCKET_NAME = "control.sock"
MAX_REQUEST_BYTES = 1 << 20
_REQUEST_DEADLINE_S = 10.0


@asynccontextmanager
async def listening(on: Running, folder: Path, audience: Audience) -> AsyncIterator[Path]:
    """Serve operations at folder/control.sock until the block ends. A socket that a dead HandyRep left is replaced.

    `audience` must hear the events of `on`.
    """
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(lambda r, w: _serve(on, audience, r, w), path, limit=MAX_REQUEST_BYTES)
    finally:
        os.umask(before)
    try:
        yield path
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _serve(on: Running, audience: Audience, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_REQUEST_DEADLINE_S):
            line = await reader.readline()
        _send(writer, await _answered(on, audience, line, lambda told: _send(writer, {"progress": told})))
        await writer.drain()
    except (TimeoutError, ConnectionError, ValueError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _send(writer: asyncio.StreamWriter, line: Mapping[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")


async def _answered(on: Running, audience: Audience, line: bytes, listener: Listener) -> RD:
    try:
        request: Any = json.loads(line)
        name, arguments = str(request["operation"]), dict(request.get("arguments") or {})
        progress = request.get("progress") is True
    except (ValueError, KeyError, TypeError, RecursionError):
        return fail('a request is one line: {"operation": "get_status", "arguments": {}}').as_rd()
    with audience.listening(listener) if progress else contextlib.nullcontext():
        return await invoke(on, name, arguments)


async def ask(folder: Path, name: str, arguments: dict[str, object], listener: Listener | None = None) -> RD | None:
    """Let the running HandyRep do an operation; None when none listens. An operation may take as long as it takes.

    `listener` hears what happens meanwhile.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(folder / SOCKET_NAME, limit=64 * MAX_REQUEST_BYTES)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except PermissionError:
        raise RefusedError(
            f"a HandyRep may run with {folder}, and this account may not talk to it",
            remedy="Use the account that runs HandyRep.",
        ) from None
    try:
        _send(writer, {"operation": name, "arguments": arguments, "progress": listener is not None})
        await writer.drain()
        while line := await reader.readline():
            answer: RD = json.loads(line)
            if listener is None or "result" in answer:
                return answer
            listener(str(answer["progress"]))
        return fail("HandyRep ended before it answered; look at its log, then at 'handyrep status'").as_rd()
    finally:
        writer.close()
