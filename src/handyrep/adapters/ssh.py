"""SSH to one host: one connection, a few held shells of the login and of the account that owns the data, host keys required.

Never adds a host key by itself: an unknown or changed key means that nothing is sent and nothing is known. A login, or a shell that is
being opened, goes on when the call that began it has no time left: else a busy host on which they take longer than one call would be
logged in to again and again, and never be heard.
"""

import asyncio
from collections.abc import Callable

import asyncssh

from handyrep.adapters.shell import Shell
from handyrep.adapters.ssh_link import MAX_SHELLS, Link
from handyrep.adapters.ssh_login import Login, Target
from handyrep.adapters.sudo import Invocation
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Ran

SLOW_S = 10.0
"""A command that may take longer than this never keeps a quick look at the host waiting."""


class SshHost:
    """Commands on one host. Concurrent commands get shells of their own. `opened` is told each connection."""

    def __init__(self, target: Target, opened: Callable[[Link], None]) -> None:
        self._target = target
        self._opened = opened
        self._link: Link | None = None
        self._login: Login | None = None
        self._quick = asyncio.Semaphore(MAX_SHELLS)
        self._slow = asyncio.Semaphore(MAX_SHELLS)

    async def run(self, server: Server, invocation: Invocation, stdin: bytes, deadline_s: float) -> Ran:
        """Run it. Raises NoAnswerError (also when sudo did not run it), HostKeyError."""
        places = self._slow if deadline_s > SLOW_S else self._quick
        limit = asyncio.timeout(deadline_s)
        try:
            async with limit, places:
                return await self._run_in_a_shell(server, invocation, stdin)
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._host_key(server, error) from None
        except (OSError, asyncssh.Error, ValueError) as error:
            if isinstance(error, TimeoutError) and limit.expired():
                what = f"its host did not end {invocation.argv[0]} within {deadline_s:g} s"
            else:
                what = f"its host cannot be used over SSH ({str(error) or type(error).__name__})"
            raise NoAnswerError(what, server=server.name) from None

    def close(self) -> None:
        """Give up the connection, when what runs on it has ended."""
        if self._login is not None:
            self._login.give_up()
        if self._link is not None:
            self._link.retire()
        self._login = self._link = None

    async def _run_in_a_shell(self, server: Server, invocation: Invocation, stdin: bytes) -> Ran:
        link = await self._connected()
        link.begin()
        shell: Shell | None = None
        try:
            shell = await link.shell_for(invocation)
            if shell.switch:
                return await shell.run(invocation.argv, stdin)
            return invocation.judged(await shell.run(invocation.words, stdin), server)
        except (OSError, asyncssh.Error):
            if not _was_heard(shell):
                self._retire(link)
            raise
        finally:
            if shell is not None:
                link.put_back(shell, invocation.switch)
            link.end(heard=_was_heard(shell))
            if link.seems_dead:
                self._retire(link)

    async def _connected(self) -> Link:
        if self._link is not None and not self._link.connection.is_closed():
            return self._link
        if self._login is None or self._login.is_stale:
            self.close()
            self._login = Login(self._target, self._logged_in)
        await self._login.wait()
        return await self._connected()

    def _logged_in(self, login: Login, connection: asyncssh.SSHClientConnection | None) -> None:
        if self._login is not login:
            if connection is not None:
                connection.abort()
            return
        self._login = None
        self._link = None
        if connection is not None:
            self._link = Link(connection, login.took_s)
            self._opened(self._link)

    def _retire(self, link: Link) -> None:
        if self._link is link:
            self._link = None
        link.retire()

    def _host_key(self, server: Server, error: Exception) -> HostKeyError:
        where = f"{self._target.address} port {self._target.port}"
        if self._target.jump:
            where += f" (or of its jump host {self._target.jump})"
        return HostKeyError(
            f"the SSH host key of {where} is unknown or has changed, so nothing was sent to it ({error})",
            server=server.name,
            remedy=f"Compare the key at the server itself, then put it into {self._target.known_hosts}.",
        )


def _was_heard(shell: Shell | None) -> bool:
    """Whether at least the mark before the command came back."""
    return shell is not None and (shell.begun or shell.usable)
