"""SSH to one host: one connection, a few held shells of the login and of the account that owns the data, host keys required.

Never adds a host key by itself: an unknown or changed key means that nothing is sent and nothing is known.
"""

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import asyncssh

from handyrep.adapters.quoting import shell_line
from handyrep.adapters.shell import Shell
from handyrep.adapters.sudo import Invocation
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.server import Server
from handyrep.ports import Ran

MAX_SHELLS = 4
"""So many quick commands run at once on one host, and as many slow ones beside them. sshd allows 10 by default."""
SLOW_S = 10.0
"""A command that may take longer than this never keeps a quick look at the host waiting."""
_KEEPALIVE_S = 5
_KEEPALIVES = 3
_LOGIN_S = 60
"""Only so that a login ends at all when nobody waits for it any more: the deadline of the call is what counts."""
_KILL_S = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to log in: the part of a server's definition that makes it another connection."""

    address: str
    port: int
    user: str
    key: str
    jump: str
    known_hosts: str

    @classmethod
    def of(cls, server: Server) -> "Target":
        """Of one server."""
        return cls(
            server.ssh_address, server.ssh_port, server.ssh_user, server.ssh_key, server.ssh_jump, server.known_hosts
        )

    @property
    def jump_target(self) -> "Target | None":
        """The jump host, reached with the same key and the same known hosts; None when there is none."""
        if not self.jump:
            return None
        user, _, place = self.jump.rpartition("@")
        host, separator, port = place.rpartition(":")
        if not separator or not port.isdigit() or (":" in host and not host.startswith("[")):
            host, port = place, "22"
        return dataclasses.replace(self, address=host.strip("[]"), port=int(port), user=user or self.user, jump="")


class SshHost:
    """Commands on one host. Concurrent commands get shells of their own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
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
        if self._link is not None:
            self._link.retire()
        self._link = None

    async def _run_in_a_shell(self, server: Server, invocation: Invocation, stdin: bytes) -> Ran:
        link = await self._connected()
        link.busy += 1
        shell: Shell | None = None
        try:
            shell = await link.shell_for(invocation)
            if shell.switch:
                return await shell.run(invocation.argv, stdin)
            return invocation.judged(await shell.run(invocation.words, stdin), server)
        finally:
            link.busy -= 1
            if shell is not None:
                link.put_back(shell, invocation.switch)
            if shell is None or not (shell.begun or shell.usable):
                # Not even the mark before the command came back: the connection may be dead without anybody knowing.
                self._retire(link)

    async def _connected(self) -> "_Link":
        async with self._connecting:
            if self._link is None or self._link.connection.is_closed():
                self.close()
                self._link = _Link(await _connect(self._target))
            return self._link

    def _retire(self, link: "_Link") -> None:
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


class _Link:
    """One SSH connection with its idle shells. A retired one ends when its last command has ended."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection
        self.busy = 0
        self._retired = False
        self._idle: list[Shell] = []
        self._not_held: set[tuple[str, ...]] = set()
        self._kills: set[asyncio.Task[None]] = set()

    async def shell_for(self, invocation: Invocation) -> Shell:
        """A shell of the account that this is to run as, where one may be held and sudo lets it begin; else one of the login."""
        if invocation.held and invocation.held not in self._not_held:
            try:
                return await self._shell(invocation.held)
            except OSError:
                self._not_held.add(invocation.held)
        return await self._shell(())

    async def _shell(self, switch: tuple[str, ...]) -> Shell:
        """An idle one that is still open, or a new one in the place of the one that lay idle longest. Raises OSError: it ended at once."""
        self._idle = [shell for shell in self._idle if shell.usable]
        found = next((shell for shell in reversed(self._idle) if shell.switch == switch), None)
        if found is not None:
            self._idle.remove(found)
            return found
        if self._idle and self.busy + len(self._idle) > 2 * MAX_SHELLS:
            self._idle.pop(0).close()
        return await Shell.start(self.connection, switch)

    def put_back(self, shell: Shell, switch: tuple[str, ...]) -> None:
        """Keep it for the next command; or, when it owes an answer, kill what it runs and throw it away."""
        alike = sum(one.switch == shell.switch for one in self._idle)
        if shell.usable and alike < MAX_SHELLS and not self._retired:
            self._idle.append(shell)
        elif shell.usable:
            shell.close()
        else:
            task = asyncio.get_running_loop().create_task(self._kill(shell, switch))
            self._kills.add(task)
            task.add_done_callback(self._kills.discard)
            task.add_done_callback(lambda _: self._end_if_unused())
        self._end_if_unused()

    def retire(self) -> None:
        """No new command comes. Those that run are left alone."""
        self._retired = True
        for shell in self._idle:
            shell.close()
        self._idle.clear()
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._retired and self.busy == 0 and not self._kills:
            self.connection.abort()

    async def _kill(self, shell: Shell, switch: tuple[str, ...]) -> None:
        """End what the shell runs, as the login and as the account it switched to; at best, since nobody waits for it."""
        kill = ("kill", "-KILL", "--", f"-{shell.process_group}")
        lines = [shell_line((*switch, *kill))] if switch else []
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            async with asyncio.timeout(_KILL_S):
                await self.connection.run(b"; ".join((*lines, shell_line(kill))).decode(), stdin=asyncssh.DEVNULL)
        shell.close()


async def _connect(target: Target) -> asyncssh.SSHClientConnection:
    jump = target.jump_target
    if jump is None:
        return await _connect_through(target, None)
    outer = await _connect_through(jump, None)
    try:
        inner = await _connect_through(target, outer)
    except BaseException:
        outer.abort()
        raise
    inner.set_tunnel(outer)
    return inner


async def _connect_through(target: Target, tunnel: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        target.address,
        target.port,
        username=target.user,
        client_keys=[target.key] if target.key else (),
        known_hosts=_known_hosts(target),
        tunnel=tunnel or (),
        config=None,
        preferred_auth="publickey",
        keepalive_interval=_KEEPALIVE_S,
        keepalive_count_max=_KEEPALIVES,
        login_timeout=_LOGIN_S,
    )


def _known_hosts(target: Target) -> str:
    path = Path(target.known_hosts).expanduser()
    if not path.is_file():
        raise asyncssh.HostKeyNotVerifiable(f"there is no file {path}")
    return str(path)
