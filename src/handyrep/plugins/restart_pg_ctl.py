"""restart_pg_ctl: starts and stops PostgreSQL with pg_ctl."""

import enum

from handyrep.directives import list_of, path, text
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._holders import DEAD
from handyrep.plugins._left_in_pgdata import START_LOG, Left
from handyrep.plugins._programs import config_options, find_program
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known

NOT_RUNNING = 3
"""What "pg_ctl status" ends with when no server runs there; 4: that is no data directory."""

_STATUS = (
    DEAD
    + """
"$1" status -D "$2" || exit
! dead "$2" || { echo "its postmaster $main is dead, and its parent has not taken note"; exit 3; }
"""
)
_START = (
    DEAD
    + """
data=$1 log=$2; shift 2
reaped "$data"
if [ -n "$log" ] && touch "$log" 2>/dev/null; then exec "$@" -l "$log" </dev/null >/dev/null 2>&1; fi
exec "$@" -l /dev/null </dev/null >/dev/null 2>&1
"""
)
"""pg_ctl's child keeps our output open unless it is sent elsewhere, and then the command would never end."""


class Runmode(enum.StrEnum):
    """What can be asked for."""

    START = "start"
    STOP = "stop"
    FASTSTOP = "faststop"
    RESTART = "restart"
    RELOAD = "reload"
    STATUS = "status"


class restart_pg_ctl(handyrepplugin):
    """Changes PostgreSQL's running state with pg_ctl, as the account that owns pgdata.

    Does: start, stop (mode fast, as pg_ctl's default), faststop (mode immediate is never used here: it is the fence's), restart, reload, status.
    Touches on the server: the PostgreSQL of pgdata. Its log while starting goes to pgdata/handyrep-start.log.
    Needs: SSH, pg_ctl. Where systemd runs PostgreSQL, restart_service is the better choice: systemd does not know what pg_ctl does.
    Safe to repeat?: yes: starting what runs and stopping what is stopped succeed.
    When it cannot tell: UNCERTAIN after an order; status is FAIL without running.
    Options: pg_ctl_path, pg_ctl_flags.
    """

    kinds = (Kind.RESTART,)
    pg_ctl_path = option(path, "", "full path of pg_ctl on the servers; blank: looked for")
    pg_ctl_flags = option(list_of(text), (), "additional flags for pg_ctl, separated by commas")

    async def run(self, servername: str, runmode: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was seen to be so."""
        if runmode not in list(Runmode):
            return self.fail(f"there is no runmode {runmode!r}: {', '.join(Runmode)}")
        server = self.server(servername)
        try:
            pg_ctl = await find_program(self, server, "pg_ctl", self.pg_ctl_path)
            before = await self._status(server, pg_ctl)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if not pg_ctl or runmode == Runmode.STATUS:
            return before if pg_ctl else self.fail("pg_ctl is not on this server: set pg_ctl_path")
        done = self._already(Runmode(runmode), before)
        return done if done is not None else await self._order(server, pg_ctl, Runmode(runmode))

    async def _status(self, server: Server, pg_ctl: str) -> Result:
        if not pg_ctl:
            return self.fail("pg_ctl is not on this server")
        ran = await self.run_as_postgres(server.name, "sh", "-c", _STATUS, "status", pg_ctl, server.pgdata)
        if ran.exit_status == 0:
            return self.success("PostgreSQL runs", running=True)
        if ran.exit_status == NOT_RUNNING:
            return self.fail("PostgreSQL does not run", running=False)
        return self.fail(f"pg_ctl status: {last_words(ran)}")

    def _already(self, runmode: Runmode, before: Result) -> Result | None:
        running = before.extra.get("running")
        if runmode is Runmode.START and running is True:
            return self.success("it runs already", running=True)
        if runmode in (Runmode.STOP, Runmode.FASTSTOP) and running is False:
            return self.success("it does not run", running=False)
        if runmode is Runmode.RELOAD and running is False:
            return self.fail("PostgreSQL does not run, so there is nothing to reload", running=False)
        return None

    async def _order(self, server: Server, pg_ctl: str, runmode: Runmode) -> Result:
        argv = self._argv(server, pg_ctl, runmode)
        if runmode in (Runmode.START, Runmode.RESTART):
            argv = ("sh", "-c", _START, "start", server.pgdata, f"{server.pgdata}/{START_LOG}", *argv)
        try:
            ran = await self.run_as_postgres(server.name, *argv)
            after = await self._status(server, pg_ctl)
        except HostKeyError as error:
            return self.fail(error.what)
        except NoAnswerError as error:
            return self.uncertain(f"pg_ctl {runmode} was ordered: {error.what}")
        return self._seen(runmode, after, last_words(ran))

    def _argv(self, server: Server, pg_ctl: str, runmode: Runmode) -> tuple[str, ...]:
        verb = "stop" if runmode is Runmode.FASTSTOP else str(runmode)
        argv = (pg_ctl, verb, "-D", server.pgdata, *self.pg_ctl_flags)
        if runmode is Runmode.RELOAD:
            return argv
        argv = (*argv, "-w", "-t", str(max(int(self.call.left_s()) - 1, 1)))
        if runmode in (Runmode.STOP, Runmode.FASTSTOP, Runmode.RESTART):
            argv = (*argv, "-m", "fast")
        outside = config_options(server)
        return (*argv, "-o", " ".join(outside)) if outside and runmode in (Runmode.START, Runmode.RESTART) else argv

    def _seen(self, runmode: Runmode, after: Result, words: str) -> Result:
        running = after.extra.get("running")
        wanted = runmode not in (Runmode.STOP, Runmode.FASTSTOP)
        if running is wanted:
            return self.success(f"{runmode} done", running=wanted)
        if running is None:
            return self.uncertain(f"{runmode} was ordered, and whether PostgreSQL runs cannot be told: {after.details}")
        return self.fail(
            f"{runmode} was ordered, and PostgreSQL {'still runs' if running else 'does not run'}: {words}",
            running=running,
        )

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when pg_ctl cannot tell the status on a server concerned."""
        names = [servername] if servername else [s.name for s in self.concerned("restart_method")]
        for name in names:
            result = await self.run(name, Runmode.STATUS)
            if "running" not in result.extra:
                return self.fail(f"{name}: {result.details}")
        return self.success(f"pg_ctl tells the status of {', '.join(names) or 'no server: none uses it'}")

    async def footprint(self, servername: str) -> Result:
        """The log of starts."""
        return await _left_in_pgdata.footprint(self, servername, self._traces)

    def _traces(self, server: Server, left: Left) -> list[dict[str, str]]:
        if START_LOG not in left.names:
            return []
        writes = "the PostgreSQL that runs there writes its log to it" if START_LOG in left.open else ""
        purpose = "what PostgreSQL says while pg_ctl starts it"
        return [self.trace("log", f"{server.pgdata}/{START_LOG}", purpose, stays=writes)]

    async def take_back(self, servername: str) -> Result:
        """Delete the log, unless PostgreSQL writes to it."""

        async def take(server: Server, left: Left) -> str:
            return await _left_in_pgdata.delete(self, server, *({START_LOG} & (left.names - left.open)))

        return await _left_in_pgdata.taken_back(self, servername, take)
