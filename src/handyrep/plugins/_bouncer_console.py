"""The admin console of one pgbouncer: where its names lead, whom it holds back, which sessions are left at an old place.

Raises DatabaseError (it said no) and NoAnswerError (nothing is known) like the query helper that it uses.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from handyrep.model.server import Server
from handyrep.plugins._bouncer_config import Target
from handyrep.ports import Login, Row

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

ADMIN_DATABASE = "pgbouncer"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A name as the running pgbouncer has it. `paused`: its clients wait."""

    target: Target
    paused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """Names with sessions at an old place: those a client has now, and those that a new client could be given."""

    in_use: frozenset[str]
    reusable: frozenset[str]


class Console:
    """Each command is bounded by `timeout_s`. `fresh`: each on a new connection, for a pgbouncer that is being replaced."""

    def __init__(self, plugin: "handyrepplugin", server: Server, timeout_s: float, *, fresh: bool = False) -> None:
        self._plugin = plugin
        self._server = server
        self._timeout_s = timeout_s
        self._fresh = fresh

    async def databases(self) -> dict[str, Entry]:
        """Every name that it offers, save the console's own."""
        rows = await self._ask("SHOW DATABASES")
        return {str(row["name"]): _entry(row) for row in rows if row["name"] != ADMIN_DATABASE}

    async def reload(self) -> None:
        """Let it read its file again. It says RELOAD also when it could not use the file: look at databases()."""
        await self._ask("RELOAD")

    async def kill(self, names: Iterable[str]) -> None:
        """Drop every session of these names, and let new clients wait until resume()."""
        for name in names:
            await self._ask(f"KILL {_quoted(name)}")

    async def resume(self, names: Iterable[str]) -> None:
        """Let the clients of these names on. They must be held back: pgbouncer refuses otherwise."""
        for name in names:
            await self._ask(f"RESUME {_quoted(name)}")

    async def reconnect(self, names: Iterable[str]) -> None:
        """Let no session of these names be given to another client: each is closed when its client lets go of it."""
        for name in names:
            await self._ask(f"RECONNECT {_quoted(name)}")

    async def left_behind(self, entries: Mapping[str, Entry]) -> "Left":
        """The sessions at servers where their names do not lead any more."""
        rows = [row for row in await self._ask("SHOW SERVERS") if row["database"] in entries]
        addresses = await self._addresses()
        old = [row for row in rows if _is_old(row, entries[row["database"]].target, addresses)]
        return Left(
            in_use=frozenset(str(row["database"]) for row in old if row["link"]),
            reusable=frozenset(str(row["database"]) for row in old if str(row["close_needed"]) == "0"),
        )

    async def in_use(self) -> frozenset[str]:
        """The names that have a session at any server."""
        return frozenset(str(row["database"]) for row in await self._ask("SHOW SERVERS"))

    async def is_alone(self) -> bool:
        """False when other processes may share its port (so_reuseport): this console reaches only one of them."""
        rows = await self._ask("SHOW CONFIG")
        return not any(row["key"] == "so_reuseport" and str(row["value"]) != "0" for row in rows)

    async def _addresses(self) -> dict[str, frozenset[str]]:
        """What pgbouncer itself has resolved names of hosts to."""
        rows = await self._ask("SHOW DNS_HOSTS")
        return {str(row["hostname"]): frozenset(str(row["addrs"]).split(",")) for row in rows}

    async def _ask(self, command: str) -> tuple[Row, ...]:
        return await self._plugin.query(
            self._server.name,
            command,
            login=Login.BOUNCER_ADMIN,
            database=ADMIN_DATABASE,
            fresh=self._fresh,
            timeout_s=self._timeout_s,
        )


def _entry(row: Row) -> Entry:
    target = Target(str(row["host"] or ""), int(row["port"]), str(row["database"]))
    return Entry(target, str(row["paused"]) != "0")


def _is_old(row: Row, target: Target, addresses: Mapping[str, frozenset[str]]) -> bool:
    """It marks sessions itself when it reads a new file, but not those that it took over in an online restart."""
    if str(row["close_needed"]) != "0" or int(row["port"]) != target.port:
        return True
    known = addresses.get(target.host) or (frozenset({target.host}) if _is_address(target.host) else frozenset())
    return bool(known) and str(row["addr"]) not in known


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
