"""A world without servers for tests of the plugin API: its ports answer nothing, and say that they were asked."""

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handyrep.config.settings import Settings
from handyrep.errors import NoAnswerError
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.registry import Registry
from handyrep.ports import Command, Login, Ran, Row
from tests.factories import make_settings


class SilentHosts:
    """No host answers. `asked` counts the commands that arrived."""

    def __init__(self) -> None:
        self.asked = 0

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        self.asked += 1
        raise NoAnswerError("silent", server=server.name)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        self.asked += 1
        raise NoAnswerError("silent")


class SilentDatabases:
    """No database answers."""

    async def query(
        self, server: Server, statement: str, values: Sequence[Any] = (), *, deadline_s: float,
        login: Login = Login.HANDYREP, database: str | None = None, fresh: bool = False,
    ) -> tuple[Row, ...]:  # fmt: skip
        raise NoAnswerError("silent", server=server.name)


class RealTime:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    async def sleep(self, duration_s: float) -> None:
        return None


def a_caller(
    plugins_dir: Path | None = None, *, hosts: SilentHosts | None = None, settings: Settings | None = None
) -> Caller:
    """A Caller in a silent world."""
    world = World(settings or make_settings(), hosts or SilentHosts(), SilentDatabases(), RealTime())
    return Caller(Registry(plugins_dir), world)
