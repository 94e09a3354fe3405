"""restart_service: starts and stops PostgreSQL as a service."""

from handyrep.directives import service
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.plugins.restart_pg_ctl import Runmode
from handyrep.ports import Ran

_SERVICE = """
name=$1 verb=$2
by_systemd() { [ -d /run/systemd/system ]; }
order() { if by_systemd; then systemctl "$verb" "$name"; else service "$name" "$verb"; fi; }
status() {
    if by_systemd; then
        systemctl show -p LoadState -p ActiveState -p SubState -p MainPID -p Job "$name"
    else
        service "$name" status >/dev/null 2>&1
        echo "Service=$?"
    fi
}
ended=0
[ -z "$verb" ] || order >&2 || ended=$?
status
exit "$ended"
"""
_JUST_S = 0.25
"""A service that did not run so short a time ago is not asked again: the look and the fence both want to know, and clients wait meanwhile."""
SYSV_RUNNING, SYSV_NOT_RUNNING = "0", "3"


class restart_service(handyrepplugin):
    """Changes PostgreSQL's running state through the host's service manager, as root.

    Does: systemctl VERB service_name where systemd runs the host, else service service_name VERB. stop and faststop are the same: the unit decides.
    Touches on the server: that service.
    Needs: SSH, and root by sudo for systemctl or service.
    Safe to repeat?: yes.
    When it cannot tell: UNCERTAIN after an order; status is FAIL without running. Debian's postgresql.service is an empty umbrella
    that is always active, so its state is not believed: name the instance, postgresql@15-main.
    Options: service_name.
    """

    kinds = (Kind.RESTART,)
    service_name = option(service, "", "name of the service, such as postgresql@15-main")

    async def run(self, servername: str, runmode: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was seen to be so."""
        if runmode not in list(Runmode):
            return self.fail(f"there is no runmode {runmode!r}: {', '.join(Runmode)}")
        server = self.server(servername)
        if not self.service_name:
            return self.fail("set service_name in [plugins] [[restart_service]]")
        if runmode == Runmode.STATUS:
            return await self._status(server)
        return await self._order(server, Runmode(runmode))

    async def _order(self, server: Server, runmode: Runmode) -> Result:
        self.memory.pop(server.name, None)
        verb = "stop" if runmode is Runmode.FASTSTOP else str(runmode)
        try:
            ran = await self.run_as_root(server.name, "sh", "-c", _SERVICE, "service", self.service_name, verb)
        except HostKeyError as error:
            return self.fail(error.what)
        except NoAnswerError as error:
            return self.uncertain(f"{verb} of {self.service_name} was ordered: {error.what}")
        return self._seen(runmode, ran)

    def _seen(self, runmode: Runmode, ran: Ran) -> Result:
        """By how it was once the order had ended."""
        after = self._told(ran)
        running = after.extra.get("running")
        wanted = runmode not in (Runmode.STOP, Runmode.FASTSTOP)
        if running is wanted and (ran.exit_status == 0 or runmode is not Runmode.RELOAD):
            return self.success(f"{runmode} done", running=wanted)
        if running is None:
            return self.uncertain(f"{runmode} was ordered, and whether it runs cannot be told: {after.details}")
        return self.fail(f"{runmode} of {self.service_name}: {last_words(ran)}", running=running)

    async def _status(self, server: Server) -> Result:
        """What the host says of it now, or said a moment ago. An order makes that void."""
        asked_s = self.call.world.clock.monotonic()
        kept: tuple[float, Result] | None = self.memory.get(server.name)
        if kept is not None and asked_s - kept[0] <= _JUST_S:
            return kept[1]
        argv = ("sh", "-c", _SERVICE, "service", self.service_name, "")
        try:
            told = self._told(await self.run_as_login(server.name, *argv))
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if told.extra.get("running") is False:
            self.memory[server.name] = (asked_s, told)
        return told

    def _told(self, ran: Ran) -> Result:
        facts = dict(line.partition("=")[::2] for line in ran.stdout.splitlines() if "=" in line)
        if "Service" in facts:
            return self._sysv(facts["Service"])
        return self._systemd(facts, last_words(ran))

    def _sysv(self, status: str) -> Result:
        if status == SYSV_RUNNING:
            return self.success("the service runs", running=True)
        if status == SYSV_NOT_RUNNING:
            return self.fail("the service does not run", running=False)
        return self.fail(f"service {self.service_name} status ended with {status}")

    def _systemd(self, facts: dict[str, str], words: str) -> Result:
        active, has_process = facts.get("ActiveState"), facts.get("MainPID", "0") != "0"
        if facts.get("LoadState") != "loaded":
            return self.fail(f"there is no unit {self.service_name}: {words}")
        if active in ("active", "reloading") and has_process:
            return self.success("the unit is active", running=True)
        if active == "active":
            return self.fail(
                f"{self.service_name} is active without a process: it is an umbrella unit; name the instance, such as postgresql@15-main"
            )
        if active in ("inactive", "failed") and not facts.get("Job"):
            return self.fail(f"the unit is {active}", running=False)
        return self.fail(f"the unit is {active}" + (", and has a job to do" if facts.get("Job") else ""))

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the status cannot be told, or root cannot be had, on a server concerned."""
        names = [servername] if servername else [s.name for s in self.concerned("restart_method")]
        for name in names:
            result = await self.run(name, Runmode.STATUS)
            if "running" not in result.extra:
                return self.fail(f"{name}: {result.details}")
            try:
                root = await self.run_as_root(name, "true")
            except NoAnswerError as error:
                return self.fail(f"{name}: {nothing_known(error)}")
            if root.exit_status != 0:
                return self.fail(f"{name}: root cannot be had: {last_words(root)}")
        return self.success(f"the service of {', '.join(names) or 'no server: none uses it'} can be seen to")
