"""Holding clients back at one pgbouncer so that a restart of it lets nobody through, and letting them on again.

Raises PluginError (it cannot be done, or was not), and DatabaseError and NoAnswerError like the helpers it uses.
Must never lead a name to another server than before.
"""

import dataclasses
from collections.abc import Callable, Mapping

from handyrep.errors import PluginError
from handyrep.plugins._bouncer_config import MARK, Place, Target, parse_databases, refuse_name
from handyrep.plugins._bouncer_console import Console, Entry, is_alone, objection, offers_any_name
from handyrep.plugins._bouncer_foot import blocked, held_back, leads_nowhere, unblocked
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Clock

_LOOKS_AGAIN, _LOOK_EVERY_S = 20, 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A pgbouncer.ini as it stands, and the names that must be held back."""

    text: str
    names: frozenset[str]


class Gate:
    """`leads` tells of where a name leads whether it must be held back. `file` is the host's pgbouncer.ini."""

    def __init__(
        self, host: BouncerHost, console: Console, file: str, leads: Callable[[Target], bool], clock: Clock
    ) -> None:
        self._host = host
        self._console = console
        self._file = file
        self._leads = leads
        self._clock = clock

    async def look(self) -> View:
        """What is to be held back. Raises PluginError when that could not be done for certain. Changes nothing."""
        if not await is_alone(self._console):
            raise PluginError("it uses so_reuseport: HandyRep would reach only one of its processes")
        why = await objection(self._console, self._file)
        if why:
            raise PluginError(why)
        if await offers_any_name(self._console):
            raise PluginError("it has a database '*' since it was started, which no KILL holds back")
        text = await self._host.text()
        in_file = parse_databases(await self._host.expanded(unblocked(text)))
        if "*" in in_file:
            raise PluginError("its file has a database '*', which no KILL holds back: name the databases instead")
        found = await self._console.databases()
        names = self._led({name: entry.target for name, entry in found.items()}) | self._led(in_file)
        names |= await self._console.astray(found, await self._console.sessions()) - {MARK}
        for name in names:
            refuse_name(name)
        return View(text, names)

    async def shut(self, view: View) -> None:
        """Let a pgbouncer that starts from now on lead nowhere with these names. The running one goes on."""
        if not view.names <= held_back(view.text):
            await self._put(blocked(view.text, view.names | held_back(view.text)))

    async def cut(self, view: View) -> None:
        """End every session of these names, let new clients wait, and look.

        What is held back already is not KILLed once more: its clients wait well, and one that just logs in may be left waiting for ever,
        since pgbouncer forgets the pool that it was promised.
        """
        found = await self._console.databases()
        await self._console.kill(sorted(name for name in view.names & found.keys() if not found[name].paused))
        left = await self._left_free(view)
        if left:
            await self._console.kill(sorted(left & view.names & found.keys()))
            await self._refuse_free(view)

    async def pause(self, view: View, patience_s: float, master: Place) -> None:
        """Let the work of these names that is under way come to its end, let new work wait, and look.

        One name after the other, those that lead to `master` last: nobody who writes waits for the work of readers.
        """
        found = await self._console.databases()
        end = self._clock.monotonic() + patience_s
        for name in sorted(view.names & found.keys(), key=lambda name: (found[name].target.place == master, name)):
            if not await self._console.pause(name, end - self._clock.monotonic()):
                raise PluginError(f"work of {name} did not end within {patience_s:.1f} s")
        await self._refuse_free(view)

    async def _refuse_free(self, view: View) -> None:
        free = await self._left_free(view)
        if free:
            raise PluginError(f"{', '.join(sorted(free))} cannot be held back")

    async def _left_free(self, view: View) -> frozenset[str]:
        """Look until none is free. For a client that logs in meanwhile pgbouncer begins a session, which its next round ends."""
        free = await self._free(view)
        for _ in range(_LOOKS_AGAIN):
            if free:
                await self._clock.sleep(_LOOK_EVERY_S)
                free = await self._free(view)
        return free

    async def _free(self, view: View) -> frozenset[str]:
        after = await self._console.databases()
        held = self._led({name: entry.target for name, entry in after.items()}) | view.names
        free = {name for name in held & after.keys() if not after[name].paused}
        sessions = await self._console.sessions()
        free |= held & {str(row["database"]) for row in sessions}
        return frozenset(free) | await self._console.astray(after, sessions)

    async def open(self) -> None:
        """The file as it was, and clients led as it says. Nothing is done where nothing is held back."""
        text = await self._host.text()
        if text != unblocked(text):
            await self._put(unblocked(text))
        found = await self._console.databases()
        if _nowhere(found):
            await self._console.reload()
            found = await self._console.databases()
        await self._console.resume(sorted(name for name, entry in found.items() if entry.paused))
        found = await self._console.databases()
        ill = _nowhere(found) | {name for name, entry in found.items() if entry.paused}
        if ill:
            raise PluginError(f"clients of {', '.join(sorted(ill))} still wait")

    async def addresses(self) -> frozenset[str]:
        """From where a server sees the sessions that come through it."""
        return await self._host.addresses() | {str(row["local_addr"]) for row in await self._console.sessions()}

    async def leads_when_open(self) -> dict[str, frozenset[Target]]:
        """Where each name leads once open() is done, by the running pgbouncer and by its file."""
        in_file = parse_databases(await self._host.expanded(unblocked(await self._host.text())))
        now = {name: entry.target for name, entry in (await self._console.databases()).items()}
        return {
            name: frozenset(leads[name] for leads in (now, in_file) if name in leads and not leads_nowhere(leads[name]))
            for name in now.keys() | in_file.keys()
        }

    def _led(self, leads: Mapping[str, Target]) -> frozenset[str]:
        mark = {MARK} if MARK in leads and leads_nowhere(leads[MARK]) else set()
        return frozenset(name for name, target in leads.items() if name not in mark and self._leads(target))

    async def _put(self, text: str) -> None:
        ran = await self._host.put(text)
        if ran.exit_status != 0:
            raise PluginError(f"{self._file} could not be replaced: {last_words(ran)}")


def _nowhere(found: Mapping[str, Entry]) -> frozenset[str]:
    return frozenset(name for name, entry in found.items() if name != MARK and leads_nowhere(entry.target))
