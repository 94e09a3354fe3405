"""The admin console of one pgbouncer: where its names lead, whom it holds back, which sessions are left at an old place.

Raises DatabaseError (it said no) and NoAnswerError (nothing is known) like the query helper that it uses.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.server import Server
from handyrep.plugins._bouncer_config import Place, Target
from handyrep.ports import Login, Row

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

ADMIN_DATABASE = "pgbouncer"
_NO_NAME = "handyrep_asks"
"""No database has this name."""
_NO_SUCH_NAME = "no such database"
_RETRY = "server_login_retry"
_QUICK_RETRY_S = 0.2
_NO_RETRY_S, _LOOKS_FOR_A_TRY = 0.01, 10
_PORT_BEHIND = re.compile(r":\d+$")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A name as the running pgbouncer has it. `paused`: its clients wait. `pool_mode`: '' where it is the default."""

    target: Target
    paused: bool
    pool_mode: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """Names with sessions at an old place: those a client has now, and those that a new client could be given.

    `reading`: those of which a client has a session, but only where it may come to its end.
    """

    in_use: frozenset[str]
    reusable: frozenset[str]
    reading: frozenset[str] = frozenset()


class Console:
    """Each command is bounded by `timeout_s`. `fresh`: each on a new connection, for a pgbouncer that is being replaced.

    Its settings are asked for once, and after each reload: a console is for one call of a plugin.
    """

    def __init__(self, plugin: "handyrepplugin", server: Server, timeout_s: float, *, fresh: bool = False) -> None:
        self._plugin = plugin
        self._server = server
        self._timeout_s = timeout_s
        self._fresh = fresh
        self._settings: dict[str, str] = {}

    async def databases(self) -> dict[str, Entry]:
        """Every name that it offers, save the console's own."""
        rows = await self._ask("SHOW DATABASES")
        return {str(row["name"]): _entry(row) for row in rows if row["name"] != ADMIN_DATABASE}

    async def reload(self) -> None:
        """Let it read its file again. It says RELOAD also when it could not use the file: look at databases().

        Nobody waits then for a server that is well because another one was not, until it reads its file again.
        """
        await self._ask("RELOAD")
        self._settings = {}
        if _slow((await self.configuration()).get(_RETRY, "")):
            await self._retry_after(str(_QUICK_RETRY_S))

    async def kill(self, names: Iterable[str]) -> None:
        """Drop every session of these names, and let new clients wait until resume()."""
        for name in names:
            await self._ask(f"KILL {_quoted(name)}")

    async def pause(self, name: str, patience_s: float) -> bool:
        """Let new work of this name wait. Whether what was under way ended in time; it is paused all the same."""
        try:
            await self._ask(f"PAUSE {_quoted(name)}", timeout_s=patience_s)
        except NoAnswerError:
            return False
        return True

    async def resume(self, names: Iterable[str]) -> None:
        """Let the clients of these names on. They must be held back: pgbouncer refuses otherwise.

        Those of a name whose last login failed, at a server that is gone, would wait out server_login_retry, and then until pgbouncer
        looks at its clients again: so for this moment there is next to none. Not none at all: should nobody take that back, a pgbouncer
        in front of a server that is gone would try it without a pause.
        """
        names = list(names)
        if not names:
            return
        retry = (await self.configuration()).get(_RETRY, "")
        if retry:
            await self._retry_after(str(_NO_RETRY_S))
        try:
            for name in names:
                await self._ask(f"RESUME {_quoted(name)}")
            await self._see_it_try(names)
        finally:
            if retry:
                await self._retry_after(retry)

    async def _see_it_try(self, names: Iterable[str]) -> None:
        """For a client that logs in while its name is held back pgbouncer begins a session, ends it, and takes that for a failure of just now."""
        for _ in range(_LOOKS_FOR_A_TRY):
            pools = await self._ask("SHOW POOLS")
            waiting = [row for row in pools if row["database"] in names and int(row["cl_waiting"])]
            if all(any(int(row[key]) for key in row if key.startswith("sv_")) for row in waiting):
                return
            await self._plugin.call.world.clock.sleep(_NO_RETRY_S)

    async def _retry_after(self, seconds: str) -> None:
        await self._ask(f"SET {_RETRY} = {_literal(seconds)}")
        self._settings[_RETRY] = seconds

    async def reconnect(self, names: Iterable[str]) -> None:
        """Let no session of these names be given to another client: each is closed when its client lets go of it."""
        for name in names:
            await self._ask(f"RECONNECT {_quoted(name)}")

    async def left_behind(
        self, entries: Mapping[str, Entry], may_end: Mapping[str, frozenset[Place]] = MappingProxyType({})
    ) -> Left:
        """The sessions at servers where their names do not lead any more. `may_end`: where those of a name do no harm."""
        rows = [row for row in await self.sessions() if row["database"] in entries]
        places = {place for one in may_end.values() for place in one}
        addresses = await self._addresses(entries, *(host for host, _ in places))
        old = [row for row in rows if _is_old(row, entries[row["database"]].target, addresses)]
        used = {True: frozenset[str](), False: frozenset[str]()}
        for row in old:
            if row["link"]:
                harmless = _is_at(row, may_end.get(row["database"], frozenset()), addresses)
                used[harmless] |= {str(row["database"])}
        reusable = frozenset(str(row["database"]) for row in old if str(row["close_needed"]) == "0")
        return Left(in_use=used[False], reusable=reusable, reading=used[True] - used[False])

    async def sessions(self) -> tuple[Row, ...]:
        """Every session that it has at a server."""
        return await self._ask("SHOW SERVERS")

    async def astray(self, entries: Mapping[str, Entry], sessions: Iterable[Row]) -> frozenset[str]:
        """The names with one of these sessions that is not certainly at a server where they lead now."""
        addresses = await self._addresses(entries)
        return frozenset(
            str(row["database"])
            for row in sessions
            if row["database"] not in entries or not _is_there(row, entries[row["database"]].target, addresses)
        )

    async def configuration(self) -> dict[str, str]:
        """Its settings as they are in force."""
        if self._fresh or not self._settings:
            self._settings = {str(row["key"]): str(row["value"]) for row in await self._ask("SHOW CONFIG")}
        return self._settings

    async def _addresses(self, entries: Mapping[str, Entry], *more: str) -> dict[str, frozenset[str]]:
        """What pgbouncer itself has resolved names of hosts to; nothing where all hosts in question are addresses."""
        hosts = {host for entry in entries.values() for host in entry.target.hosts}.union(more)
        if all(_is_address(host) for host in hosts):
            return {}
        rows = await self._ask("SHOW DNS_HOSTS")
        return {str(row["hostname"]): frozenset(_address(one) for one in str(row["addrs"]).split(",")) for row in rows}

    async def _ask(self, command: str, *, timeout_s: float | None = None) -> tuple[Row, ...]:
        return await self._plugin.query(
            self._server.name,
            command,
            login=Login.BOUNCER_ADMIN,
            database=ADMIN_DATABASE,
            fresh=self._fresh,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
        )


async def is_alone(console: Console) -> bool:
    """False when other processes may share its port (so_reuseport): this console reaches only one of them."""
    return (await console.configuration()).get("so_reuseport", "0") == "0"


async def objection(console: Console, file: str) -> str:
    """Why a new file would be of no use to it; '' when nothing is known against it."""
    try:
        reads = (await console.configuration()).get("conffile", file)
    except DatabaseError as error:
        return f"its console does not let HandyRep in: {error.what}"
    return "" if reads == file else f"it was started with {reads}, and config_location is {file}"


async def offers_any_name(console: Console) -> bool:
    """Whether it has a database '*'. It is listed nowhere, and one that was taken out of the file lives on until a restart."""
    try:
        await console.reconnect([_NO_NAME])
    except DatabaseError as error:
        if _NO_SUCH_NAME in error.what:
            return False
        raise
    return True


def _entry(row: Row) -> Entry:
    target = Target(str(row["host"] or ""), int(row["port"]), str(row["database"]))
    return Entry(target, str(row["paused"]) != "0", str(row.get("pool_mode") or ""))


def _is_old(row: Row, target: Target, addresses: Mapping[str, frozenset[str]]) -> bool:
    """It marks sessions itself when it reads a new file, but not those that it took over in an online restart."""
    if str(row["close_needed"]) != "0" or int(row["port"]) != target.port:
        return True
    known = _known(target, addresses)
    return bool(known) and str(row["addr"]) not in known


def _is_there(row: Row, target: Target, addresses: Mapping[str, frozenset[str]]) -> bool:
    closing, port = str(row["close_needed"]) != "0", int(row["port"])
    return not closing and port == target.port and str(row["addr"]) in _known(target, addresses)


def _is_at(row: Row, places: Iterable[Place], addresses: Mapping[str, frozenset[str]]) -> bool:
    seen = str(row["addr"]), int(row["port"])
    return any(seen == (address, port) for host, port in places for address in (host, *addresses.get(host, ())))


def _known(target: Target, addresses: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The addresses of where a name leads; none when one of its hosts is not known."""
    each = [addresses.get(host) or (frozenset({host}) if _is_address(host) else frozenset()) for host in target.hosts]
    return frozenset[str]().union(*each) if all(each) else frozenset()


def _address(shown: str) -> str:
    """As SHOW DNS_HOSTS has it, with a port that means nothing; IPv6 in brackets."""
    return _PORT_BEHIND.sub("", shown).strip("[]") if shown.count(":") == 1 or "]" in shown else shown


def _slow(retry: str) -> bool:
    try:
        return float(retry) > _QUICK_RETRY_S
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
