"""multi_pgbouncer: points every pgbouncer at the right servers."""

import math
from collections.abc import Awaitable, Callable

from handyrep.directives import boolean, choice, list_of, path, service, text, word
from handyrep.errors import HandyRepError, NoAnswerError, PluginError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._at_once import together
from handyrep.plugins._bouncer_before import Before, longest_failover_s
from handyrep.plugins._bouncer_change import Change
from handyrep.plugins._bouncer_config import File
from handyrep.plugins._bouncer_console import Console
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins._bouncer_places import place_of, places, places_of_others, readable
from handyrep.plugins._bouncer_plan import plans_of, template_of
from handyrep.plugins._held_back_at_bouncers import brought_to, holds_back_at_bouncers
from handyrep.plugins._proxies_told import led, let_in
from handyrep.plugins.handyrepplugin import last_words

SUCCESS = Outcome.SUCCESS
_JUST_S = 5.0
"""So old may a file be that bring() has put there."""


class multi_pgbouncer(holds_back_at_bouncers):
    """Manages the connection lists of all enabled servers of role pgbouncer.

    Does: run() renders pgbouncer.ini from the template, reads what came out as pgbouncer would, lets the host's own pgbouncerbin read it
    too, replaces the file in one step, makes it take effect and reads from every pgbouncer's console that it leads to the new master now; init() the same outside a failover,
    for one or all; hasten() lets pgbouncerbin read the file beforehand, which then counts for two and a half minutes; bring()
    replaces it while the new master is being promoted, and run() makes it take effect; poll() logs in through it as handyrep_user to handyrep_db; block() adds lines to pgbouncer.ini by which every name
    that leads to the cluster leads nowhere, for a pgbouncer that restarts, and KILLs these names, so that clients wait; pause() does the
    same with PAUSE, so that transactions come to their end, for a switchover; unblock() takes the lines away and RESUMEs. Names with readonly_suffix lead to a healthy replica, the one of lowest
    failover_priority; with all_replicas to each of them, numbered; to the master when there is none. leads() sees whether they still
    do: when a replica goes beyond its lag_limit, fails, or is fit again, HandyRep calls run(). Then a reader on a live replica keeps
    its session until it lets go of it (with server_fast_close: until its transaction ends).
    How a new file takes effect: refresh = auto is RELOAD, then KILL and RESUME of those names only that have clients at an old place,
    so that no session on the old master lives on, and nobody else notices. restart is the online restart (pgbouncer -R) of 2014; the
    new process hands old sessions to new clients, so the same KILL and RESUME follow; where systemd runs pgbouncer it ends the service.
    reload is RELOAD alone: clients keep their sessions at the old place for as long as they like, and are told of.
    2014's overwrote whatever file was there. This one overwrites a file that HandyRep did not write only with a template of your own
    (in templates_dir), and offers one made from that file; what stands in a template beside [databases] is yours.
    Touches on the server: config_location, owned by owner, mode 0640; the running pgbouncer through its admin console. At the end of
    the file stands a database handyrep_file that leads nowhere: by it HandyRep sees that the file was read to its end.
    pgbouncerbin reads a copy in the folder for temporary files, under the name of no account, so that it ends before it opens anything.
    test() tells of a query_wait_timeout by which clients are given up while a failover may still be under way.
    Needs: SSH as owner or root; the console for pgbouncer_admin_user; database_list; handyrep_db in it for poll(). The template must
    not offer a database '*', and pgbouncer must not use so_reuseport: neither can be held back, so both are refused.
    Safe to repeat?: yes: sessions that are where they belong are left alone.
    When it cannot tell: a pgbouncer that does not answer makes the result UNCERTAIN, with its name: it may still lead to the old
    master. Its file is written all the same if its host answers. One that is reached and leads elsewhere is a FAIL. Nothing is pushed where
    it would not be taken: a template that fails, a file that pgbouncer refuses, a console that does not let HandyRep in. Where
    pgbouncerbin is not there, only what is read back tells.
    Options: pgbouncerbin, template, owner, config_location, database_list, readonly_suffix, all_replicas, extra_connect_param, refresh, service_name.
    """

    kinds = (Kind.CONNECTION_FAILOVER,)
    pgbouncerbin = option(
        path,
        "/usr/sbin/pgbouncer",
        "full path of pgbouncer on its servers: it tries each new file, and refresh = restart uses it",
    )
    service_name = option(service, "pgbouncer", "its service, started again when it has failed; blank: never")
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
        return let_in(said)

    async def leads(self) -> Result:
        """SUCCESS when each that answers leads where run() would lead it now; behind tells of those that do not."""
        try:
            master, chosen = self.master(), self._chosen(None)
            plans = plans_of(self, master.name, chosen)
        except HandyRepError as error:
            return self.fail(str(error))

        async def looked(server: Server) -> Result:
            ours, others = places(self.cluster, server), places_of_others(self.cluster, server, master)
            return self.success(await self._before(server).astray(plans[server.name], ours, others))

        said = await self._on_each(chosen, looked, acts=False)
        return led(said)

    async def hasten(self, newmaster: str) -> Result:
        """Let each pgbouncer's host try the file that run() is to put there: what it takes is not tried again for a moment."""

        async def tried(server: Server, plan: File) -> Result | None:
            return await self._before(server).objection(plan)

        return await self._beforehand(newmaster, tried, "takes its next file", acts=False)

    async def bring(self, newmaster: str) -> Result:
        """Put the file there that run() is to put, and let no pgbouncer read it yet."""

        async def brought(server: Server, plan: File) -> Result | None:
            why_not, away = await self._before(server).refusal(plan)
            if why_not is None and away is not None:
                raise away
            if why_not is None:
                why_not = await self._put(server, plan)
            if why_not is None:
                self.memory[brought_to(server)] = plan.text, self.call.world.clock.monotonic()
            return why_not

        return await self._beforehand(newmaster, brought, "has its next file", acts=True)

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the file cannot be rendered or written, or a console cannot be used."""
        try:
            master, chosen = self.master().name, self._chosen(servername)
            if self.settings.handyrep.handyrep_db not in self.database_list:
                return self.fail(f"poll() logs in to {self.settings.handyrep.handyrep_db}: add it to database_list")
            plans = plans_of(self, master, chosen)
            for replica in self.cluster.replicas:
                _ = plans_of(self, replica.name, chosen)
        except HandyRepError as error:
            return self.fail(str(error))
        longest_s = longest_failover_s(self.settings.failover)
        looked = await self._on_each(
            chosen, lambda server: self._before(server).usable(plans[server.name], longest_s), acts=False
        )
        told = [f"{name}: {one.details}" for name, one in looked.items() if one.outcome is SUCCESS and one.details]
        return together(looked, "can be managed", warnings=told)

    def _bouncers(self) -> list[Server]:
        """The pgbouncers this plugin manages. Raises PluginError when that is not clear."""
        return [member.server for member in self.cluster.by_role(Role.PGBOUNCER)]

    async def _beforehand(
        self, newmaster: str, act: Callable[[Server, File], Awaitable[Result | None]], well: str, *, acts: bool
    ) -> Result:
        """`act` at each, with the file it is to have under this master; what it gives is why that was not done."""
        try:
            chosen = self._chosen(None)
            plans = plans_of(self, newmaster, chosen)
        except HandyRepError as error:
            return self.fail(str(error))

        async def acted(server: Server) -> Result:
            why_not = await act(server, plans[server.name])
            return self.success() if why_not is None else why_not

        return together(await self._on_each(chosen, acted, acts=acts), well)

    async def _rewritten(self, newmaster: str | None, bouncerserver: str | None) -> Result:
        """Everything that can be known to be wrong is found before the first pgbouncer is touched."""
        try:
            master, chosen = newmaster or self.master().name, self._chosen(bouncerserver)
            plans = plans_of(self, master, chosen)
        except HandyRepError as error:
            return self.fail(f"no pgbouncer was touched: {error}")
        said = await self._on_each(chosen, lambda server: self._rewrite(server, plans[server.name]))
        return together(said, f"leads to {master}", master=master)

    async def _rewrite(self, server: Server, plan: File) -> Result:
        """Nothing is pushed to a pgbouncer that would not take it; one that is away finds its file when it is back."""
        text, at_s = self.memory.pop(brought_to(server), ("", -math.inf))
        if text == plan.text and self.call.world.clock.monotonic() - at_s <= _JUST_S:
            return await self._read(server, plan)
        before = self._before(server)
        why_not, away = await before.refusal(plan)
        if why_not is None:
            why_not = await self._put(server, plan)
        if why_not is not None:
            return why_not
        if away is not None and not await before.revived(self.service_name, self.call.world.clock):
            return self._is_away(away)
        return await self._read(server, plan)

    async def _read(self, server: Server, plan: File) -> Result:
        """Let it use the file that was put there."""
        try:
            return await self._change(server, plan).take_effect(plan)
        except NoAnswerError as error:
            return self._is_away(error)

    def _is_away(self, error: NoAnswerError) -> Result:
        told = (
            f"{self.config_location} is written; whether pgbouncer runs, and where it leads, is not known: {error.what}"
        )
        return self.uncertain(told)

    async def _put(self, server: Server, plan: File) -> Result | None:
        """A FAIL when it could not be."""
        ran = await self._host(server).put(plan.text)
        return (
            self.fail(f"{self.config_location} could not be replaced: {last_words(ran)}") if ran.exit_status else None
        )

    async def _unblocked(self, server: Server) -> Result:
        """A name that leads to another server than the recorded master must stay held back."""
        gate, master = self._gate_to_the_cluster(server), self.master()
        leads = await gate.leads_when_open()
        if any(target.place != place_of(master) for name in self.database_list for target in leads.get(name, ())):
            return self.fail(f"it does not lead to {master.name}, so its clients still wait")
        await gate.open()
        return self.success()

    async def _logged_in(self, server: Server) -> Result:
        await self.query(server.name, "select 1", fresh=True, timeout_s=self.settings.failover.call_timeout)
        return self.success()

    def _before(self, server: Server) -> Before:
        template = "" if template_of(self).is_own else self.template
        host, console = self._host(server), self._console(server)
        return Before(host, console, self.config_location, self.owner, self.pgbouncerbin, template)

    def _host(self, server: Server) -> BouncerHost:
        return BouncerHost(self, server, self.owner, self.config_location)

    def _file(self) -> str:
        return self.config_location

    def _change(self, server: Server, plan: File) -> Change:
        restart = (self.pgbouncerbin, "-d", "-R", self.config_location)
        host, console, clock = self._host(server), self._console(server), self.call.world.clock
        may_end = dict.fromkeys(plan.databases.keys() - set(self.database_list), readable(self.cluster))
        return Change(host, console, clock, self.refresh, restart, may_end)

    def _console(self, server: Server) -> Console:
        return Console(self, server, self.settings.failover.call_timeout, fresh=self.refresh == "restart")
