"""fence_command: switches the old master's host off with a command of yours, and believes only what its status command answers."""

import re

from handyrep.directives import list_of, seconds_between, text
from handyrep.errors import NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Ran

_PLACEHOLDER = re.compile(r"\{(name|hostname)\}")
_IN_A_ROW = 2
_SHARE = 0.5
"""A command that hangs must leave time to ask what came of it."""
_OFF, _NOT_OFF = "status_command answered off_answer", "status_command answered something else than off_answer"
_ENDED_WITH = "ended with"


class fence_command(handyrepplugin):
    """Switches the old master's host off by a command on HandyRep's host: a power switch, a hypervisor, the API of a cloud.

    Does: asks status_command first, and does nothing if that does not work (`untouched`). Then off_command; then status_command again
    and again. Proof: it ended with 0 and answered exactly off_answer, twice in a row. What off_command says proves nothing. A host that
    is off already is sent nothing. release() runs on_command, and waits until status_command answers something else.
    Touches on the server: its power.
    Needs: both commands on HandyRep's host, run as HandyRep's account, without a shell and with hardly any environment. {name} and
    {hostname} in their arguments stand for the server's. Passwords belong into a file that the command reads: arguments are seen in
    the process list. What the commands print is never shown or kept, since it may hold secrets. The switch must not lose power
    together with the host: one that cannot be asked gives no proof.
    Safe to repeat?: yes, if off_command and on_command are.
    When it cannot tell: UNCERTAIN, when it may have been switched off and was not seen off; else FAIL. It cannot protect from what
    switches the host on again later: a watchdog, a policy of the hypervisor, a person.
    Options: off_command, status_command, off_answer, on_command, poll_interval, patience.
    """

    kinds = (Kind.FENCE,)
    needs_host = False
    off_command = option(list_of(text), (), "program and arguments that switch a server's host off", required=True)
    status_command = option(list_of(text), (), "program and arguments that answer whether it is off", required=True)
    off_answer = option(text, "off", "what status_command answers when it is off: all of it, spaces around it aside")
    on_command = option(list_of(text), (), "program and arguments that switch it on again; blank: a person does")
    poll_interval = option(seconds_between(0.01, 60.0), 1.0, "time between two questions")
    patience = option(seconds_between(0.1, 3600.0), 30.0, "how long after the order it may take, within fence_timeout")

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with `proof` when it is off."""
        server = self.server(servername)
        now = await self._asked(server)
        if now not in (_OFF, _NOT_OFF):
            return self.fail(f"nothing is proven and nothing was done: {now}", untouched=True)
        if now == _OFF and await self._still_off(server):
            return self._proven(server, "it was off already")
        order = await self._ordered(server, self.off_command)
        last = await self._waited_for(server, _OFF)
        if last == _OFF:
            return self._proven(server, f"off_command {order}")
        refused = order.startswith(_ENDED_WITH) and last == _NOT_OFF
        return (self.fail if refused else self.uncertain)(f"nothing is proven: off_command {order}; {last}")

    async def release(self, servername: str) -> Result:
        """Switch it on again, if there is an on_command."""
        server = self.server(servername)
        if not self.on_command:
            now = await self._asked(server)
            if now == _OFF:
                return self.fail(f"{servername} is off, and there is no on_command: switch it on by hand")
            return self.success(f"{servername}: {now}") if now == _NOT_OFF else self.uncertain(f"{servername}: {now}")
        order = await self._ordered(server, self.on_command)
        last = await self._waited_for(server, _NOT_OFF)
        return (self.success if last == _NOT_OFF else self.uncertain)(f"{servername}: on_command {order}; {last}")

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a program is missing, or a server's status cannot be asked now."""
        for command in (self.off_command, self.on_command):
            if command and not await self._is_there(command[0]):
                return self.fail(f"the program {command[0]} is not there")
        names = [servername] if servername else [s.name for s in self.cluster.servers if s.enabled and s.is_postgres]
        for name in names:
            now = await self._asked(self.server(name))
            if now not in (_OFF, _NOT_OFF):
                return self.fail(f"{name}: {now}")
        return self.success(f"the status of {', '.join(names) or 'no server'} is answered")

    def _proven(self, server: Server, how: str) -> Result:
        proof = f"status_command answered {self.off_answer!r} for {server.name}, {_IN_A_ROW} times in a row"
        return self.success(f"{proof} ({how})", proof=proof, ended=True)

    async def _ordered(self, server: Server, command: tuple[str, ...]) -> str:
        """How the order was taken."""
        try:
            ran = await self._run(server, command)
        except NoAnswerError:
            return "did not end in time"
        return "was accepted" if ran.exit_status == 0 else f"{_ENDED_WITH} {ran.exit_status}"

    async def _still_off(self, server: Server) -> bool:
        await self.call.world.clock.sleep(self.poll_interval)
        return await self._asked(server) == _OFF

    async def _waited_for(self, server: Server, wanted: str) -> str:
        """`wanted`, when it was answered several times in a row before patience ended; else what was answered last."""
        clock = self.call.world.clock
        end = clock.monotonic() + min(self.patience, self.call.left_s())
        in_a_row, now = 0, ""
        while clock.monotonic() < end:
            now = await self._asked(server)
            in_a_row = in_a_row + 1 if now == wanted else 0
            if in_a_row == _IN_A_ROW:
                return wanted
            await clock.sleep(min(self.poll_interval, max(end - clock.monotonic(), 0.0)))
        return now if now not in ("", wanted) else f"there was no time to hear twice that {wanted}"

    async def _asked(self, server: Server) -> str:
        """_OFF, _NOT_OFF, or why neither is known."""
        try:
            ran = await self._run(server, self.status_command)
        except NoAnswerError:
            return "status_command did not end in time"
        if ran.exit_status != 0:
            return f"status_command {_ENDED_WITH} {ran.exit_status}"
        answer = ran.stdout.strip()
        if ran.cut or not answer:
            return "status_command ended with 0 and answered nothing that can be read"
        return _OFF if answer == self.off_answer else _NOT_OFF

    async def _run(self, server: Server, command: tuple[str, ...]) -> Ran:
        known = {"name": server.name, "hostname": server.hostname}
        argv = (_PLACEHOLDER.sub(lambda found: known[found[1]], argument) for argument in command)
        return await self.run_local(*argv, timeout_s=self.call.left_s() * _SHARE)

    async def _is_there(self, program: str) -> bool:
        try:
            ran = await self.run_local("sh", "-c", 'command -v -- "$1"', "look", program)
        except NoAnswerError:
            return False
        return ran.exit_status == 0
