"""fence_proxy: holds the clients of an old master back at every pgbouncer, where there is no other way to it."""

import functools
from collections.abc import Awaitable, Callable, Mapping

from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import read_options
from handyrep.plugins._at_once import both, on_each, together
from handyrep.plugins._bouncer_gate import Gate, View
from handyrep.plugins._bouncer_places import may_lead_to
from handyrep.plugins._direct_clients import ask, audit
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.plugins.multi_pgbouncer import multi_pgbouncer
from handyrep.plugins.pgbouncer_failover import pgbouncer_failover

_MANAGERS: Mapping[str, type[multi_pgbouncer]] = {kind.__name__: kind for kind in (multi_pgbouncer, pgbouncer_failover)}
_SHARE = 0.3
"""Of the time that is left, for each of its steps: what was done must be put back in what then remains."""


class fence_proxy(handyrepplugin):
    """Cuts all clients off from the old master at every pgbouncer, without reaching it. Only where clients have no other way to it.

    Does: looks at every enabled pgbouncer. Then adds lines to each pgbouncer.ini by which every name that may lead to the old master
    leads nowhere, since a pgbouncer that restarts forgets what it was told; then KILLs those that are not held back yet: their sessions
    end, new clients wait. Proof: on every one SHOW DATABASES has them paused and SHOW SERVERS has no session of theirs. A name is spared only when each
    of its hosts is known as another server of the cluster, and so is each of its sessions; names of databases elsewhere wait as well.
    Without the proof all is put back. release() takes the lines away and lets clients on (RELOAD, where one was restarted meanwhile). After
    a failover connection_failover_method leads them to the new master. It counts only with clients_only_via_proxies = True, and
    no enabled server of role proxy, whose routes nobody knows. test() also asks the master, while it is well, for sessions that come
    neither from a proxy's host nor from HandyRep or a replica, nor as a superuser from the master's own: one makes it a FAIL, and run()
    too until it is gone. What pg_hba.conf lets in is told.
    What it does not protect from: clients that reach the old master directly, or by a socket on its host; jobs that run inside it; a
    commit in progress at the KILL, which may end there, though its client hears nothing of it; a person who tells a pgbouncer RESUME; a
    pgbouncer that HandyRep does not know of, or a second process of one.
    Touches on the server: nothing on the master. On the pgbouncers config_location, and the running pgbouncer through its console.
    Needs: connection_failover_method = multi_pgbouncer or pgbouncer_failover, of which it takes the options, working (its test) on every
    enabled pgbouncer; each was started with config_location; no database '*', no so_reuseport. For the audit handyrep_user with
    pg_monitor, or postgres_superuser, and for pg_hba.conf the latter.
    Safe to repeat?: yes.
    When it cannot tell: it is no proof. If one pgbouncer, its console or its host does not answer the look, nothing is done (`untouched`).
    Later it is a FAIL when all was put back, else UNCERTAIN. release() is UNCERTAIN while one does not answer.
    Options: none.
    """

    kinds = (Kind.FENCE,)
    needs_host = False
    needs_silence = True
    routes_only = True

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with `proof`, and in `proxies` which pgbouncers gave it."""
        try:
            gates = self._gates(servername)
            views = await self._looked(gates)
            self._refuse_direct_clients(servername)
        except PluginError as error:
            return self.fail(f"nothing is proven and nothing was done: {error.what}", untouched=True)
        done = await self._at_each(gates, lambda name: gates[name].shut(views[name]))
        if done.outcome is Outcome.SUCCESS:
            done = await self._at_each(gates, lambda name: gates[name].cut(views[name]))
        if done.outcome is Outcome.SUCCESS:
            names = ", ".join(gates)
            proof = f"no client has a session left at {servername}, and none gets one: held back at every pgbouncer ({names})"
            return self.success(proof, proof=proof, proxies=list(gates))
        back = await self._at_each(gates, lambda name: gates[name].open(), share=1.0)
        told = f"nothing is proven: {done.details}"
        if back.outcome is Outcome.SUCCESS:
            return self.fail(f"{told}; all was put back")
        return self.uncertain(f"{told}; not all was put back: {back.details}")

    async def release(self, servername: str) -> Result:
        """Let clients on to it everywhere. Once another server is the master, nobody is led to it: its proxies wait to be re-pointed."""
        try:
            if self.master().name != servername:
                return self.success(f"{servername} is not the recorded master, so no client is let on to it")
            gates = self._gates(servername)
        except PluginError as error:
            return self.fail(error.what)
        return await self._at_each(gates, lambda name: gates[name].open(), share=1.0)

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a proof could not be had now, or clients come directly. Changes nothing."""
        try:
            name = servername or self.master().name
            gates = self._gates(name)
            told, _ = await both(self._audited(name, gates), self._looked(gates))
            self._refuse_direct_clients(name)
        except PluginError as error:
            return self.fail(error.what)
        note = f" ({told})" if told else ""
        return self.success(f"all clients of {name} can be held back at {', '.join(gates)}{note}")

    def _gates(self, servername: str) -> dict[str, Gate]:
        """One for every enabled pgbouncer. Raises PluginError when they are not all the ways that lead to the server."""
        if not self.settings.failover.clients_only_via_proxies:
            raise PluginError("clients_only_via_proxies is not set, so clients may have other ways than the proxies")
        unmanaged = [member.name for member in self.cluster.by_role(Role.PROXY)]
        if unmanaged:
            raise PluginError(f"{', '.join(unmanaged)} (role proxy) is a way that HandyRep cannot block")
        manager, enabled = self._manager(), {member.name for member in self.cluster.by_role(Role.PGBOUNCER)}
        gates = manager.gates(functools.partial(self._may_lead_to, self.server(servername)))
        if not enabled or gates.keys() != enabled:
            left = ", ".join(sorted(enabled - gates.keys())) or "no pgbouncer is enabled"
            raise PluginError(f"not every way is managed: {left}")
        return gates

    def _may_lead_to(self, server: Server, bouncer: Server) -> Callable[..., bool]:
        return functools.partial(may_lead_to, cluster=self.cluster, bouncer=bouncer, server=server)

    def _manager(self) -> multi_pgbouncer:
        """The plugin that points the pgbouncers, with its options. Raises PluginError."""
        name = self.settings.failover.connection_failover_method
        if name not in _MANAGERS:
            raise PluginError(f"connection_failover_method is {name or 'blank'}: it must be {' or '.join(_MANAGERS)}")
        options, problems, _ = read_options(_MANAGERS[name], self.settings.plugins.get(name, {}))
        if problems:
            raise PluginError("; ".join(problems))
        return _MANAGERS[name](self.call, options)

    async def _looked(self, gates: Mapping[str, Gate]) -> dict[str, View]:
        """What is to be held back at each. Raises PluginError when one cannot be, or could not be re-pointed afterwards."""
        views: dict[str, View] = {}

        async def look(name: str) -> None:
            views[name] = await gates[name].look()

        manager = self.settings.failover.connection_failover_method
        able, seen = await both(self.use_plugin(Kind.CONNECTION_FAILOVER, manager, "test"), self._at_each(gates, look))
        if able.outcome is not Outcome.SUCCESS:
            raise PluginError(able.details)
        if seen.outcome is not Outcome.SUCCESS:
            raise PluginError(seen.details)
        return views

    async def _audited(self, servername: str, gates: Mapping[str, Gate]) -> str:
        """What to tell of it. Direct clients are remembered; when nobody can be asked, what was seen last stands."""
        proxies: set[str] = set()

        async def add(name: str) -> None:
            proxies.update(await gates[name].addresses())

        known, heard = await both(self._at_each(gates, add), ask(self, servername))
        if known.outcome is not Outcome.SUCCESS:
            return f"whether clients come directly was not asked: {known.details}"
        own_roles = frozenset({self.settings.handyrep.handyrep_user, self.settings.handyrep.replication_user})
        found = audit(heard, frozenset(proxies), own_roles)
        if found.seen is not None:
            self.memory[servername] = found.seen
        return found.told

    def _refuse_direct_clients(self, servername: str) -> None:
        seen = self.memory.get(servername)
        if seen:
            raise PluginError(
                f"clients_only_via_proxies is set, but {servername} was seen to have direct clients: {', '.join(seen)}"
            )

    async def _at_each(
        self, gates: Mapping[str, Gate], act: Callable[[str], Awaitable[None]], *, share: float = _SHARE
    ) -> Result:
        async def at(server: Server) -> Result:
            await act(server.name)
            return self.success()

        servers = [self.server(name) for name in gates]
        return together(await on_each(servers, at, limit_s=self.call.left_s() * share, acts=True), "are done")
