"""What HandyRep has left at a pgbouncer: its file, which goes on serving, and what holds clients back.

Must never let clients on to another server than the recorded master.
"""

from typing import TYPE_CHECKING, Protocol

from handyrep.errors import NoAnswerError, PluginError
from handyrep.plugins._at_once import on_each, together
from handyrep.plugins._bouncer_foot import unblocked
from handyrep.plugins._bouncer_host import is_ours
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

if TYPE_CHECKING:
    from handyrep.model.result import Result
    from handyrep.model.server import Server
    from handyrep.ports import Ran


class _Host(Protocol):
    async def read(self) -> "Ran": ...


class tells_of_bouncers(handyrepplugin):
    """Parent of the plugins that manage pgbouncers, with what these leave there."""

    async def footprint(self, servername: str) -> "Result":
        """pgbouncer.ini, which stays, and what holds clients back in it."""
        try:
            text = await self._text(servername)
        except (NoAnswerError, PluginError) as error:
            return self.fail(f"what stands in its pgbouncer.ini is not known: {error.what}")
        file, found = self._file(), []
        if text.strip() and is_ours(text):
            serves = "clients are led by it; it is a plain pgbouncer.ini, and yours from now on"
            found = [self.trace("pgbouncer.ini", file, "leads clients to the servers", stays=serves)]
        if text != unblocked(text):
            purpose = "holds clients back, so that nobody is led to an old master"
            found.append(self.trace("held clients", f"end of {file}", purpose))
        return self.success(traces=found)

    async def take_back(self, servername: str) -> "Result":
        """Let clients on to the recorded master, if they are held back."""

        async def take(server: "Server") -> "Result":
            text = await self._text(servername)
            return self.success() if text == unblocked(text) else await self._unblocked(server)

        said = await on_each([self.server(servername)], take, limit_s=self.call.left_s(), acts=True)
        return together(said, "lets its clients on")

    async def _text(self, servername: str) -> str:
        """Its pgbouncer.ini; '' for one that is not managed here, or has none. Raises NoAnswerError, PluginError."""
        if servername not in [server.name for server in self._bouncers()]:
            return ""
        ran = await self._host(self.server(servername)).read()
        if ran.exit_status != 0 or ran.cut:
            raise PluginError(last_words(ran))
        return ran.stdout

    def _bouncers(self) -> "list[Server]":
        """The pgbouncers that are managed. Raises PluginError when that is not clear."""
        raise NotImplementedError

    def _file(self) -> str:
        raise NotImplementedError

    def _host(self, server: "Server") -> _Host:
        raise NotImplementedError

    async def _unblocked(self, server: "Server") -> "Result":
        raise NotImplementedError
