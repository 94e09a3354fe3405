"""Commands on HandyRep's own host: argv only, no shell, the whole process group ended at the deadline."""

import asyncio
import contextlib
import os
import signal
from typing import cast

from handyrep.adapters.output import Kept
from handyrep.adapters.quoting import ENVIRONMENT
from handyrep.errors import NoAnswerError
from handyrep.ports import Ran

_LEFT_OPEN_S = 0.2
"""So long the output of an ended command is waited for when something it started still holds it open."""
_KILLED_S = 0.2
"""So long the end of a killed command is waited for."""
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_KEPT_VARIABLES = ("HOME", "USER", "LOGNAME")


async def run_local(argv: tuple[str, ...], stdin: bytes, deadline_s: float, *, server: str | None = None) -> Ran:
    """Run it to its end. Raises NoAnswerError when it does not end in time; it is killed then.

    As in a shell: 127 when the program is not found, 126 when it cannot be executed, 128 + number for a signal.
    """
    process = _Process()
    try:
        await asyncio.get_running_loop().subprocess_exec(
            lambda: process, *argv, env=_environment(), cwd="/", start_new_session=True
        )
    except OSError as error:
        status = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        return Ran(status, "", f"{argv[0]}: {error.strerror}")
    try:
        async with asyncio.timeout(deadline_s):
            return await process.answer(stdin)
    except TimeoutError:
        raise NoAnswerError(f"{argv[0]} did not end within {deadline_s:g} s", server=server) from None
    finally:
        await process.end()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, **ENVIRONMENT}


class _Process(asyncio.SubprocessProtocol):
    """A started command. Its end is the end of its first process, whatever that left running in the background."""

    def __init__(self) -> None:
        self._kept = {1: Kept(), 2: Kept()}
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._open = {1, 2}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._kept[fd].add(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._open.discard(fd)
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        self._ended.set()

    async def answer(self, stdin: bytes) -> Ran:
        """Feed it and wait for its end."""
        transport = cast("asyncio.SubprocessTransport", self._transport)
        pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        pipe.write(stdin)
        pipe.close()
        await self._ended.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEFT_OPEN_S):
                await self._closed.wait()
        code = cast("int", transport.get_returncode())
        out, err = self._kept[1], self._kept[2]
        return Ran(code if code >= 0 else 128 - code, out.text(), err.text(), cut=out.cut or err.cut)

    async def end(self) -> None:
        """Kill the process group if the command has not ended. Nobody waits long: another account's process may not be ours to kill."""
        transport = cast("asyncio.SubprocessTransport", self._transport)
        try:
            if transport.get_returncode() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError, TimeoutError):
                    os.killpg(transport.get_pid(), signal.SIGKILL)
                    async with asyncio.timeout(_KILLED_S):
                        await self._ended.wait()
        finally:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                transport.close()
