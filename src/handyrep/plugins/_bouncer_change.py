"""How a running pgbouncer is brought to use its new pgbouncer.ini, and the look whether it leads where it should.

Raises NoAnswerError and DatabaseError like the helpers that it uses: then where it leads is not known.
"""

import contextlib
import dataclasses
from collections.abc import Mapping

from handyrep.errors import NoAnswerError
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.plugins._bouncer_config import MARK, File, Place, Target
from handyrep.plugins._bouncer_console import Console, Entry, Left, is_alone
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Clock

_LOOKS, _LOOK_EVERY_S = 100, 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """At one pgbouncer. `refresh` as the option; `restart` is the command of the online restart.

    `may_end`: names, and the servers at which their sessions are not ended: readers that another server would serve better.
    """

    host: BouncerHost
    console: Console
    clock: Clock
    refresh: str
    restart: tuple[str, ...]
    may_end: Mapping[str, frozenset[Place]]

    async def take_effect(self, plan: File) -> Result:
        """Make it use its new file, and look."""
        if self.refresh == "restart":
            ran = await self.host.run(*self.restart)
            if ran.exit_status != 0:
                return fail(f"the online restart failed: {last_words(ran)}")
            found = await self._replaced(plan)
        else:
            await self.console.reload()
            found = await self.console.databases()
        wrong = not_as(plan.databases, found)
        if wrong and wrong != [MARK]:
            return fail(f"it has not taken its new file (its log tells why): {', '.join(wrong)} lead elsewhere")
        left = await self._moved(found)
        staying = left.in_use
        told = (
            f"sessions of {', '.join(sorted(staying | left.reading))} stay at the old place"
            if staying | left.reading
            else ""
        )
        if staying and self.refresh != "reload":
            return fail(told)
        if wrong:
            return fail("it leads where it should, but did not read its file to the end: it would not start again")
        if not await is_alone(self.console):
            return uncertain("it uses so_reuseport: other processes on its port may still lead to the old master")
        return success(told)

    async def _replaced(self, plan: File) -> dict[str, Entry]:
        """What the new process offers. The old one goes on answering until the new one has taken over all that it holds."""
        found = await self.console.databases()
        for _ in range(_LOOKS):
            if MARK in found and found[MARK].target == plan.databases[MARK]:
                break
            await self.clock.sleep(_LOOK_EVERY_S)
            with contextlib.suppress(NoAnswerError):
                found = await self.console.databases()
        return found

    async def _moved(self, found: Mapping[str, Entry]) -> Left:
        """Let no session live on at an old place, and no client wait. What stays all the same."""
        left = await self.console.left_behind(found, self.may_end)
        await self.console.reconnect(sorted(left.reusable))
        now = found
        if self.refresh != "reload" and left.in_use:
            await self.console.kill(sorted(left.in_use))
            now = await self.console.databases()
        await self.console.resume([name for name, entry in now.items() if entry.paused and name in found])
        return await self.console.left_behind(found, self.may_end)


def not_as(wanted: Mapping[str, Target], found: Mapping[str, Entry]) -> list[str]:
    """The names that do not lead where they should."""
    return sorted(name for name, target in wanted.items() if name not in found or found[name].target != target)
