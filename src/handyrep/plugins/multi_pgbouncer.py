"""multi_pgbouncer: points every pgbouncer at the right servers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import PurePosixPath

from handyrep.directives import boolean, choice, list_of, path, text, word
from handyrep.errors import HandyRepError, NoAnswerError, PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._at_once import on_each, together
from handyrep.plugins._bouncer_change import Change, not_as
from handyrep.plugins._bouncer_config import File, Target, render, targets, template_from
from handyrep.plugins._bouncer_console import Console, is_alone, objection
from handyrep.plugins._bouncer_gate import Gate
from handyrep.plugins._bouncer_host import BouncerHost, is_ours
from handyrep.plugins._bouncer_places import leads_to, place_of, places, readers
from handyrep.plugins._templates import Template, find_template
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

_CALLS_PER_BOUNCER = 20
"""So many times call_timeout may one pgbouncer take: one that does not answer must not hold up a failover for long."""


class multi_pgbouncer(handyrepplugin):
    """Manages the connection lists of all enabled servers of role pgbouncer.

    Does: run() renders pgbouncer.ini from the template, reads what came out as pgbouncer would, replaces the file in one step, makes
    it take effect and reads from every pgbouncer's console that it leads to the new master now; init() the same outside a failover,
    for one or all; poll() logs in through it as handyrep_user to handyrep_db; block() adds lines to pgbouncer.ini by which every name
    that leads to the cluster leads nowhere, for a pgbouncer that restarts, and KILLs these names, so that clients wait; unblock() takes
    the lines away and RESUMEs. Names with readonly_suffix lead to a replica, healthy before lagged, lower
    failover_priority first; with all_replicas to each of them, numbered; to the master when there is none.
    How a new file takes effect: refresh = auto is RELOAD, then KILL and RESUME of those names only that have clients at an old place,
    so that no session on the old master lives on, and nobody else notices. restart is the online restart (pgbouncer -R) of 2014; the
    new process hands old sessions to new clients, so the same KILL and RESUME follow; where systemd runs pgbouncer it ends the service.
    reload is RELOAD alone: clients keep their sessions at the old place for as long as they like, and are told of.
    2014's overwrote whatever file was there. This one overwrites a file that HandyRep did not write only with a template of your own
    (in templates_dir), and offers one made from that file; what stands in a template beside [databases] is yours.
    Touches on the server: config_location, owned by owner, mode 0640; the running pgbouncer through its admin console. At the end of
    the file stands a database handyrep_file that leads nowhere: by it HandyRep sees that the file was read to its end.
    Needs: SSH as owner or root; the console for pgbouncer_admin_user; database_list; handyrep_db in it for poll(). The template must
    not offer a database '*', and pgbouncer must not use so_reuseport: neither can be held back, so both are refused.
    Safe to repeat?: yes: sessions that are where they belong are left alone.
    When it cannot tell: a pgbouncer that does not answer makes the result UNCERTAIN, with its name: it may still lead to the old
    master. Its file is written all the same if its host answers. One that is reached and leads elsewhere is a FAIL.
    Options: pgbouncerbin, template, owner, config_location, database_list, readonly_suffix, all_replicas, extra_connect_param, refresh.
    """

    kinds = (Kind.CONNECTION_FAILOVER,)
    pgbouncerbin = option(
        path, "/usr/sbin/pgbouncer", "full path of pgbouncer on its servers, used by refresh = restart"
    )
    template = option(text, "pgbouncer.ini.j2", "template of pgbouncer.ini: a file in templates_dir, or HandyRep's own")
    owner = option(word, "postgres", "system account that runs pgbouncer and owns its files")
    config_location = option(path, "/etc/pgbouncer/pgbouncer.ini", "full path of pgbouncer.ini")
    database_list = option(
        list_of(text), (), "every database to which pgbouncer is to offer connections", required=True
    )
    readonly_suffix = option(text, "_ro", "suffix of the names that lead to a replica")
    all_replicas = option(
        boolean, False, "a read-only name for every replica, numbered from 1, instead of one for all of them"
    )
    extra_connect_param = option(text, "", "added to the connection string of every database, such as 'user=app'")
    refresh = option(choice("auto", "restart", "reload"), "auto", "how a new pgbouncer.ini takes effect")

    async def run(self, newmaster: str | None = None) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when every pgbouncer was seen to lead to `newmaster`, or to the recorded master."""
        return await self._rewritten(newmaster, None)

    async def init(self, bouncerserver: str | None = None) -> Result:
        """Write one pgbouncer's configuration, or all. `template` in the RD: one made from the file that is there."""
        return await self._rewritten(None, bouncerserver)

    async def poll(self, bouncerserver: str | None = None) -> Result:
        """SUCCESS when each lets people in; servers tells which do."""
        try:
            said = await self._on_each(self._chosen(bouncerserver), self._logged_in, acts=False)
        except PluginError as error:
            return self.fail(str(error))
        up = {name: result.outcome is Outcome.SUCCESS for name, result in said.items()}
        return together(said, "lets people in", servers=up)

    async def block(self) -> Result:
        """SUCCESS when no pgbouncer has a session left at a server of the cluster, and new clients wait."""
        return await self._at_all_consoles(self._blocked, "holds its clients back")

    async def unblock(self) -> Result:
        """Let clients on at every pgbouncer that leads to the recorded master."""
        return await self._at_all_consoles(self._unblocked, "lets its clients on")

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the file cannot be rendered or written, or a console cannot be used."""
        try:
            master, chosen = self.master().name, self._chosen(servername)
            if self.settings.handyrep.handyrep_db not in self.database_list:
                return self.fail(f"poll() logs in to {self.settings.handyrep.handyrep_db}: add it to database_list")
            plans = {server.name: self._plan(master, server) for server in chosen}
            for replica in self.cluster.replicas:
                _ = [self._plan(replica.name, server) for server in chosen]
        except HandyRepError as error:
            return self.fail(str(error))
        said = await self._on_each(chosen, lambda server: self._usable(server, plans[server.name]), acts=False)
        return together(said, "can be managed")

    def bouncers(self) -> list[Server]:
        """The pgbouncers this plugin manages. Raises PluginError when that is not clear."""
        return [member.server for member in self.cluster.by_role(Role.PGBOUNCER)]

    def gate(self, server: Server, leads: Callable[[Target], bool]) -> Gate:
        """What holds clients back at this pgbouncer, of the names of which `leads` is true."""
        return Gate(self._host(server), self._console(server), self.config_location, leads)

    def _chosen(self, bouncerserver: str | None) -> list[Server]:
        found = [server for server in self.bouncers() if bouncerserver in (None, server.name)]
        if not found and bouncerserver is not None:
            raise PluginError(f"{bouncerserver} is not an enabled server of role pgbouncer")
        return found

    async def _rewritten(self, newmaster: str | None, bouncerserver: str | None) -> Result:
        """Everything that can be known to be wrong is found before the first pgbouncer is touched."""
        try:
            master, chosen = newmaster or self.master().name, self._chosen(bouncerserver)
            plans = {server.name: self._plan(master, server) for server in chosen}
        except HandyRepError as error:
            return self.fail(f"no pgbouncer was touched: {error}")
        said = await self._on_each(chosen, lambda server: self._rewrite(server, plans[server.name]))
        return together(said, f"leads to {master}", master=master)

    def _plan(self, master: str, bouncer: Server) -> File:
        wanted = targets(
            self.database_list,
            place_of(self.server(master)),
            readers(self.cluster, master),
            suffix=self.readonly_suffix,
            all_replicas=self.all_replicas,
        )
        values = {
            "cluster_name": self.cluster.name,
            "epoch": self.cluster.epoch,
            "master": master,
            "port": bouncer.port,
            "admin_user": self.settings.passwords.pgbouncer_admin_user or self.settings.handyrep.handyrep_user,
            "folder": str(PurePosixPath(self.config_location).parent),
        }
        return render(self._template().text, wanted, self.extra_connect_param, values, places(self.cluster, bouncer))

    def _template(self) -> Template:
        return find_template(self.template, self.settings.handyrep.templates_dir)

    async def _rewrite(self, server: Server, plan: File) -> Result:
        """Nothing is pushed to a pgbouncer that would not take it; one that is away finds its file when it is back."""
        refused, heard = await asyncio.gather(self._objection(server, plan), self._heard(server))
        if refused is not None:
            return refused
        if isinstance(heard, Result):
            return heard
        ran = await self._host(server).put(plan.text)
        if ran.exit_status != 0:
            return self.fail(f"{self.config_location} could not be replaced: {last_words(ran)}")
        try:
            if isinstance(heard, NoAnswerError):
                raise heard
            return await self._change(server).take_effect(plan)
        except NoAnswerError as error:
            return self.uncertain(
                f"{self.config_location} is written; whether pgbouncer runs, and where it leads, is not known: {error.what}"
            )

    async def _heard(self, server: Server) -> Result | NoAnswerError | None:
        """A FAIL when its console answers and would not serve; the error when it does not answer."""
        try:
            why = await objection(self._console(server), self.config_location)
        except NoAnswerError as error:
            return error
        return self.fail(f"{why}: nothing was pushed") if why else None

    async def _objection(self, server: Server, plan: File) -> Result | None:
        """A FAIL when this file must not be put there."""
        host = self._host(server)
        foreign, can_log, trial = await asyncio.gather(
            self._foreign(server), host.can_log(plan.logfile), host.tried(plan.text, self.pgbouncerbin)
        )
        if foreign is not None:
            return foreign
        if not can_log:
            return self.fail(f"{self.owner} cannot write {plan.logfile}: reloading would end a pgbouncer that runs")
        if trial.refused:
            return self.fail(f"pgbouncer does not take what the template gives, so nothing was pushed: {trial.refused}")
        return None

    async def _foreign(self, server: Server) -> Result | None:
        """A FAIL when a file that HandyRep did not write stands where its own template would replace it."""
        if self._template().is_own:
            return None
        ran = await self._host(server).read()
        if ran.exit_status == 0 and is_ours(ran.stdout):
            return None
        if ran.exit_status != 0:
            return self.fail(f"{self.config_location} cannot be read: {last_words(ran)}")
        return self.fail(
            f"{self.config_location} was not written by HandyRep and is left as it is. Keep `template` of this answer as"
            f" {self.template} in templates_dir, look it over, and try again",
            template=template_from(ran.stdout),
        )

    async def _at_all_consoles(self, act: Callable[[Server], Awaitable[Result]], well: str) -> Result:
        try:
            return together(await self._on_each(self._chosen(None), act), well)
        except PluginError as error:
            return self.fail(str(error))

    async def _blocked(self, server: Server) -> Result:
        gate = self._gate_to_the_cluster(server)
        view = await gate.look()
        await gate.shut(view)
        await gate.cut(view)
        return self.success(f"{len(view.names)} names are held back")

    async def _unblocked(self, server: Server) -> Result:
        """A name that leads to another server than the recorded master must stay held back."""
        gate, master = self._gate_to_the_cluster(server), self.master()
        leads = await gate.leads_when_open()
        if any(target.place != place_of(master) for name in self.database_list for target in leads.get(name, ())):
            return self.fail(f"it does not lead to {master.name}, so its clients still wait")
        await gate.open()
        return self.success()

    def _gate_to_the_cluster(self, server: Server) -> Gate:
        ours = places(self.cluster, server)
        return self.gate(server, lambda target: leads_to(target, ours))

    async def _logged_in(self, server: Server) -> Result:
        await self.query(server.name, "select 1", fresh=True, timeout_s=self.settings.failover.call_timeout)
        return self.success()

    async def _usable(self, server: Server, plan: File) -> Result:
        refused = await self._objection(server, plan)
        if refused is not None:
            return refused
        ran = await self._host(server).can_put()
        if ran.exit_status != 0:
            return self.fail(f"the folder of {self.config_location} cannot be written: {last_words(ran)}")
        console = self._console(server)
        why = await objection(console, self.config_location)
        if why:
            return self.fail(why)
        if not await is_alone(console):
            return self.fail("it uses so_reuseport: HandyRep would reach only one of its processes")
        wrong = not_as(plan.databases, await console.databases())
        return self.success(
            "" if not wrong else "its file is not HandyRep's newest: run: handyrep connection-proxy-init"
        )

    def _host(self, server: Server) -> BouncerHost:
        return BouncerHost(self, server, self.owner, self.config_location)

    def _change(self, server: Server) -> Change:
        restart = (self.pgbouncerbin, "-d", "-R", self.config_location)
        return Change(self._host(server), self._console(server), self.call.world.clock, self.refresh, restart)

    def _console(self, server: Server) -> Console:
        return Console(self, server, self.settings.failover.call_timeout, fresh=self.refresh == "restart")

    async def _on_each(
        self, chosen: Iterable[Server], act: Callable[[Server], Awaitable[Result]], *, acts: bool = True
    ) -> dict[str, Result]:
        limit_s = self.settings.failover.call_timeout * _CALLS_PER_BOUNCER
        return await on_each(chosen, act, limit_s=limit_s, acts=acts)
