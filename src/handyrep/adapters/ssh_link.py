"""One SSH connection with its idle shells, and the one that is held as the account that owns the data."""

import asyncio
import contextlib
import functools

import asyncssh

from handyrep.adapters.quoting import shell_line
from handyrep.adapters.shell import Shell
from handyrep.adapters.sudo import Invocation

MAX_SHELLS = 4
"""So many quick commands run at once on one host, and as many slow ones beside them; with one held shell and one that kills, this is
the 10 sessions that sshd allows by default."""
_KILL_S = 5
_SILENT_S, _SILENT_LOGINS = 0.4, 2
"""A connection on which nothing was heard for so long, or for so many times what its login took, since something was asked on it is given
up: it may be dead without anybody knowing."""


class Link:
    """A retired one ends when its last command has ended. `login_s`: so long its login took."""

    def __init__(self, connection: asyncssh.SSHClientConnection, login_s: float) -> None:
        self.connection = connection
        self._patience_s = max(_SILENT_S, login_s * _SILENT_LOGINS)
        self._loop = asyncio.get_running_loop()
        self._busy = 0
        self._asked_s: float | None = None
        self._retired = False
        self._idle: list[Shell] = []
        self._held: Shell | None = None
        self._lent = False
        self._not_held: set[tuple[str, ...]] = set()
        self._kills: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """A command is about to be given."""
        self._busy += 1
        if self._asked_s is None:
            self._asked_s = self._loop.time()

    def end(self, *, heard: bool) -> None:
        """A command has ended, or nobody waits for it any more. `heard`: whether the host had taken it up."""
        self._busy -= 1
        if heard:
            self._asked_s = None
        self._end_if_unused()

    @property
    def seems_dead(self) -> bool:
        """Whether nothing was heard for too long of what was asked."""
        return self._asked_s is not None and self._loop.time() - self._asked_s >= self._patience_s

    async def shell_for(self, invocation: Invocation) -> Shell:
        """The shell that is held as the account which this is to run as, if it is free and sudo lets it begin; else one of the login."""
        switch = invocation.held
        if switch and not self._lent and switch not in self._not_held:
            self._lent = True
            try:
                return await self._held_as(switch)
            except (OSError, asyncssh.Error) as error:
                self._lent = False
                if not isinstance(error, OSError):
                    raise
                self._not_held.add(switch)
        while self._idle:
            shell = self._idle.pop()
            if shell.usable:
                return shell
        return await self._begun(())

    async def _held_as(self, switch: tuple[str, ...]) -> Shell:
        """There is one, so that with all that run at once sshd's limit is not reached. Raises OSError: a new one ended at once."""
        held, self._held = self._held, None
        if held is not None and held.usable and held.switch == switch:
            return held
        if held is not None:
            held.close()
        return await self._begun(switch)

    async def _begun(self, switch: tuple[str, ...]) -> Shell:
        begun = asyncio.create_task(Shell.start(self.connection, switch))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(functools.partial(self._keep, switch))
            raise

    def _keep(self, switch: tuple[str, ...], begun: asyncio.Task[Shell]) -> None:
        """A shell that is open now, and that nobody waits for any more, is for whoever comes next."""
        if begun.cancelled() or begun.exception() is not None:
            self._lent = self._lent and not switch
        else:
            self.put_back(begun.result(), switch)

    def put_back(self, shell: Shell, switch: tuple[str, ...]) -> None:
        """Keep it for the next command; or, when it owes an answer, kill what it runs and throw it away.

        None is closed for lying idle: sshd counts it until it has ended, and there are no more than have run at once.
        """
        if shell.switch:
            self._lent = False
        if not shell.usable:
            task = asyncio.get_running_loop().create_task(self._kill(shell, switch))
            self._kills.add(task)
            task.add_done_callback(self._kills.discard)
            task.add_done_callback(lambda _: self._end_if_unused())
        elif self._retired:
            shell.close()
        elif shell.switch:
            self._held = shell
        else:
            self._idle.append(shell)

    def retire(self) -> None:
        """No new command comes. Those that run are left alone."""
        self._retired = True
        for shell in (*self._idle, *([self._held] if self._held is not None else [])):
            shell.close()
        self._idle.clear()
        self._held = None
        self._end_if_unused()

    async def ended(self, patience_s: float) -> None:
        """Until it has ended; at the latest after so long."""
        try:
            async with asyncio.timeout(patience_s):
                await self.connection.wait_closed()
        except TimeoutError:
            self.connection.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self.connection.wait_closed()

    def _end_if_unused(self) -> None:
        if self._retired and self._busy == 0 and not self._kills:
            self.connection.abort()

    async def _kill(self, shell: Shell, switch: tuple[str, ...]) -> None:
        """End what the shell runs, as the login and as the account it switched to; at best, since nobody waits for it."""
        kill = ("kill", "-KILL", "--", f"-{shell.process_group}")
        lines = [shell_line((*switch, *kill))] if switch else []
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            async with asyncio.timeout(_KILL_S):
                await self.connection.run(b"; ".join((*lines, shell_line(kill))).decode(), stdin=asyncssh.DEVNULL)
        shell.close()
