"""The Hosts port: SSH or local, as each server's `control` says."""

import asyncio
import os
import pwd

from handyrep.adapters.local import run_local
from handyrep.adapters.quoting import checked, with_variables
from handyrep.adapters.ssh import SshHost
from handyrep.adapters.ssh_link import Link
from handyrep.adapters.ssh_login import Target
from handyrep.adapters.sudo import invocation
from handyrep.model.server import Server
from handyrep.ports import Command, Ran

_CLOSING_S = 1.0


class RealHosts:
    """One SshHost per host and login, made at first use. A server whose definition changed gets another one."""

    def __init__(self) -> None:
        self._hosts: dict[Target, SshHost] = {}
        self._targets: dict[str, Target] = {}
        self._links: list[Link] = []

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        """As ports.Hosts.run. Raises RefusedError for a command that no program can be given."""
        if server.control == "local":
            local = invocation(server, command, _own_account())
            return local.judged(await run_local(local.words, command.stdin, deadline_s, server=server.name), server)
        remote = invocation(server, command, server.ssh_user)
        return await self._host(server).run(server, remote, command.stdin, deadline_s)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        """As ports.Hosts.run_here."""
        return await run_local(with_variables(checked(command)), command.stdin, deadline_s)

    async def close(self) -> None:
        """End all connections, also those that were given up before. What still runs has a second to end, or to be killed."""
        for host in self._hosts.values():
            host.close()
        self._hosts.clear()
        self._targets.clear()
        await asyncio.gather(*(link.ended(_CLOSING_S) for link in self._links))

    def _host(self, server: Server) -> SshHost:
        target, old = Target.of(server), self._targets.get(server.name)
        self._targets[server.name] = target
        if old is not None and old != target and old not in self._targets.values():
            self._hosts.pop(old).close()
        if target not in self._hosts:
            self._hosts[target] = SshHost(target, self._opened)
        return self._hosts[target]

    def _opened(self, link: Link) -> None:
        self._links = [one for one in self._links if not one.connection.is_closed()] + [link]


def _own_account() -> str:
    """By the user id, not by variables that anybody may set."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
