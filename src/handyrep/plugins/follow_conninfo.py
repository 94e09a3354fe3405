"""follow_conninfo: points a running replica at another master by primary_conninfo, without a restart."""

from psycopg import sql

from handyrep.errors import DatabaseError, NoAnswerError, RefusedError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._replication import STARVED, WRITE_FOLLOWING, conf_line, conninfo
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.ports import Login

_STATE = "select pg_is_in_recovery() as in_recovery"
_STARVED = f"select (pg_stat_file('{STARVED}', true)).size is not null as starved"


class follow_conninfo(handyrepplugin):
    """Tells a running replica to receive from another master.

    Does: ALTER SYSTEM SET primary_conninfo, recovery_target_timeline = latest, and a reload. Where replica_conf is set, these lines of
    that file are replaced instead. primary_slot_name is emptied: a slot is the old master's, and a missing one would end replication.
    What fence_starve kept in pgdata is deleted.
    Touches on the server: postgresql.auto.conf in pgdata (or replica_conf). Its application_name becomes the server's name.
    Needs: PostgreSQL 13 or newer (the setting is taken up without a restart); a login for postgres_superuser; replication_user must be
    able to log in to the new master: a password goes into primary_conninfo, which only the owner of pgdata and superusers can read.
    Safe to repeat?: yes.
    When it cannot tell: UNCERTAIN. A server that is not in recovery is refused: a master is never turned round by this.
    Options: none.
    """

    kinds = (Kind.FOLLOW,)

    async def run(self, servername: str, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was told to."""
        if servername == newmaster:
            return self.fail(f"{servername} cannot follow itself")
        try:
            settings = {
                "primary_slot_name": "",
                "recovery_target_timeline": "latest",
                "primary_conninfo": conninfo(self, servername, newmaster),
            }
            state = (await self.query(servername, _STATE))[0]
        except (DatabaseError, NoAnswerError, RefusedError) as error:
            return self.fail(f"nothing was sent: {error.what}")
        if not state["in_recovery"]:
            return self.fail(f"{servername} is not in recovery: it is a master and is left alone")
        try:
            return await self._told(servername, newmaster, settings)
        except DatabaseError as error:
            return self.fail(f"primary_conninfo could not be set: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"it may have been told: {error.what}")

    async def _told(self, servername: str, newmaster: str, settings: dict[str, str]) -> Result:
        file = self.server(servername).replica_conf
        if file:
            lines = "".join(conf_line(setting, value) for setting, value in settings.items())
            argv = ("sh", "-c", WRITE_FOLLOWING, "write_following", file)
            ran = await self.run_as_postgres(servername, *argv, stdin=lines.encode())
            if ran.exit_status != 0:
                return self.fail(f"{file} could not be written: {last_words(ran)}")
        else:
            for setting, value in settings.items():
                await self._set(servername, setting, value)
        await self.query(servername, "select pg_reload_conf()", login=Login.SUPERUSER)
        left = await self._left_of_starving(servername)
        return self.success(f"{servername} was told to receive from {newmaster}{left}")

    async def _left_of_starving(self, servername: str) -> str:
        """Take away what fence_starve kept: it is of the old master. What stays there does no harm, and is told."""
        file = f"{self.server(servername).pgdata}/{STARVED}"
        try:
            rows = await self.query(servername, _STARVED, login=Login.SUPERUSER)
            if not rows or rows[0].get("starved") is not True:
                return ""
            removed = (await self.run_as_postgres(servername, "rm", "-f", file)).exit_status == 0
        except DatabaseError:
            return ""  # who may not look for it has not starved it either
        except NoAnswerError:
            removed = False
        return "" if removed else f"; if {file} is there, it may be deleted"

    async def _set(self, servername: str, setting: str, value: str) -> None:
        statement = sql.SQL("alter system set {} = {}").format(sql.Identifier(setting), sql.Literal(value))
        await self.query(servername, statement.as_string(None), login=Login.SUPERUSER)

    async def test(self) -> Result:
        """FAIL when the superuser cannot log in somewhere, or ALTER SYSTEM is switched off."""
        for server in self.cluster.servers:
            if server.enabled and server.is_postgres:
                try:
                    rows = await self.query(
                        server.name,
                        "select setting from pg_settings where name = 'allow_alter_system'",
                        login=Login.SUPERUSER,
                    )
                except (DatabaseError, NoAnswerError) as error:
                    return self.fail(
                        f"{server.name}: {nothing_known(error) if isinstance(error, NoAnswerError) else error.what}"
                    )
                if rows and rows[0]["setting"] == "off" and not server.replica_conf:
                    return self.fail(f"{server.name}: allow_alter_system is off; set replica_conf, or switch it on")
        return self.success("every server can be told whom to follow")
