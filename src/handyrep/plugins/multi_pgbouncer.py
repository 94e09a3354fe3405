"""multi_pgbouncer: points every pgbouncer at the right servers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from pathlib import Path

from handyrep.directives import boolean, choice, list_of, path, text, word
from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, PluginError
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._bouncer_config import Target, render, targets
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words
from handyrep.ports import Login, Row, RunAs

_ADMIN_DB = "pgbouncer"


class multi_pgbouncer(handyrepplugin):
    """Manages the connection lists of all enabled servers of role pgbouncer.

    Does: run() renders pgbouncer.ini from the template, reads it back, replaces the file in one step, makes it take effect and
    reads from every pgbouncer where it leads now. init() the same outside a failover, for one or all. poll() logs in through it.
    block() KILLs every database (clients wait), unblock() RESUMEs. Names with readonly_suffix lead to a replica that is healthy
    (or lagged), with all_replicas to each, numbered; to the master when there is none.
    Touches on the server: config_location; the running pgbouncer through its admin console.
    Needs: SSH; pgbouncer's admin console for pgbouncer_admin_user; the template. A '*' database is refused.
    Safe to repeat?: yes.
    When it cannot tell: a pgbouncer that does not answer makes the result UNCERTAIN, and its name is told: it may still lead to the
    old master. How it takes effect (refresh): restart is the online restart (-R) that 2014 made, which leaves old sessions where they
    are; reload is RELOAD; auto is KILL, RELOAD, RESUME: sessions on the old master end, new ones go to the new one.
    Options: pgbouncerbin, template, owner, config_location, database_list, readonly_suffix, all_replicas, extra_connect_param, refresh.
    """

    kinds = (Kind.CONNECTION_FAILOVER,)
    pgbouncerbin = option(
        path, "/usr/sbin/pgbouncer", "full path of pgbouncer on its servers; used by refresh = restart"
    )
    template = option(text, "pgbouncer.ini.j2", "template of pgbouncer.ini, in templates_dir or HandyRep's own")
    owner = option(word, "postgres", "system account that runs pgbouncer and owns its files")
    config_location = option(path, "/etc/pgbouncer/pgbouncer.ini", "full path of pgbouncer.ini")
    database_list = option(list_of(text), ("postgres",), "every database to which pgbouncer offers connections")
    readonly_suffix = option(text, "_ro", "suffix of the names that lead to a replica; blank: _ro")
    all_replicas = option(boolean, False, "a read-only name for every replica, numbered, instead of one")
    extra_connect_param = option(text, "", "added to every database's connection string")
    refresh = option(choice("auto", "restart", "reload"), "auto", "how a new pgbouncer.ini takes effect")

    async def run(self, newmaster: str | None = None) -> Result:  # type: ignore[override] # the contract of its kind
        """Point every pgbouncer at `newmaster`, or at the recorded master."""
        return await self._rewrite(newmaster, self.bouncers())

    async def init(self, bouncerserver: str | None = None) -> Result:
        """Write one pgbouncer's configuration, or all."""
        chosen = [one for one in self.bouncers() if bouncerserver in (None, one.name)]
        if not chosen:
            return self.fail(f"{bouncerserver or 'nothing'} is not an enabled server of role pgbouncer")
        return await self._rewrite(None, chosen)

    async def poll(self, bouncerserver: str | None = None) -> Result:
        """Log in through one pgbouncer, or all, as handyrep_user to handyrep_db."""
        chosen = [one for one in self.bouncers() if bouncerserver in (None, one.name)]
        if not chosen:
            return self.fail(f"{bouncerserver or 'nothing'} is not an enabled server of role pgbouncer")
        said = await self._on_each(chosen, self._logged_in)
        up = {name: problem == "" for name, problem in said.items()}
        return self._answer(said, "lets people in", servers=up)

    async def block(self) -> Result:
        """Hold clients back at every pgbouncer and cut their server connections."""
        return self._answer(await self._on_each(self.bouncers(), self._killed), "is blocked")

    async def unblock(self) -> Result:
        """Let clients on."""
        return self._answer(await self._on_each(self.bouncers(), self._resumed), "lets clients on")

    async def test(self) -> Result:
        """FAIL when a template does not render, or a pgbouncer's file or console cannot be reached."""
        try:
            self._text(self.master().name, Server(name="test", hostname="test"))
        except HandyRepError as error:
            return self.fail(str(error))
        return self._answer(await self._on_each(self.bouncers(), self._usable), "can be managed")

    def bouncers(self) -> list[Server]:
        """The pgbouncers this plugin manages."""
        return [member.server for member in self.cluster.by_role(Role.PGBOUNCER)]

    async def _rewrite(self, newmaster: str | None, chosen: list[Server]) -> Result:
        if not chosen:
            return self.success("there is no enabled server of role pgbouncer")
        try:
            master = newmaster or self.master().name
            wanted = self._targets(master)
            texts = {server.name: self._text(master, server) for server in chosen}
        except HandyRepError as error:
            return self.fail(f"nothing was pushed: {error}")

        async def one(server: Server) -> str:
            ran = await self.put_file(
                server.name, self.config_location, texts[server.name], run_as=RunAs.ROOT, mode="0640", owner=self.owner
            )
            if ran.exit_status != 0:
                return f"{self.config_location} could not be written: {last_words(ran)}"
            await self._take_effect(server)
            return await self._leads_elsewhere(server, wanted)

        return self._answer(await self._on_each(chosen, one), f"leads to {master}")

    def _targets(self, master: str) -> dict[str, Target]:
        place = self.server(master)
        fit = [
            m for m in self.cluster.replicas if m.name != master and m.status.health in (Health.HEALTHY, Health.LAGGED)
        ]
        fit.sort(key=lambda m: (m.status.health, m.server.failover_priority, m.name))
        readers = tuple((m.server.client_address, m.server.port) for m in fit)
        return targets(
            self.database_list, (place.client_address, place.port), readers,
            suffix=self.readonly_suffix, all_replicas=self.all_replicas,
        )  # fmt: skip

    def _text(self, master: str, bouncer: Server) -> str:
        values = {
            "cluster_name": self.cluster.name,
            "epoch": self.cluster.epoch,
            "port": bouncer.port,
            "admin_user": self.settings.passwords.pgbouncer_admin_user or self.settings.handyrep.handyrep_user,
            "pidfile": f"{self.config_location}.pid",
        }
        return render(self._template(), self._targets(master), self.extra_connect_param, values)

    def _template(self) -> str:
        folder = self.settings.handyrep.templates_dir
        if Path(self.template).name != self.template:
            raise PluginError(f"template {self.template!r} must be the name of a file in templates_dir")
        own = Path(folder) / self.template if folder else None
        try:
            if own is not None and own.is_file():
                return own.read_text(encoding="utf-8")
            return (files("handyrep") / "templates" / self.template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PluginError(f"the template {self.template} cannot be read: {error}") from None

    async def _take_effect(self, server: Server) -> None:
        """Make the running pgbouncer read its new file. Raises NoAnswerError, DatabaseError."""
        if self.refresh == "restart":
            ran = await self.use_account(server, self.pgbouncerbin, "-d", "-R", self.config_location)
            if ran:
                raise DatabaseError(f"the online restart failed: {ran}", server=server.name)
            return
        names = await self._names(server) if self.refresh == "auto" else []
        for name in names:
            await self._console(server, f"KILL {_quoted(name)}")
        await self._console(server, "RELOAD")
        for name in names:
            await self._console(server, f"RESUME {_quoted(name)}")

    async def use_account(self, server: Server, *argv: str) -> str:
        """Run a program as the account that runs pgbouncer; what it said when it failed, or ''."""
        ran = await self.run_as_root(server.name, "runuser", "-u", self.owner, "--", *argv)
        return "" if ran.exit_status == 0 else last_words(ran)

    async def _leads_elsewhere(self, server: Server, wanted: dict[str, Target]) -> str:
        """Read back where its names lead; what is wrong, or ''."""
        rows = await self._console(server, "SHOW DATABASES")
        found = {
            row["name"]: Target(row["host"] or "", int(row["port"]), row["database"])
            for row in rows
            if row["name"] != _ADMIN_DB
        }
        wrong = sorted(name for name, target in wanted.items() if found.get(name) != target)
        return f"it does not lead where it should for {', '.join(wrong)}" if wrong else ""

    async def _names(self, server: Server) -> list[str]:
        rows = await self._console(server, "SHOW DATABASES")
        return [row["name"] for row in rows if row["name"] != _ADMIN_DB]

    async def _killed(self, server: Server) -> str:
        for name in await self._names(server):
            await self._console(server, f"KILL {_quoted(name)}")
        left = [row for row in await self._console(server, "SHOW SERVERS") if row["database"] != _ADMIN_DB]
        return f"{len(left)} server connections are left" if left else ""

    async def _resumed(self, server: Server) -> str:
        for name in await self._names(server):
            await self._console(server, f"RESUME {_quoted(name)}")
        return ""

    async def _logged_in(self, server: Server) -> str:
        await self.query(server.name, "select 1", fresh=True, timeout_s=self.settings.failover.call_timeout)
        return ""

    async def _usable(self, server: Server) -> str:
        ran = await self.run_as_root(server.name, "test", "-w", str(Path(self.config_location).parent))
        if ran.exit_status != 0:
            return f"the folder of {self.config_location} cannot be written: {last_words(ran)}"
        await self._console(server, "SHOW VERSION")
        return ""

    async def _console(self, server: Server, command: str) -> tuple[Row, ...]:
        return await self.query(server.name, command, login=Login.BOUNCER_ADMIN, database=_ADMIN_DB)

    async def _on_each(self, chosen: Iterable[Server], act: Callable[[Server], Awaitable[str]]) -> dict[str, str]:
        """What is wrong with each, '' for nothing; all at once."""

        async def contained(server: Server) -> tuple[str, str]:
            try:
                return server.name, await act(server)
            except DatabaseError as error:
                return server.name, f"it answered with an error: {error.what}"
            except NoAnswerError as error:
                return server.name, f"no answer: {error.what}"

        return dict(await asyncio.gather(*(contained(server) for server in chosen)))

    def _answer(self, said: dict[str, str], well: str, **extra: object) -> Result:
        ill = {name: problem for name, problem in said.items() if problem}
        if not ill:
            return self.success(f"{', '.join(said) or 'no pgbouncer'} {well}", **extra)
        words = "; ".join(f"{name}: {problem}" for name, problem in ill.items())
        unheard = any(problem.startswith("no answer") for problem in ill.values())
        return (self.uncertain if unheard else self.fail)(words, bouncers=json.loads(json.dumps(said)), **extra)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
