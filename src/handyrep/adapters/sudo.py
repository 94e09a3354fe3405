"""Which account a command runs as: sudo before it where the login is another, and what sudo's own refusals mean.

sudo says "no" with exit status 1, which is also what pgrep says when there is no such process. It must never be taken for
the command's own answer: a command that sudo did not run has answered nothing.
"""

import dataclasses
import re

from handyrep.adapters.quoting import checked, with_variables
from handyrep.errors import NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Command, Ran, RunAs

ROOT = "root"
_NOT_FOUND = re.compile(r"^sudo: .*: command not found$", re.MULTILINE)
_REFUSED = re.compile(
    r"^(sudo: (a password is required|a terminal is required|no askpass|interactive auth|unknown user|unknown uid|"
    r"account validation|PAM |error in |unable to (initialize|open|stat|get|set|fork|execute|change|allocate)|"
    r"no valid sudoers|you do not exist|you are not permitted|sorry|.* must be owned|.*nosuid|.*no new privileges)"
    r"|Sorry, user |.* is not in the sudoers file|.* is not allowed to run sudo)",
    re.MULTILINE,
)
_FAILED = 1
_STATUS_NOT_FOUND = 127


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """What to execute: `switch` (sudo and its options, or nothing) before `argv`."""

    switch: tuple[str, ...]
    argv: tuple[str, ...]
    account: str

    @property
    def words(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.switch, *self.argv)

    @property
    def held(self) -> tuple[str, ...]:
        """The switch of a shell that may be kept for such commands, or nothing: sudo takes longer than most of them. Never root's."""
        return self.switch if self.account != ROOT else ()

    def judged(self, ran: Ran, server: Server) -> Ran:
        """The command's own answer. Raises NoAnswerError when sudo did not run it."""
        if not self.switch or ran.exit_status != _FAILED:
            return ran
        if _NOT_FOUND.search(ran.stderr):
            return dataclasses.replace(ran, exit_status=_STATUS_NOT_FOUND)
        refusal = _REFUSED.search(ran.stderr)
        if refusal is None:
            return ran
        line = ran.stderr[refusal.start() :].splitlines()[0]
        raise NoAnswerError(
            f"sudo did not run {self.argv[0]} as {self.account} ({line[:200]})",
            server=server.name,
            remedy=f"Allow it to {server.ssh_user} in sudoers, without a password.",
        )


def invocation(server: Server, command: Command, login: str) -> Invocation:
    """How `login` runs a command as the account that it wants. Raises RefusedError for what no program can be given."""
    wanted = {RunAs.LOGIN: login, RunAs.POSTGRES: server.postgres_os_user, RunAs.ROOT: ROOT}[command.run_as]
    return Invocation(_switch(login, wanted), with_variables(checked(command)), wanted)


def _switch(login: str, wanted: str) -> tuple[str, ...]:
    """It never asks (-n). Variables come after it: rules in sudoers can then name the program itself."""
    if login == wanted:
        return ()
    return ("sudo", "-n", "--") if wanted == ROOT else ("sudo", "-n", "-u", wanted, "--")
