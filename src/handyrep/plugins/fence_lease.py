"""fence_lease: the master holds a lease that HandyRep renews; when it is over and no replica is attached, the master's own host stops it."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from handyrep.directives import seconds_between
from handyrep.errors import NoAnswerError, PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _starving
from handyrep.plugins._at_once import both, on_each
from handyrep.plugins._lease import RATE_ERROR, Known, Terms, host_clock, name_of, remember, remembered
from handyrep.plugins._lease_guard import ARM, GUARD, LEAVE, LEFT, PURPOSES, RENEW, ROOM
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known

_RENEW_AFTER = 0.2
"""A lease is renewed when this part of it has gone."""
_RENEW_S = 5.0
_LOOK_S, _STARVE_S, _PUT_BACK_S = 3.0, 5.0, 5.0
"""What looking at the replicas, silencing them, and putting all back may take of fence_timeout beside the waiting."""

_OWN_END = 0.9
"""Who gives no answer is given up a little before the time is over, so that it can be said why."""


class fence_lease(handyrepplugin):
    """A dead man's handle on the master's own host: it stops PostgreSQL when HandyRep has not renewed its lease and no replica is attached.

    Does: while the master is well, keep() puts a guard there and renews the lease. The guard is a transient systemd service: when the
    lease is over and from no replica anything was heard for `silence`, it stops PostgreSQL, fast, immediate, then SIGKILL, until no
    process works in pgdata. A drop-in of PostgreSQL's own unit lets systemd start it only while there is a lease (kept in /run, so
    never after a reboot) or as a replica. run() does nothing on that host: it lets every replica that would count receive from
    nobody, as fence_starve does, and waits. Proof: time. The lease cannot be renewed any more from the moment that run() began; it, the
    silence, the guard's look and the stop have all passed since, by clocks that no setting moves, with 2 % for their rates.
    What it does not cover: a guard that somebody ended, or that cannot run (a frozen virtual machine, no memory, a process that a dead
    disk holds); after a reboot, who starts PostgreSQL past systemd, by pg_ctl; in the same boot the guard ends that after a second. A
    program on a replica's host that receives as replication_user is taken for the replica. Commits that no replica has are lost.
    Touches on the server: on the master /run/handyrep-lease, a transient service handyrep-lease-NAME, and handyrep-lease.conf
    in PostgreSQL's folder of /etc/systemd/system; leave() takes all away. On the replicas what fence_starve touches, taken back by
    release() and the next follow. On HandyRep's host fence_lease.json in state_dir.
    Needs: systemd, root by sudo, ss and awk on the master, PostgreSQL in a system service; a login for postgres_superuser, and SSH, on
    every enabled replica: one that cannot be told to receive nothing makes a proof impossible (disable it for good, or be patient). Replicas
    come from their hostname or client_host, as the master resolves it, and send a status more often than `silence` (wal_receiver_status_interval), or
    the master stops when HandyRep alone is gone. fence_timeout must be longer than the proof takes: test() tells. poll_interval
    must be well below `lease`. A master that its guard stopped, or whose host was started anew, starts when HandyRep lets it; by hand: see the drop-in.
    Safe to repeat?: yes. run() again counts anew.
    When it cannot tell: it is no proof. A lease that was never seen in place, or a replica that is not known to be silent: FAIL; UNCERTAIN if
    not all was put back.
    Options: lease, silence.
    """

    kinds = (Kind.FENCE,)
    needs_host = False
    needs_silence = True
    lease = option(
        seconds_between(2, 3600), 20.0, "how long the master may run after a renewal without HandyRep and replicas"
    )
    silence = option(
        seconds_between(1, 600),
        15.0,
        "a replica from which the master's host heard nothing for so long is not attached",
    )

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with `proof` when the time is over."""
        known = self._known(servername)
        known.proofs += 1
        known.rested_on, known.renewed_at_s = True, None
        proof = await self._proven(servername, known)
        known.rested_on = proof.outcome is Outcome.SUCCESS
        return proof

    async def _proven(self, servername: str, known: Known) -> Result:
        began = self.call.world.clock.monotonic()
        terms, why = await self._possible(servername)
        if terms is None:
            return self.fail(f"nothing is proven and nothing was done: {why}", untouched=True)
        known.told = terms.peers
        hindered = await self._silenced(terms)
        if not hindered:
            await self._wait_until(began + terms.over_within_s, terms)
            hindered = await self._not_silent(terms) or await self._found_broken(servername)
        if not hindered:
            waited = self.call.world.clock.monotonic() - began
            proof = f"its lease of {terms.lease_s:g} s was last renewed {waited:.1f} s ago, and since then {_listed(terms.peers)} receive nothing: its own host has stopped it"
            return self.success(proof, proof=proof, ended=True)
        back = await _starving.put_back(self, self._peers(terms))
        if back.outcome is Outcome.SUCCESS:
            return self.fail(f"nothing is proven: {hindered}; all was put back")
        return self.uncertain(f"nothing is proven: {hindered}; not all was put back: {back.details}")

    async def release(self, servername: str) -> Result:
        """Let the replicas receive as before, and the master start, if its host answers."""
        known = self._known(servername)
        known.rested_on = False
        told = known.told or tuple(s.name for s in self._others(servername))
        replicas = [s for s in self._others(servername) if s.name in told]
        back, lease = await both(_starving.put_back(self, replicas), self.keep(servername))
        if back.outcome is not Outcome.SUCCESS:
            return back
        return self.success(f"{back.details}; {lease.details}")

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a proof could not be had now. Changes nothing, and does not ask the master."""
        name = servername or self.master().name
        terms, why = await self._possible(name)
        if terms is None:
            return self.fail(why)
        return self.success(f"{name} stops itself; the proof takes {_longest_s(terms):.0f} s at most")

    async def keep(self, servername: str) -> Result:
        """Renew the lease, or put all in place for it."""
        known = self._known(servername)
        if known.rested_on:
            return self.fail("a proof rests on it: it is not renewed", untouched=True)
        proofs, now = known.proofs, self.call.world.clock.monotonic()
        if known.renewed_at_s is not None and now - known.renewed_at_s < self.lease * _RENEW_AFTER:
            return self.success(f"renewed {now - known.renewed_at_s:.1f} s ago")
        try:
            if known.clock is None or now - known.clock.at_s > self.lease:
                known.clock = None
                await self._order(servername, known, RENEW, "", "", "")
            if known.clock is None:
                return self.fail("the clock of its host cannot be read")
            return await self._renewed(servername, known, proofs)
        except NoAnswerError as error:
            return self.uncertain(nothing_known(error))

    async def leave(self, servername: str) -> Result:
        """Take all away that keep() put there."""
        known = self._known(servername)
        known.rested_on, known.clock, known.renewed_at_s = False, None, None
        await remember(self, servername, None)
        try:
            await self._order(servername, known, RENEW, "", "", "")
            clock = self._known(servername).clock
            if clock is None:
                return self.fail("the clock of its host cannot be read")
            latest = str(clock.end_of(self.call.left_s(), self.call.world.clock.monotonic()))
            ran = await self.run_as_root(
                servername, "sh", "-c", LEAVE, "leave", *self._place(servername), clock.boot, latest
            )
        except NoAnswerError as error:
            return self.uncertain(nothing_known(error))
        known.clock = None
        return self.success("nothing is left") if ran.exit_status == 0 else self.fail(last_words(ran))

    async def footprint(self, servername: str) -> Result:
        """The guard, the lease, and the door."""
        if not self.server(servername).is_postgres:
            return self.success(traces=[])
        try:
            ran = await self.run_as_postgres(servername, "sh", "-c", LEFT, "left", *self._place(servername))
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if ran.exit_status != 0:
            return self.fail(f"whether a lease is kept there is not known: {last_words(ran)}")
        said = [line.partition("=") for line in ran.stdout.splitlines()]
        return self.success(traces=[self.trace(key, at, PURPOSES[key]) for key, _, at in said if key in PURPOSES])

    async def take_back(self, servername: str) -> Result:
        """Take all away, wait until no renewal that was sent before can count any more, and take away what such a one put there."""
        if not self.server(servername).is_postgres:
            return self.success("there is nothing of it here")
        wait_s = self.lease * (1 + 2 * RATE_ERROR)
        left = await self.leave(servername)
        if left.outcome is not Outcome.SUCCESS:
            return left
        if wait_s > self.call.left_s():
            return self.uncertain(f"a renewal that was sent before may put it back within {wait_s:.0f} s")
        await self.call.world.clock.sleep(wait_s)
        return await self.leave(servername)

    def _known(self, servername: str) -> Known:
        known: Known = self.memory.setdefault(f"known {servername}", Known())
        return known

    def _others(self, servername: str) -> tuple[Server, ...]:
        return tuple(s for s in self.cluster.servers if s.enabled and s.is_postgres and s.name != servername)

    def _peers(self, terms: Terms) -> tuple[Server, ...]:
        return tuple(self.server(name) for name in terms.peers)

    def _place(self, servername: str) -> tuple[str, str, str]:
        name = name_of(self.cluster.name, servername)
        return self.server(servername).pgdata, f"{ROOM}/{name}", name

    async def _renewed(self, servername: str, known: Known, proofs: int) -> Result:
        """By RENEW, or by ARM where not all is in place. Where a lease was seen in place, the loosest of what may hold is written down first."""
        wanted = Terms(self.lease, self.silence, tuple(sorted(s.name for s in self._others(servername))))
        before = (await remembered(self)).get(servername)
        if before is not None:
            await remember(self, servername, before.loosest(wanted))
        addresses = sorted({a for s in self._others(servername) for a in (s.hostname, s.client_address) if a})
        how = (f"{self.silence * 1000:.0f}", self.settings.handyrep.replication_user, *addresses)
        mark = hashlib.sha256(json.dumps([how, ARM, GUARD]).encode()).hexdigest()
        said: dict[str, str] = {}
        for script, more in ((RENEW, ()), (ARM, how)):
            if script is ARM:
                await remember(self, servername, None)
            if known.proofs != proofs or known.clock is None:
                return self.fail("a proof was begun meanwhile: it was not renewed")
            sent_at_s = self.call.world.clock.monotonic()
            until = known.clock.end_of(self.lease, sent_at_s)
            said = await self._order(servername, known, script, known.clock.boot, str(until), mark, *more)
            if said.get("armed") == "yes":
                await remember(self, servername, wanted)
                known.renewed_at_s = sent_at_s if known.proofs == proofs else None
                return self.success("renewed" if script is RENEW else "put in place")
        return self.fail(said.get("fault") or "it could not be put in place")

    async def _order(self, servername: str, known: Known, script: str, *arguments: str) -> dict[str, str]:
        """What the host said, its clock taken up. Raises NoAnswerError."""
        limit_s = min(_RENEW_S, self.call.left_s()) if script is RENEW else self.call.left_s()
        argv = ("sh", "-c", script, "lease", *self._place(servername), *arguments)
        stdin = GUARD.encode() if script is ARM else b""
        ran = await self.run_as_root(servername, *argv, stdin=stdin, timeout_s=limit_s * _OWN_END)
        said = dict(line.partition("=")[::2] for line in ran.stdout.splitlines() if "=" in line)
        known.clock = host_clock(said, self.call.world.clock.monotonic()) or known.clock
        if ran.exit_status != 0:
            said.setdefault("fault", last_words(ran))
        return said

    async def _possible(self, servername: str) -> tuple[Terms | None, str]:
        """(the terms to be waited for, '') or (None, why there is no proof to be had). Looks only."""
        try:
            terms = (await remembered(self)).get(servername)
        except (NoAnswerError, PluginError) as error:
            return None, error.what
        if terms is None:
            return None, f"no lease was seen in place on {servername}"
        limit_s = self.settings.failover.fence_timeout
        if _longest_s(terms) > limit_s:
            return None, f"the proof takes up to {_longest_s(terms):.0f} s, and fence_timeout is {limit_s:g} s"
        unknown = [name for name in terms.peers if name not in self.cluster.members]
        if unknown:
            return None, f"{_listed(unknown)} may be attached to {servername}, and HandyRep knows it no more"
        said = await on_each(self._peers(terms), self._ready, limit_s=_LOOK_S, acts=False)
        return (None, why) if (why := _why_not(said)) else (terms, "")

    async def _ready(self, server: Server) -> Result:
        hindered = _starving.hindrance(await _starving.look(self, server.name))
        return self.fail(hindered) if hindered else self.success()

    async def _silenced(self, terms: Terms) -> str:
        """Let every replica that would count as attached receive from nobody; why not all do, or ''."""
        end = self.call.world.clock.monotonic() + _STARVE_S * _OWN_END
        said = await on_each(self._peers(terms), lambda s: _starving.starve(self, s, end), limit_s=_STARVE_S, acts=True)
        return _why_not(said)

    async def _wait_until(self, lease_over: float, terms: Terms) -> None:
        """Until the later of the two ends, counted from now for the silence, and until the guard must have stopped it."""
        clock = self.call.world.clock
        end = max(lease_over, clock.monotonic() + terms.unheard_within_s) + terms.stopped_within_s
        while (left_s := end - clock.monotonic()) > 0:
            await clock.sleep(left_s)

    async def _not_silent(self, terms: Terms) -> str:
        """Who receives all the same, after all that time; or ''."""
        said = await on_each(self._peers(terms), self._silent, limit_s=_LOOK_S, acts=False)
        return _why_not(said)

    async def _found_broken(self, servername: str) -> str:
        """What a renewal that was under way when this began has told since; or ''."""
        return "" if servername in await remembered(self) else f"not all was in place on {servername}"

    async def _silent(self, server: Server) -> Result:
        seen = await _starving.look(self, server.name)
        return self.success() if seen.starved else self.fail("it was told to receive nothing, and does not heed it")


def _longest_s(terms: Terms) -> float:
    waiting_s = max(terms.over_within_s, terms.unheard_within_s) + terms.stopped_within_s
    return _LOOK_S + _STARVE_S + waiting_s + _LOOK_S + _PUT_BACK_S


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no replica"


def _why_not(said: Mapping[str, Result]) -> str:
    """Who may be attached still, and why; '' when nobody is."""
    return "; ".join(f"{name}: {one.details}" for name, one in said.items() if one.outcome is not Outcome.SUCCESS)
