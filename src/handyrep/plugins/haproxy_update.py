"""haproxy_update: leads the clients of every HAProxy to the right servers."""

from collections.abc import Awaitable, Callable, Iterator

from handyrep.directives import integer, path, text, word
from handyrep.errors import HandyRepError, NoAnswerError, PluginError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._at_once import on_each, together
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins._bouncer_places import place_of, places, readable, readers
from handyrep.plugins._haproxy_change import Change, differs, not_as
from handyrep.plugins._haproxy_config import Plan, Slot, State, nobody, plan_of, render, servers_of
from handyrep.plugins._haproxy_console import MasterSocket
from handyrep.plugins._proxies_told import led, let_in
from handyrep.plugins._templates import Template, find_template
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

SUCCESS = Outcome.SUCCESS
_CALLS_PER_PROXY = 20
"""So many times call_timeout may one HAProxy take: one that does not answer must not hold up a failover for long."""


class haproxy_update(handyrepplugin):
    """Manages who gets the clients of all enabled servers of role proxy, on each of which HAProxy runs.

    Does: run() renders haproxy.cfg from the template, reads what came out, lets the host's own HAProxy check it, replaces the file in one
    step, and tells the running HAProxy through its master socket: first nobody gets to the servers that are not the master, and all
    sessions there end, also those that old workers have since a reload; then clients get to the master. It is reloaded only where it
    does not know a server yet, or the template tells something new. Then it is read from HAProxy that this is so. init() does the
    same outside a failover, for one or all. Two sections: in master_section the master gets clients, at the port of the server; in
    readers_section, at readonly_port, every healthy replica (none beyond its lag_limit), or the master when there is none. A live replica
    that lags gets no new readers; those that are there may stay (DRAIN). leads() sees whether all this still is so; poll() logs in through
    it as handyrep_user; block() lets nobody to any server: clients are refused, for HAProxy lets nobody wait. There is no pause() either.
    HAProxy's own look at the servers stays on top (pgsql-check in HandyRep's own template): it parts with a dead server within seconds,
    also while no HandyRep runs.
    It overwrites a file that HandyRep did not write only with a template of your own (in templates_dir).
    Touches on the server: config_location, owned by owner, mode 0640; the running HAProxy. haproxybin reads a copy in the folder for
    temporary files.
    Needs: SSH as owner or root; socat on the proxies; HAProxy 2.4 or later, started with -W and -S master_socket, as Debian does. The
    template must give the two sections only the servers of the plan, and no server of the cluster to any other.
    Safe to repeat?: yes: sessions that are where they belong are left alone.
    When it cannot tell: a HAProxy that does not answer makes the result UNCERTAIN, with its name: it may still lead to the old master.
    Its file is written all the same if its host answers. One that is reached and leads elsewhere is a FAIL. Nothing is pushed where it
    would not be taken.
    Options: haproxybin, template, owner, config_location, master_socket, master_section, readers_section, readonly_port, extra_server_param.
    """

    kinds = (Kind.CONNECTION_FAILOVER,)
    haproxybin = option(path, "/usr/sbin/haproxy", "full path of HAProxy on its servers: it checks each new file")
    template = option(text, "haproxy.cfg.j2", "template of haproxy.cfg: a file in templates_dir, or HandyRep's own")
    owner = option(word, "root", "system account that owns haproxy.cfg and may use the master socket")
    config_location = option(path, "/etc/haproxy/haproxy.cfg", "full path of haproxy.cfg")
    master_socket = option(path, "/run/haproxy-master.sock", "HAProxy's master socket (its -S)")
    master_section = option(word, "handyrep_master", "listen or backend section whose clients get to the master")
    readers_section = option(word, "handyrep_readers", "listen or backend section whose clients get to replicas")
    readonly_port = option(integer(1, 65535), 5433, "port of the readers, for the template")
    extra_server_param = option(text, "", "added to the line of every server, such as 'maxconn 100'")

    async def run(self, newmaster: str | None = None) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when every HAProxy was seen to lead to `newmaster`, or to the recorded master."""
        return await self._rewritten(newmaster, None)

    async def init(self, bouncerserver: str | None = None) -> Result:
        """Write one HAProxy's configuration, or all."""
        return await self._rewritten(None, bouncerserver)

    async def poll(self, bouncerserver: str | None = None) -> Result:
        """SUCCESS when each lets people in; servers tells which do."""
        try:
            said = await self._on_each(bouncerserver, self._logged_in, acts=False)
        except PluginError as error:
            return self.fail(str(error))
        return let_in(said)

    async def leads(self) -> Result:
        """SUCCESS when each that answers leads where run() would lead it now; behind tells of those that do not."""
        try:
            plan = self._plan(self.master().name)
            said = await self._on_each(None, lambda server: self._compared(server, plan), acts=False)
        except PluginError as error:
            return self.fail(str(error))
        return led(said)

    async def block(self) -> Result:
        """SUCCESS when no HAProxy has a session left at a server of the cluster, and new clients are refused."""
        return await self._pushed(None, nobody, None, "lets nobody to any server")

    async def unblock(self) -> Result:
        """Let clients on to the recorded master."""
        return await self._rewritten(None, None)

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the file cannot be rendered, written or taken, or the master socket cannot be used."""
        try:
            plan = self._plan(self.master().name)
            for replica in self.cluster.replicas:
                self._text(self._plan(replica.name), replica.name, self._chosen(servername))
            texts = self._text(plan, self.master().name, self._chosen(servername))
            said = await self._on_each(servername, lambda s: self._usable(s, texts[s.name], plan), acts=False)
        except HandyRepError as error:
            return self.fail(str(error))
        return together(said, "can be managed")

    async def footprint(self, servername: str) -> Result:
        """haproxy.cfg, which stays, and whether it holds clients back."""
        try:
            servers = await self._in_file(servername)
        except (NoAnswerError, PluginError) as error:
            return self.fail(f"what stands in its haproxy.cfg is not known: {error.what}")
        found = []
        if servers:
            serves = "clients are led by it; it is a plain haproxy.cfg, and yours from now on"
            found = [self.trace("haproxy.cfg", self.config_location, "leads clients to the servers", stays=serves)]
        if servers and not any(servers.values()):
            where, purpose = f"section {self.master_section} of {self.config_location}", "lets nobody to an old master"
            found.append(self.trace("held clients", where, purpose))
        return self.success(traces=found)

    async def take_back(self, servername: str) -> Result:
        """Let clients on to the recorded master, if they are held back."""
        try:
            servers = await self._in_file(servername)
        except (NoAnswerError, PluginError) as error:
            return self.fail(f"what stands in its haproxy.cfg is not known: {error.what}")
        if not servers or any(servers.values()):
            return self.success()
        return await self._rewritten(None, servername)

    async def _in_file(self, servername: str) -> dict[str, bool]:
        """The servers of master_section there, and whether each gets clients; none on a server that is not managed here."""
        if servername not in [server.name for server in self._chosen(None)]:
            return {}
        ran = await self._change(self.server(servername)).host.read()
        if ran.exit_status != 0 or ran.cut:
            raise PluginError(last_words(ran))
        return servers_of(ran.stdout, self.master_section)

    def _chosen(self, name: str | None) -> list[Server]:
        found = [m.server for m in self.cluster.by_role(Role.PROXY) if name in (None, m.name)]
        if not found and name is not None:
            raise PluginError(f"{name} is not an enabled server of role proxy")
        return found

    async def _rewritten(self, newmaster: str | None, proxy: str | None) -> Result:
        return await self._pushed(newmaster, lambda plan: plan, proxy, "leads to {master}")

    async def _pushed(
        self, newmaster: str | None, planned: Callable[[Plan], Plan], proxy: str | None, well: str
    ) -> Result:
        """Everything that can be known to be wrong is found before the first HAProxy is touched."""
        try:
            master = newmaster or self.master().name
            plan = planned(self._plan(master))
            texts = self._text(plan, master, self._chosen(proxy))
        except HandyRepError as error:
            return self.fail(f"no HAProxy was touched: {error}")
        said = await self._on_each(proxy, lambda server: self._rewrite(server, texts[server.name], plan))
        return together(said, well.format(master=master), master=master)

    def _plan(self, master: str) -> Plan:
        return plan_of(_slots(self.cluster, master, self.master_section, self.readers_section))

    def _text(self, plan: Plan, master: str, proxies: list[Server]) -> dict[str, str]:
        """The file of each. Raises PluginError."""
        known = {
            "cluster_name": self.cluster.name,
            "epoch": self.cluster.epoch,
            "master": master,
            "readonly_port": self.readonly_port,
            "master_section": self.master_section,
            "readers_section": self.readers_section,
            "check_user": self.settings.handyrep.handyrep_user,
        }
        return {
            proxy.name: render(
                self._template().text,
                plan,
                {**known, "port": proxy.port, "proxy": proxy.name},
                places(self.cluster, proxy),
                self.extra_server_param,
            )
            for proxy in proxies
        }

    def _template(self) -> Template:
        return find_template(self.template, self.settings.handyrep.templates_dir)

    async def _rewrite(self, server: Server, content: str, plan: Plan) -> Result:
        change = self._change(server)
        there = await change.host.read()
        why = await change.objection(content, there)
        if why:
            return self.fail(f"{why}: nothing was pushed")
        if differs(there.stdout, content):
            self.memory[server.name] = True
        ran = await change.host.put(content)
        if ran.exit_status != 0:
            return self.fail(f"{self.config_location} could not be replaced: {last_words(ran)}")
        try:
            done = await change.take_effect(plan, anew=self.memory.get(server.name, False))
        except NoAnswerError as error:
            return self.uncertain(
                f"{self.config_location} is written; whether HAProxy runs, and where it leads, is not known: {error.what}"
            )
        if done.outcome is SUCCESS:
            self.memory.pop(server.name, None)
        return done

    async def _compared(self, server: Server, plan: Plan) -> Result:
        """Only what is in force counts: a template is pushed when somebody says so. Sections that are not there are not HandyRep's yet."""
        found = await self._change(server).socket.servers()
        if not any(section == self.master_section for section, _ in found):
            return self.success()
        wrong = not_as(plan, found)
        return self.success(f"{', '.join(wrong)} should not get what they get" if wrong else "")

    async def _usable(self, server: Server, content: str, plan: Plan) -> Result:
        change = self._change(server)
        why = await change.objection(content, await change.host.read())
        if why:
            return self.fail(why)
        ran = await change.host.can_put()
        if ran.exit_status != 0:
            return self.fail(f"the folder of {self.config_location} cannot be written: {last_words(ran)}")
        wrong = not_as(plan, await change.socket.servers())
        return self.success("it does not lead as it should: run: handyrep connection-proxy-init" if wrong else "")

    async def _logged_in(self, server: Server) -> Result:
        await self.query(server.name, "select 1", fresh=True, timeout_s=self.settings.failover.call_timeout)
        return self.success()

    def _change(self, server: Server) -> Change:
        host = BouncerHost(self, server, self.owner, self.config_location)
        socket = MasterSocket(host, self.master_socket)
        of_handyrep = not self._template().is_own
        return Change(host, socket, self.call.world.clock, self.config_location, self.haproxybin, of_handyrep)

    async def _on_each(
        self, name: str | None, act: Callable[[Server], Awaitable[Result]], *, acts: bool = True
    ) -> dict[str, Result]:
        limit_s = self.settings.failover.call_timeout * _CALLS_PER_PROXY
        return await on_each(self._chosen(name), act, limit_s=limit_s, acts=acts)


def _slots(cluster: Cluster, master: str, writing: str, reading: str) -> Iterator[Slot]:
    """Every PostgreSQL of the cluster in both sections, so that no failover needs a reload. Readers at the master may stay there."""
    if writing == reading:
        raise PluginError("master_section and readers_section must be two")
    servers = {server.name: server for server in cluster.servers if server.is_postgres}
    if master not in servers:
        raise PluginError(f"{master} is no PostgreSQL of the cluster")
    fit = readers(cluster, master) or (place_of(servers[master]),)
    may_stay = readable(cluster) | {place_of(servers[master])}
    for name, server in servers.items():
        place = place_of(server)
        yield Slot(writing, name, place, State.READY if name == master else State.MAINT)
        yield Slot(
            reading, name, place, State.READY if place in fit else State.DRAIN if place in may_stay else State.MAINT
        )
