"""The parent of all plugins: the helpers with which a plugin looks at servers and acts on them.

Every helper works in an `async def` (await it) and in a plain `def` (it waits by itself), ends by the call's deadline,
and does nothing once that has passed. Owns no decision.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from handyrep.errors import NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import helper
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.plugin import Plugin
from handyrep.ports import Command, Login, Ran, Row, RunAs

# Nothing stands in it before it has its owner and its mode. Each program costs about a millisecond, and clients may wait for the file.
_PUT_FILE = """
set -eu
read -r unique < /proc/sys/kernel/random/uuid
temporary=$1.${unique%%-*}
umask 077
set -C
: > "$temporary"
trap 'rm -f "$temporary"' EXIT
[ -z "$3" ] || chown "$3" "$temporary"
chmod "$2" "$temporary"
dd of="$temporary" conv=fsync status=none
mv -f "$temporary" "$1"
trap - EXIT
case $1 in */*) folder=${1%/*};; *) folder=.;; esac
sync "${folder:-/}" 2>/dev/null || sync
"""


class handyrepplugin(Plugin):
    """Parent of every plugin.

    Does: gives helpers; its own run() and test() say that they are missing.
    Touches on the server: what the plugin that uses a helper says.
    Needs: SSH for the run_as_ helpers, a login for query.
    Safe to repeat?: yes.
    When it cannot tell: a helper raises NoAnswerError (nothing is known) or DatabaseError (the server said no).
    Options: none.
    """

    def run(self, *_arguments: object) -> Result:
        """To be replaced."""
        return self.fail(f"plugin {type(self).__name__} has no run() of its own")

    async def test(self) -> Result:
        """To be replaced: fail when the plugin could not work, change nothing."""
        return self.fail(f"plugin {type(self).__name__} has no test() of its own")

    @helper
    async def run_as_postgres(
        self, servername: str, *argv: str, stdin: bytes = b"", timeout_s: float | None = None
    ) -> Ran:
        """Run a program on a server as the account that owns the data directory. Raises NoAnswerError."""
        return await self._on(servername, RunAs.POSTGRES, argv, stdin, timeout_s)

    @helper
    async def run_as_root(self, servername: str, *argv: str, stdin: bytes = b"", timeout_s: float | None = None) -> Ran:
        """Run a program on a server as root. Raises NoAnswerError."""
        return await self._on(servername, RunAs.ROOT, argv, stdin, timeout_s)

    @helper
    async def run_as_login(
        self, servername: str, *argv: str, stdin: bytes = b"", timeout_s: float | None = None
    ) -> Ran:
        """Run a program on a server as the account that SSH logs in as. Raises NoAnswerError."""
        return await self._on(servername, RunAs.LOGIN, argv, stdin, timeout_s)

    @helper
    async def run_local(self, *argv: str, stdin: bytes = b"", timeout_s: float | None = None) -> Ran:
        """Run a program on HandyRep's own host. Raises NoAnswerError when it does not end in time."""
        return await self.call.run(None, Command(argv, RunAs.LOGIN, stdin), timeout_s)

    @helper
    async def query(
        self,
        servername: str,
        statement: str,
        *values: Any,
        login: Login = Login.HANDYREP,
        database: str | None = None,
        fresh: bool = False,
        timeout_s: float | None = None,
    ) -> tuple[Row, ...]:
        """Run one SQL statement; %s stands for a value. Raises DatabaseError (alive, said no) or NoAnswerError."""
        return await self.call.query(
            self.server(servername), statement, values, wanted_s=timeout_s, login=login, database=database, fresh=fresh
        )

    @helper
    async def put_file(
        self, servername: str, path: str, content: str, *, run_as: RunAs, mode: str = "0600", owner: str = ""
    ) -> Ran:
        """Replace a file on a server in one step: owner and mode are right from the first byte, old or new, never half; durable.

        Raises NoAnswerError (the file is the old or the new one). A failure stands in the Ran's exit_status.
        """
        argv = ("sh", "-c", _PUT_FILE, "put_file", str(PurePosixPath(path)), mode, owner)
        return await self._on(servername, run_as, argv, content.encode(), None)

    @helper
    async def use_plugin(self, kind: Kind, name: str, method: str = "run", /, **arguments: Any) -> Result:
        """Call another plugin, within the time this call has left."""
        return await self.call.other(kind, name, method, arguments)

    def concerned(self, *directives: str) -> tuple[Server, ...]:
        """The enabled PostgreSQL servers for which one of these directives names this plugin."""
        name = type(self).__name__
        return tuple(
            server
            for server in self.cluster.servers
            if server.enabled and server.is_postgres and name in (getattr(server, d) for d in directives)
        )

    async def _on(
        self, servername: str, run_as: RunAs, argv: Iterable[str], stdin: bytes, timeout_s: float | None
    ) -> Ran:
        return await self.call.run(self.server(servername), Command(tuple(argv), run_as, stdin), timeout_s)


HandyRepPlugin = handyrepplugin
"""The name under which plugins of 2014 import their parent."""


def last_words(ran: Ran) -> str:
    """The last line a failed program wrote, for a sentence; its exit status when it wrote nothing."""
    lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
    return lines[-1][:300] if lines else f"exit status {ran.exit_status} without a word"


def nothing_known(error: NoAnswerError) -> str:
    """The sentence for 'no answer'."""
    return f"nothing is known: {error.what}"
