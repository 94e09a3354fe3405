"""Holding clients back at all pgbouncers at once, and letting them on. What is done at one of them is its Gate's.

Must never let clients on to another server than the recorded master.
"""

from collections.abc import Awaitable, Callable, Iterable

from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugins._at_once import on_each, together
from handyrep.plugins._bouncer_config import Target
from handyrep.plugins._bouncer_console import Console
from handyrep.plugins._bouncer_gate import Gate
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins._bouncer_places import leads_to, place_of, places
from handyrep.plugins._left_at_bouncers import tells_of_bouncers

SUCCESS = Outcome.SUCCESS
_CALLS_PER_BOUNCER = 20
"""So many times call_timeout may one pgbouncer take: one that does not answer must not hold up a failover for long."""
_SHARE_OF_A_PAUSE, _SHARE_OF_THE_WAIT = 0.6, 0.5
"""Of its time, for pausing, and in it for waiting: in what remains, all that was paused must be let on again."""


class holds_back_at_bouncers(tells_of_bouncers):
    """Parent of the plugins that manage pgbouncers, with what holds their clients back."""

    async def block(self) -> Result:
        """SUCCESS when no pgbouncer has a session left at a server of the cluster, and new clients wait."""
        return await self._at_all_consoles(self._blocked, "holds its clients back")

    async def pause(self) -> Result:
        """SUCCESS when nobody's work is under way at a server of the cluster, and new work waits. Else all go on as before."""
        limit_s = self.call.left_s() * _SHARE_OF_A_PAUSE
        done = await self._at_all_consoles(self._paused, "lets its clients wait", limit_s=limit_s)
        if done.outcome is SUCCESS:
            return done
        back = await self._at_all_consoles(self._unblocked, "goes on")
        if back.outcome is SUCCESS:
            return self.fail(f"{done.details}: all go on as before", **dict(done.extra))
        return self.uncertain(f"{done.details}; not all go on: {back.details}", **dict(done.extra))

    async def unblock(self) -> Result:
        """Let clients on at every pgbouncer that leads to the recorded master."""
        return await self._at_all_consoles(self._unblocked, "lets its clients on")

    def gates(self, leads: Callable[[Server], Callable[[Target], bool]]) -> dict[str, Gate]:
        """What holds clients back at each pgbouncer that is managed, of the names of which `leads` is true there.

        Raises PluginError when it is not clear which are managed.
        """
        return {server.name: self._gate(server, leads(server)) for server in self._bouncers()}

    def _host(self, server: Server) -> BouncerHost:
        raise NotImplementedError

    def _console(self, server: Server) -> Console:
        raise NotImplementedError

    def _chosen(self, bouncerserver: str | None) -> list[Server]:
        """That pgbouncer, or all that are managed. Raises PluginError when it is none of them, or that is not clear."""
        found = [server for server in self._bouncers() if bouncerserver in (None, server.name)]
        if not found and bouncerserver is not None:
            raise PluginError(f"{bouncerserver} is not an enabled server of role pgbouncer")
        return found

    def _gate(self, server: Server, leads: Callable[[Target], bool]) -> Gate:
        self.memory.pop(brought_to(server), None)
        return Gate(self._host(server), self._console(server), self._file(), leads, self.call.world.clock)

    async def _blocked(self, server: Server) -> Result:
        gate = self._gate_to_the_cluster(server)
        view = await gate.look()
        await gate.shut(view)
        await gate.cut(view)
        return self.success(f"{len(view.names)} names are held back")

    async def _paused(self, server: Server) -> Result:
        gate = self._gate_to_the_cluster(server)
        view = await gate.look()
        await gate.shut(view)
        await gate.pause(view, self.call.left_s() * _SHARE_OF_THE_WAIT, place_of(self.master()))
        return self.success(f"{len(view.names)} names are paused")

    def _gate_to_the_cluster(self, server: Server) -> Gate:
        ours = places(self.cluster, server)
        return self._gate(server, lambda target: leads_to(target, ours))

    async def _at_all_consoles(
        self, act: Callable[[Server], Awaitable[Result]], well: str, *, limit_s: float | None = None
    ) -> Result:
        try:
            return together(await self._on_each(self._chosen(None), act, limit_s=limit_s), well)
        except PluginError as error:
            return self.fail(str(error))

    async def _on_each(
        self,
        chosen: Iterable[Server],
        act: Callable[[Server], Awaitable[Result]],
        *,
        acts: bool = True,
        limit_s: float | None = None,
    ) -> dict[str, Result]:
        limit_s = self.settings.failover.call_timeout * _CALLS_PER_BOUNCER if limit_s is None else limit_s
        return await on_each(chosen, act, limit_s=limit_s, acts=acts)


def brought_to(server: Server) -> str:
    """Where it is remembered which file was put there a moment ago, and is not to be put there once more: until somebody holds clients back."""
    return f"brought to {server.name}"
