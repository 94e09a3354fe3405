"""fence_starve: takes the replicas whose confirmation it needs from the old master, in a strictly synchronous cluster."""

import dataclasses
from collections.abc import Iterable, Mapping

from handyrep.decide.promise import may_be_in_force
from handyrep.decide.quorum import SyncList, parse_sync_list
from handyrep.directives import seconds_between
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _starving
from handyrep.plugins._at_once import on_each
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

_LOOK_SHARE, _STARVE_SHARE = 0.33, 0.5
"""Of the time that is left: what was changed must be put back in what then remains. A dry run has three times call_timeout, and looks for one."""
_OWN_END = 0.9
"""A replica is given up a little before its time is over, so that it can be said why."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Promise:
    """Each commit waits for what one of `lists` says, as `text` has them; which one is not known while one has just been ordered."""

    text: str
    lists: tuple[SyncList, ...]

    @property
    def names(self) -> frozenset[str]:
        """All that are named."""
        return frozenset(name for one in self.lists for name in one.names)

    @property
    def must_go(self) -> str:
        """How many of whom, for a sentence."""
        return " and ".join(f"{len(one.names) - one.needed + 1} of {_listed(one.names)}" for one in self.lists)

    def is_broken_without(self, gone: Iterable[str]) -> bool:
        """Whether no commit can end, whichever list is in force: N-k+1 of each are gone."""
        return all(one.is_readable_from(frozenset(gone)) for one in self.lists)


class fence_starve(handyrepplugin):
    """Lets the replicas stop receiving, so that the old master gets no confirmation and acknowledges no commit; it is not touched.

    Does: on every enabled replica that answers: keeps primary_conninfo in handyrep.starved, ALTER SYSTEM SET primary_conninfo = '', a
    reload; looks until no receiver is there. Proof: of N replicas named in synchronous_standby_names, k of which must confirm, at
    least N-k+1 said themselves that they receive nothing. Without it all is put back. The list is the one that the recorded master
    told when it was last looked at: ANY k (…), FIRST k (…) or plain names, all of them servers of HandyRep, no *. Where HandyRep has
    ordered another one and does not know yet that it is in force, N-k+1 of each list are needed. release() puts back.
    What it does not stop: commits that do not wait (synchronous_commit = local or off, which any role may set); a waiting commit that
    is cancelled, or whose master restarts, and is seen there; a list that was changed on the master since; another program that
    receives under a listed name (pg_receivewal, a subscription, a second replica); reads, which grow stale. Clients still reach the
    old master: unlike fence_stop and fence_command it does not end that, so name it after them. A switchover cannot use it.
    Touches on the server: nothing on the master. On the replicas primary_conninfo in postgresql.auto.conf, and handyrep.starved in
    pgdata, which may hold a password, for its owner alone; release() and the next follow take it away. On the replica that is
    promoted the empty setting and the file mean nothing, and stay until it is made a replica again.
    Needs: PostgreSQL 13 or newer; a login for postgres_superuser, and SSH, on the replicas; their application_name is their server's
    name. A replica with allow_alter_system off is left alone and does not count.
    Safe to repeat?: yes.
    When it cannot tell: it is no proof. A replica that is not reached or not heard of in time does not count, nor one that goes on
    receiving: while its replay is paused, delayed or far behind, PostgreSQL does not stop it. FAIL; UNCERTAIN if not all was put back.
    Options: patience.
    """

    kinds = (Kind.FENCE,)
    needs_host = False
    needs_silence = True
    patience = option(
        seconds_between(0.1, 600.0), 5.0, "how long a replica may take to answer, and then to stop receiving"
    )

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with `proof`, and in `positions` how far each replica has received."""
        promise, ready, why = await self._possible(servername)
        if promise is None:
            return self.fail(f"nothing is proven and nothing was done: {why}", untouched=True)
        names = (server.name for server in ready)
        self.memory[servername] = tuple(dict.fromkeys((*self.memory.get(servername, ()), *names)))
        limit_s = min(self.patience, self.call.left_s() * _STARVE_SHARE)
        end = self.call.world.clock.monotonic() + limit_s * _OWN_END
        said = await on_each(ready, lambda server: _starving.starve(self, server, end), limit_s=limit_s, acts=True)
        gone = {name: dict(one.extra) for name, one in said.items() if one.outcome is Outcome.SUCCESS}
        if promise.is_broken_without(gone):
            proof = f"{_listed(promise.names & set(gone))} receive nothing any more, and {promise.text} lets no commit end without"
            return self.success(f"{proof}{_not_counted(said)}", proof=proof, positions=gone)
        back = await _starving.put_back(self, ready)
        told = f"nothing is proven: {promise.must_go} must receive nothing{_not_counted(said)}"
        if back.outcome is Outcome.SUCCESS:
            return self.fail(f"{told}; all was put back")
        return self.uncertain(f"{told}; not all was put back: {back.details}")

    async def release(self, servername: str) -> Result:
        """Let the replicas receive as before. One that was not told to stop is not waited for, if that is known."""
        told = self.memory.get(servername)
        return await _starving.put_back(self, (s for s in self._others(servername) if told is None or s.name in told))

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a proof could not be had now. Changes nothing."""
        promise, _, why = await self._possible(servername or self.master().name)
        if promise is None:
            return self.fail(why)
        return self.success(f"{promise.must_go} can be told to receive nothing")

    def _others(self, servername: str) -> tuple[Server, ...]:
        return tuple(s for s in self.cluster.servers if s.enabled and s.is_postgres and s.name != servername)

    async def _possible(self, servername: str) -> tuple[_Promise | None, tuple[Server, ...], str]:
        """(what is to be broken, the replicas that can be told, '') or (None, (), why there is no proof to be had). Looks only."""
        promise, why = self._promise(servername)
        if promise is None:
            return None, (), why
        others = self._others(servername)
        said = await on_each(
            others, self._ready, limit_s=min(self.patience, self.call.left_s() * _LOOK_SHARE), acts=False
        )
        ready = {name: one for name, one in said.items() if one.outcome is Outcome.SUCCESS}
        names = {
            name: str(one.extra["calls_itself"]).lower() for name, one in said.items() if "calls_itself" in one.extra
        }
        listed = {name.lower() for name in promise.names}
        false = [name for name, own in names.items() if own in listed and own != name.lower()]
        if false:
            return None, (), f"{_listed(false)} would confirm to the master under the name of another server"
        true = [name for name in ready if names[name] in ("", name.lower())]
        if not promise.is_broken_without(true):
            strangers = "".join(f"; {n} calls itself {names[n]}" for n in ready if n not in true)
            short = f"{promise.must_go} would have to stop receiving, and {_listed(true)} can"
            return None, (), f"{short}{_not_counted(said)}{strangers}"
        return promise, tuple(server for server in others if server.name in ready), ""

    def _promise(self, servername: str) -> tuple[_Promise | None, str]:
        master = self.cluster.master
        if master is None or master.name != servername:
            return None, f"{servername} is not the recorded master, so what its commits wait for is not known"
        texts = may_be_in_force(self.cluster)
        read = [self._as_servers(text) for text in texts]
        why = next((one for one in read if isinstance(one, str)), "")
        if why:
            return None, why
        return _Promise(" or ".join(map(repr, texts)), tuple(one for one in read if isinstance(one, SyncList))), ""

    def _as_servers(self, text: str) -> SyncList | str:
        """The list with the names that HandyRep has for its servers, or why it is none to rest on."""
        promise = parse_sync_list(text)
        if promise is None:
            return f"the last known synchronous_standby_names of the master is {text!r}: no commit must wait for replicas by name"
        names = [
            [s.name for s in self.cluster.servers if s.is_postgres and s.name.lower() == n.lower()]
            for n in promise.names
        ]
        strange = [name for name, found in zip(promise.names, names, strict=True) if len(found) != 1]
        if strange:
            return f"{_listed(strange)} in {text!r} is not the name of one server that HandyRep knows"
        known = tuple(found[0] for found in names)
        return SyncList(promise.needed, known) if len(set(known)) == len(known) else f"{text!r} names a server twice"

    async def _ready(self, server: Server) -> Result:
        """SUCCESS when it can be told to stop receiving; `calls_itself` as far as it says."""
        seen = await _starving.look(self, server.name)
        name = {"calls_itself": seen.calls_itself}
        if not seen.in_recovery:
            return self.fail("it is not in recovery")
        hindered = _starving.hindrance(seen)
        if hindered:
            return self.fail(hindered, **name)
        ran = await self.run_as_postgres(server.name, "test", "-w", server.pgdata)
        if ran.exit_status != 0:
            return self.fail(f"{server.pgdata} cannot be written: {last_words(ran)}", **name)
        return self.success(**name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _not_counted(said: Mapping[str, Result]) -> str:
    """Why each of the rest does not count."""
    return "".join(f"; {name}: {one.details}" for name, one in said.items() if one.outcome is not Outcome.SUCCESS)
