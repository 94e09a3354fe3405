"""poll_isready: asks with pg_isready from the HandyRep server."""

import re
import shutil
from pathlib import Path

from handyrep.directives import path
from handyrep.errors import NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

ACCEPTING, REJECTING, NO_RESPONSE, NOT_ASKED = 0, 1, 2, 3
"""pg_isready's exit codes; the last and all others mean that it was called wrongly or could not be."""

_DEBIAN = Path("/usr/lib/postgresql")
_WRAPPER = "pg_wrapper"
"""What Debian puts on the PATH: a Perl program that starts the real one, and costs far more."""


class poll_isready(handyrepplugin):
    """Polls with pg_isready on the HandyRep server.

    Does: runs pg_isready; after no response, fail_retries times more, fail_retry_interval apart.
    Touches on the server: opens and closes one connection without logging in.
    Needs: pg_isready on the HandyRep server (Debian: package postgresql-client).
    Safe to repeat?: yes.
    When it cannot tell: FAIL. Exit 1 (rejecting: starting up, too many clients) is FAIL with alive = True; exit 3 is our mistake.
    Options: isready_path. The seed requires it; blank, it is looked for on the PATH and where Debian puts it: the program itself rather than pg_wrapper.
    """

    kinds = (Kind.POLL,)
    isready_path = option(path, "", "full path of pg_isready on the HandyRep server; blank: looked for")

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when the server accepts connections."""
        failover = self.settings.failover
        status, said = await self._asked(servername)
        for _ in range(failover.fail_retries):
            if status != NO_RESPONSE:
                break
            await self.call.world.clock.sleep(failover.fail_retry_interval)
            status, said = await self._asked(servername)
        return self._meaning(status, said)

    async def once(self, servername: str) -> Result:
        """The same, by one attempt."""
        return self._meaning(*await self._asked(servername))

    async def _asked(self, servername: str) -> tuple[int, str]:
        program = self._program()
        if not program:
            return NOT_ASKED, "pg_isready is not on the HandyRep server: set isready_path"
        server, timeout_s = self.server(servername), self.settings.failover.call_timeout
        seconds = str(max(round(timeout_s), 1))
        argv = (program, "-h", server.hostname, "-p", str(server.port), "-t", seconds)
        try:
            ran = await self.run_local(*argv, timeout_s=timeout_s)
        except NoAnswerError as error:
            return NO_RESPONSE, error.what
        return ran.exit_status, last_words(ran)

    def _meaning(self, status: int, said: str) -> Result:
        if status == ACCEPTING:
            return self.success(said, alive=True)
        if status == REJECTING:
            return self.fail(f"PostgreSQL is there, but rejects connections: {said}", alive=True)
        if status == NO_RESPONSE:
            return self.fail(f"no response: {said}")
        return self.fail(f"pg_isready could not be used, so nothing is known: {said}")

    def _program(self) -> str:
        if self.isready_path:
            return self.isready_path
        found = shutil.which("pg_isready")
        if found and Path(found).resolve().name != _WRAPPER:
            return found
        versions = sorted(
            _DEBIAN.glob("*/bin/pg_isready"), key=lambda one: [int(n) for n in re.findall(r"\d+", one.parts[-3])]
        )
        return str(versions[-1]) if versions else found or ""

    async def test(self) -> Result:
        """FAIL when pg_isready cannot be run here."""
        program = self._program()
        if not program:
            return self.fail("pg_isready is not on the HandyRep server: set isready_path, or install postgresql-client")
        try:
            ran = await self.run_local(program, "--version")
        except NoAnswerError as error:
            return self.fail(f"{program}: {error.what}")
        if ran.exit_status == 0 and ran.stdout.startswith("pg_isready "):
            return self.success(ran.stdout.strip())
        return self.fail(f"{program} is not pg_isready: {last_words(ran)}")
