"""One login to a host over SSH. It outlives the call that began it: on a busy host it may take longer than one call has.

Never adds a host key by itself: an unknown or changed key means that nothing is sent and nothing is known.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import asyncssh

from handyrep.model.server import Server

_KEEPALIVE_S = 5
_KEEPALIVES = 3
_LOGIN_S = 60
"""Only so that a login ends at all when nobody waits for it any more: the deadline of the call is what counts."""
_QUICK_FIRST = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""What asyncssh takes the least time for, then all else that it knows."""
_GOES_ON_S = 10.0
"""So old may a login be that nobody waits for any more, and still be taken up by the next call."""


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


class Login:
    """A login under way, for all who want it. Once the host has taken the connection it goes on though nobody waits.

    `ended` is told the connection, or None; also when nobody waits any more. `took_s` is known then.
    """

    def __init__(self, target: Target, ended: Callable[["Login", asyncssh.SSHClientConnection | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self.took_s = 0.0
        self._waiting = 0
        self._reached = self._given_up = False
        self._ended = ended
        self._task = self._loop.create_task(_connect(target, self._reach))
        self._task.add_done_callback(self._end)

    @property
    def is_stale(self) -> bool:
        """Whether it was given up, or nobody waits for it and it is too old to be waited for."""
        return self._given_up or (not self._waiting and self._loop.time() - self._began_s > _GOES_ON_S)

    async def wait(self) -> None:
        """Until it has ended. Raises what it ended with; ConnectionAbortedError when it was given up."""
        self._waiting += 1
        me = asyncio.current_task()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if me is not None and me.cancelling():
                raise
            raise ConnectionAbortedError("the login was given up") from None
        finally:
            self._waiting -= 1
            if not self._waiting and not self._reached:
                self.give_up()

    def give_up(self) -> None:
        """Nobody wants it any more."""
        self._given_up = True
        self._task.cancel()

    def _reach(self) -> None:
        self._reached = True

    def _end(self, task: asyncio.Task[asyncssh.SSHClientConnection]) -> None:
        self.took_s = self._loop.time() - self._began_s
        failed = task.cancelled() or task.exception() is not None
        self._ended(self, None if failed else task.result())


class _Reached(asyncssh.SSHClient):
    """Tells when the host has taken the connection."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:  # noqa: ARG002 - asyncssh's signature
        """As asyncssh calls it."""
        self._tell()


async def _connect(target: Target, reached: Callable[[], None]) -> asyncssh.SSHClientConnection:
    """`reached` is called once the host itself, not its jump host, has taken the connection."""
    jump = target.jump_target
    if jump is None:
        return await _connect_through(target, None, reached)
    outer = await _connect_through(jump, None, _nobody)
    try:
        inner = await _connect_through(target, outer, reached)
    except BaseException:
        outer.abort()
        raise
    inner.set_tunnel(outer)
    return inner


def _nobody() -> None:
    """To be told."""


async def _connect_through(
    target: Target, tunnel: asyncssh.SSHClientConnection | None, reached: Callable[[], None]
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        target.address,
        target.port,
        username=target.user,
        client_keys=[target.key] if target.key else (),
        known_hosts=_known_hosts(target),
        tunnel=tunnel or (),
        client_factory=lambda: _Reached(reached),
        config=None,
        preferred_auth="publickey",
        encryption_algs=_QUICK_FIRST,
        keepalive_interval=_KEEPALIVE_S,
        keepalive_count_max=_KEEPALIVES,
        login_timeout=_LOGIN_S,
    )


def _known_hosts(target: Target) -> str:
    path = Path(target.known_hosts).expanduser()
    if not path.is_file():
        raise asyncssh.HostKeyNotVerifiable(f"there is no file {path}")
    return str(path)
