"""fence_stop: stops the old master over SSH, and proves that no process holds its data directory any more."""

import asyncio
import math

from handyrep.directives import path, seconds
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._at_once import both
from handyrep.plugins._left_in_pgdata import CLONING, FENCED, Left
from handyrep.plugins._stopping import FENCE, LOOK, RELEASE
from handyrep.plugins._wal_end import control_values, wal_end
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.ports import Login, Ran

_LOOK_CALLS = 3
"""So many times call_timeout may a look take."""
_IDLE = "nothing of it ran any more"
_ONE_LOOK, _LOOKS = 1, 3
_RAN_AGAIN = "it ran again and was stopped"
_HANGS = "it let nobody in any more, so it was not asked politely"
_OF_ONE_THAT_HANGS = "20"
"""Hundredths of a second that one which lets nobody in has for a fast stop before it is ended by force."""
_JUST_S = 0.25
"""A look of so short a time ago that found nothing of it is not repeated before the fence, which looks for itself."""
_STILL_WELL_S = 2.0
"""For so long nobody asks again whether one that was hastened can be seen and stopped, and lets people in: clients wait meanwhile."""
_READ_AGAIN_BYTES = 1 << 17
"""So far before the place that its WAL was last seen to have reached the reading of it begins: a record of any usual size ends after that."""
_LOGIN_S = 2.0
"""So much longer may it take to log in before anything is done: to a host that has just come back there is no connection yet."""


class fence_stop(handyrepplugin):
    """Stops the old master over SSH and proves it: no process holds its data directory.

    Does: looks first whether a proof can be had, and leaves the server alone if not (`untouched`). Then, unless nothing of it runs
    or it lets nobody in any more, restart_method faststop; then, for whatever is left, fast (SIGINT), immediate (SIGQUIT) and
    SIGKILL to the postmaster and to every process that works in pgdata, orphaned backends and hung ones included; looks again
    and again until it stays calm; leaves standby.signal, so that whatever starts it brings it up read-only; reads where its WAL ends.
    Touches on the server: its PostgreSQL processes; standby.signal and handyrep.fenced in pgdata (release() takes them back).
    Needs: SSH, and the account that owns pgdata. Root is not needed: all processes of PostgreSQL belong to that account.
    Safe to repeat?: yes.
    When it cannot tell: it is no proof. A host that does not answer, a process that does not end, a pgdata that cannot be read: FAIL.
    Options: grace, bin_path.
    """

    kinds = (Kind.FENCE,)
    grace = option(seconds, 10.0, "how long restart_method may take to stop it before the escalation")
    bin_path = option(path, "", "folder of pg_controldata and pg_waldump on the servers; blank: looked for")

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with `proof`, and `last_lsn` when the end of its WAL could be read."""
        server = self.server(servername)
        if self._age_s(_well(servername)) <= _STILL_WELL_S:
            return await self._fenced(server, *await self._ordered(server))
        if self._age_s(servername) <= _JUST_S:
            done, settled = await both(self._fenced(server, _IDLE, _ONE_LOOK), self._is_settled(server))
            return done if settled and done.outcome is Outcome.SUCCESS else await self._stopped(server)
        (ended, hindered), settled = await both(self._looked(server, _LOGIN_S), self._is_settled(server))
        if hindered:
            return self.fail(f"nothing is proven and nothing was done: {hindered}", untouched=True)
        return await (self._fenced(server, _IDLE, _ONE_LOOK) if ended and settled else self._stopped(server))

    def _age_s(self, what: str) -> float:
        """How long ago that was seen; it counts once."""
        return float(self.call.world.clock.monotonic() - self.memory.pop(what, -math.inf))

    async def _stopped(self, server: Server) -> Result:
        return await self._fenced(server, *await self._stopped_politely(server))

    async def _fenced(self, server: Server, first: str, looks: int) -> Result:
        """Whatever is left of it is ended, and nothing of it comes back. `first`: what was found or done before this.

        `looks`: so many must find nothing of it, when the first of them does.
        """
        last = self.cluster.last_seen
        given = (
            server.pgdata,
            self.bin_path or server.bin_dir,
            str(looks),
            _OF_ONE_THAT_HANGS if first == _HANGS else "",
            "" if last is None else str(Lsn(max(last.lsn.position_bytes - _READ_AGAIN_BYTES, 0))),
        )
        try:
            ran = await self.run_as_postgres(server.name, "sh", "-c", FENCE, "fence", *given)
        except NoAnswerError as error:
            return self.fail(f"nothing is proven, the host does not answer: {error.what} ({first})")
        said = _lines(ran)
        first = _RAN_AGAIN if first == _IDLE and "stopped" in said else first
        if ran.exit_status != 0 or "data" not in said:
            return self.fail(f"nothing is proven: {said.get('fault') or last_words(ran)} ({first})")
        values = control_values(ran.stdout)
        last_lsn = wal_end(values, said.get("newest", ""), said.get("record", ""))
        proof = (
            f"no process works in {said['data']} or is attached to its shared memory, and standby.signal stands there"
        )
        state = values.get("Database cluster state", "")
        return self.success(
            f"{proof}; its WAL ends at {last_lsn or 'an unknown place'} ({first})",
            proof=proof,
            last_lsn=last_lsn,
            state=state,
            ended=True,
        )

    async def _looked(self, server: Server, more_s: float = 0.0) -> tuple[bool, str]:
        """(whether no process of it is left, why no proof could be had or '').

        Looks only, and not for long: with the host off the next fence must have its turn.
        """
        limit_s = self.settings.failover.call_timeout * _LOOK_CALLS + more_s
        try:
            ran = await self.run_as_postgres(server.name, "sh", "-c", LOOK, "look", server.pgdata, timeout_s=limit_s)
        except NoAnswerError as error:
            why = f"its host does not answer over SSH, so its processes cannot be seen or stopped: {error.what}"
            return False, why
        said = _lines(ran)
        if "ended" in said and ran.exit_status == 0:
            self.memory[server.name] = self.call.world.clock.monotonic()
        return "ended" in said, "" if ran.exit_status == 0 else said.get("fault") or last_words(ran)

    async def _hangs(self, server: Server) -> bool:
        """Whether it lets nobody in on its own host, asked twice: asking such a one politely only makes clients wait."""
        return await self._lets_nobody_in(server) and await self._lets_nobody_in(server)

    async def _lets_nobody_in(self, server: Server) -> bool:
        named = {"servername": server.name, "mastername": server.name}
        try:
            async with asyncio.timeout(self.settings.failover.call_timeout * _LOOK_CALLS):
                seen = await self.use_plugin(Kind.INSPECT, self.settings.failover.inspect_method, "sees", **named)
        except TimeoutError:
            return False
        return seen.extra.get("no") is True

    async def _is_settled(self, server: Server) -> bool:
        """Whether restart_method says that the service does not run, and so that nothing is about to start it again."""
        arguments = {"servername": server.name, "runmode": "status"}
        try:
            async with asyncio.timeout(self.settings.failover.call_timeout * _LOOK_CALLS):
                status = await self.use_plugin(Kind.RESTART, server.restart_method, "run", **arguments)
        except TimeoutError:
            return False
        return status.extra.get("running") is False

    async def hasten(self, servername: str) -> Result:
        """Write a checkpoint now, so that the one at its end finds little to do, and see that it can be stopped."""
        try:
            await self.query(servername, "checkpoint", login=Login.SUPERUSER, timeout_s=self.call.left_s())
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"no checkpoint was written beforehand, so stopping may take longer: {error}")
        ended, hindered = await self._looked(self.server(servername))
        if not (ended or hindered):
            self.memory[_well(servername)] = self.call.world.clock.monotonic()
        return self.success("a checkpoint was written")

    async def release(self, servername: str) -> Result:
        """Take standby.signal and the mark back, if they are ours."""
        server = self.server(servername)
        try:
            ran = await self.run_as_postgres(servername, "sh", "-c", RELEASE, "release", server.pgdata)
        except NoAnswerError as error:
            return self.uncertain(nothing_known(error))
        return (
            self.success("released") if ran.exit_status == 0 else self.fail(_lines(ran).get("fault") or last_words(ran))
        )

    async def _stopped_politely(self, server: Server) -> tuple[str, int]:
        """(what restart_method said, how many looks must find nothing of it). Its word is never a proof, so neither its failure nor its success ends the fence."""
        if await self._hangs(server):
            return _HANGS, _LOOKS
        return await self._ordered(server)

    async def _ordered(self, server: Server) -> tuple[str, int]:
        """Once its service says that it does not run, nothing is about to start it again."""
        arguments = {"servername": server.name, "runmode": "faststop"}
        try:
            async with asyncio.timeout(self.grace):
                result = await self.use_plugin(Kind.RESTART, server.restart_method, "run", **arguments)
        except TimeoutError:
            return f"{server.restart_method} did not stop it within {self.grace:g} s", _LOOKS
        settled = result.outcome is Outcome.SUCCESS and result.extra.get("running") is False
        return f"{server.restart_method}: {result.details}", _ONE_LOOK if settled else _LOOKS

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a proof could not be had from a server now."""
        names = [servername] if servername else [s.name for s in self.cluster.servers if s.enabled and s.is_postgres]
        for name in names:
            _, hindered = await self._looked(self.server(name))
            if hindered:
                return self.fail(f"{name}: {hindered}")
        return self.success(f"the processes of {', '.join(names) or 'no server'} can be seen and stopped")

    async def footprint(self, servername: str) -> Result:
        """Its mark, which stays while the server is stopped."""
        return await _left_in_pgdata.footprint(self, servername, self._traces)

    def _traces(self, server: Server, left: Left) -> list[dict[str, str]]:
        if FENCED not in left.names:
            return []
        held = (
            ""
            if left.runs
            else f"{server.name} is stopped, and may not come up as a master: handyrep remaster {server.name}"
        )
        purpose = "tells whether standby.signal was there before a fence"
        return [self.trace("mark of a fence", f"{server.pgdata}/{FENCED}", purpose, stays=held)]

    async def take_back(self, servername: str) -> Result:
        """Delete the mark of a server that runs, with the one by which a copy may be thrown away, as SET_FOLLOWING does."""

        async def take(server: Server, left: Left) -> str:
            names = (CLONING, FENCED) if FENCED in left.names and left.runs else ()
            return await _left_in_pgdata.delete(self, server, *names)

        return await _left_in_pgdata.taken_back(self, servername, take)


def _well(servername: str) -> str:
    """Where it is remembered that it was well."""
    return f"{servername} is well"


def _lines(ran: Ran) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in ran.stdout.splitlines() if "=" in line)
