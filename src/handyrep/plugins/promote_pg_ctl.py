"""promote_pg_ctl: pg_ctl promote over SSH."""

from handyrep.directives import path
from handyrep.errors import HostKeyError, NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._programs import find_program
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known


class promote_pg_ctl(handyrepplugin):
    """Promotes with "pg_ctl promote", without waiting: HandyRep looks by itself whether it happened.

    Does: pg_ctl promote as the account that owns pgdata.
    Touches on the server: makes it leave recovery, on a new timeline. There is no way back.
    Needs: SSH, pg_ctl.
    Safe to repeat?: HandyRep never does; pg_ctl refuses on a server that is a master already.
    When it cannot tell: UNCERTAIN: the order may have arrived.
    Options: pg_ctl_path.
    """

    kinds = (Kind.PROMOTION,)
    pg_ctl_path = option(path, "", "full path of pg_ctl on the servers; blank: looked for")

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when the order was taken."""
        server = self.server(servername)
        try:
            pg_ctl = await find_program(self, server, "pg_ctl", self.pg_ctl_path)
        except NoAnswerError as error:
            return self.fail(f"nothing was sent: {error.what}")
        if not pg_ctl:
            return self.fail("nothing was sent: pg_ctl is not on this server; set pg_ctl_path")
        try:
            ran = await self.run_as_postgres(servername, pg_ctl, "promote", "-D", server.pgdata, "--no-wait")
        except HostKeyError as error:
            return self.fail(error.what)
        except NoAnswerError as error:
            return self.uncertain(f"pg_ctl promote may have arrived: {error.what}")
        if ran.exit_status != 0:
            return self.fail(f"pg_ctl promote refused: {last_words(ran)}")
        return self.success("pg_ctl promote was taken")

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when pg_ctl cannot be run for pgdata on a server concerned."""
        names = [servername] if servername else [s.name for s in self.concerned("promotion_method")]
        for name in names:
            server = self.server(name)
            try:
                pg_ctl = await find_program(self, server, "pg_ctl", self.pg_ctl_path)
                if not pg_ctl:
                    return self.fail(f"{name}: pg_ctl is not there; set pg_ctl_path")
                ran = await self.run_as_postgres(name, "test", "-f", f"{server.pgdata}/PG_VERSION")
            except NoAnswerError as error:
                return self.fail(f"{name}: {nothing_known(error)}")
            if ran.exit_status != 0:
                return self.fail(
                    f"{name}: {server.pgdata} is not a data directory that {server.postgres_os_user} can read"
                )
        return self.success(f"pg_ctl can be run on {', '.join(names) or 'no server: none uses it'}")
