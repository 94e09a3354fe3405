"""HandyRep as a library: `HandyRep("handyrep.conf").get_status()` from plain code, `AsyncHandyRep` for asyncio programs.

Every operation is a method of the same name. When a daemon runs with the same state directory, it does the work.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from handyrep.app import load_checked, running
from handyrep.errors import ConfigurationError
from handyrep.model.result import RD
from handyrep.operations import OPERATIONS
from handyrep.operations.declare import invoke
from handyrep.surfaces.control import ask
from handyrep.surfaces.progress import Audience, Listener


class AsyncHandyRep:
    """Operations as coroutine methods. Each returns the RD. Raises ConfigurationError, StateError, BusyError.

    `listener` is called with a sentence for each step of a change of master, as it ends.
    """

    def __init__(self, conf: str | Path, listener: Listener | None = None) -> None:
        self._conf = Path(conf)
        self._listener = listener

    async def call(self, name: str, /, **arguments: object) -> RD:
        """Do one operation: through the daemon if one runs, else here under its lock."""
        loaded, _ = load_checked(self._conf)
        if loaded.settings is None:
            raise ConfigurationError(loaded.problems, source=str(self._conf))
        answer = await ask(Path(loaded.settings.handyrep.state_dir), name, arguments, self._listener)
        if answer is not None:
            return answer
        audience = Audience()
        async with running(self._conf, also_tell=audience) as on:
            with audience.listening(self._listener) if self._listener else contextlib.nullcontext():
                return await invoke(on, name, arguments)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, RD]]:
        if name not in OPERATIONS:
            raise AttributeError(f"HandyRep has no operation {name!r}")

        async def operation(*values: object, **arguments: object) -> RD:
            return await self.call(name, **_named(name, values), **arguments)

        return operation


class HandyRep:
    """The same for plain synchronous code. Not to be used inside a running event loop: AsyncHandyRep is for that."""

    def __init__(self, conf: str | Path, listener: Listener | None = None) -> None:
        self._async = AsyncHandyRep(conf, listener)

    def __getattr__(self, name: str) -> Callable[..., RD]:
        operation = getattr(self._async, name)

        def called(*values: object, **arguments: object) -> RD:
            return asyncio.run(operation(*values, **arguments))

        return called


def _named(name: str, values: tuple[object, ...]) -> dict[str, object]:
    parameters = [parameter.name for parameter in OPERATIONS[name].parameters]
    if len(values) > len(parameters):
        raise TypeError(f"{name} takes {len(parameters)} arguments, {len(values)} were given")
    return dict(zip(parameters, values, strict=False))
