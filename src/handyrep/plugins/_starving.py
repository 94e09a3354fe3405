"""What a replica says of its receiving, and the file in which its primary_conninfo is kept while it is starved.

Owns how it is read, written and put back. The kept value may hold a password: it must never come into a result or a message.
"""

import dataclasses
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from handyrep.errors import DatabaseError
from handyrep.plugins._replication import STARVED
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Login, Row, RunAs

if TYPE_CHECKING:
    from handyrep.model.server import Server
    from handyrep.plugins.handyrepplugin import handyrepplugin

# pg_file_settings tells what the next reload or restart will take; a value that was set and not loaded yet stands there alone.
# pg_stat_wal_receiver does not show a receiver that is still connecting; among the processes it shows.
_LOOK = f"""
with told as (select setting, sourcefile ~ '/postgresql[.]auto[.]conf$' as by_alter_system
              from pg_file_settings where lower(name) = 'primary_conninfo' order by seqno desc limit 1)
select pg_is_in_recovery() as in_recovery,
       current_setting('primary_conninfo') as applied,
       coalesce((select setting from told), '') as told,
       coalesce((select by_alter_system from told), false) as by_alter_system,
       pg_read_file('{STARVED}', 0, 1000000, true) as kept,
       exists (select from pg_stat_wal_receiver)
       or exists (select from pg_stat_activity where backend_type = 'walreceiver') as receiving,
       coalesce((select setting from pg_settings where name = 'allow_alter_system'), 'on') = 'on' as can_be_told,
       current_setting('cluster_name') as cluster_name,
       coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text, '') as lsn,
       greatest((select timeline_id from pg_control_checkpoint()),
                (select coalesce(min_recovery_end_timeline, 0) from pg_control_recovery())) as timeline
"""
_TO_NOBODY = "alter system set primary_conninfo = ''"
_RELOAD = "select pg_reload_conf()"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One answer of one replica. `told` is primary_conninfo in its files, `applied` the one in force, `kept` the one of before."""

    in_recovery: bool
    applied: str = dataclasses.field(repr=False)
    told: str = dataclasses.field(repr=False)
    by_alter_system: bool
    kept: str | None = dataclasses.field(repr=False)
    receiving: bool
    can_be_told: bool
    cluster_name: str
    lsn: str
    timeline: int

    @property
    def starved(self) -> bool:
        """It receives nothing, and will not after a restart either."""
        return self.in_recovery and not (self.applied or self.told or self.receiving)

    @property
    def calls_itself(self) -> str:
        """The name under which it confirms to its master; '' when it has none to connect to."""
        if not self.applied:
            return ""
        try:
            given = conninfo_to_dict(self.applied).get("application_name")
        except psycopg.Error:
            return "what cannot be read"
        return str(given or self.cluster_name or "walreceiver")


async def look(plugin: "handyrepplugin", name: str) -> Look:
    """Ask it. Raises DatabaseError, NoAnswerError."""
    row: Row = (await plugin.query(name, _LOOK, login=Login.SUPERUSER))[0]
    return Look(**row)


async def starve(plugin: "handyrepplugin", server: "Server") -> str:
    """Tell it to receive from nobody; why it was not told, or ''. It may still receive when this returns.

    Raises DatabaseError, NoAnswerError.
    """
    seen = await look(plugin, server.name)
    if seen.told:
        kept = seen.told if seen.by_alter_system else ""
        ran = await plugin.put_file(server.name, _place(server), kept, run_as=RunAs.POSTGRES)
        if ran.exit_status != 0:
            return f"{_place(server)} could not be written: {last_words(ran)}"
        if (await look(plugin, server.name)).kept != kept:
            await plugin.run_as_postgres(server.name, "rm", "-f", _place(server))
            return f"{server.pgdata} is not the data directory it runs in"
        await _order(plugin, server.name, _TO_NOBODY)
    await _order(plugin, server.name, _RELOAD)
    return ""


async def feed(plugin: "handyrepplugin", server: "Server") -> bool:
    """Give it back what was kept, unless it was told something else since; whether that is in force, and nothing is kept any more.

    Raises DatabaseError, NoAnswerError.
    """
    seen = await look(plugin, server.name)
    if seen.kept is None:
        return True
    if not seen.told:
        await _order(plugin, server.name, _before(seen.kept))
    await _order(plugin, server.name, _RELOAD)
    if not (await look(plugin, server.name)).applied:
        return False
    return (await plugin.run_as_postgres(server.name, "rm", "-f", _place(server))).exit_status == 0


def _before(kept: str) -> str:
    if not kept:
        return "alter system reset primary_conninfo"
    return sql.SQL("alter system set primary_conninfo = {}").format(sql.Literal(kept)).as_string(None)


async def _order(plugin: "handyrepplugin", name: str, statement: str) -> None:
    try:
        await plugin.query(name, statement, login=Login.SUPERUSER)
    except DatabaseError as error:
        what = f"primary_conninfo could not be changed (SQLSTATE {error.sqlstate})"
        raise DatabaseError(what, sqlstate=error.sqlstate, server=name) from None


def _place(server: "Server") -> str:
    return f"{server.pgdata}/{STARVED}"
