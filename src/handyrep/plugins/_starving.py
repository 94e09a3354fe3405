"""How a replica is told to receive from nobody, and when it certainly does; how it is given back what was kept meanwhile.

Owns the file that keeps its primary_conninfo. The kept value may hold a password: it must never come into a result or a message.
"""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from psycopg import sql

from handyrep.errors import DatabaseError
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.plugins._at_once import on_each, together
from handyrep.plugins._replication import STARVED, calls_itself
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Login, Row, RunAs

if TYPE_CHECKING:
    from handyrep.model.server import Server
    from handyrep.plugins.handyrepplugin import handyrepplugin

# pg_file_settings tells what the next reload or restart will take; a value that was set and not loaded yet stands there alone.
# pg_stat_wal_receiver does not show a receiver that is still connecting; among the processes it shows.
# Between two attempts to get WAL the startup process waits, and takes up its settings before it makes the next one.
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
       exists (select from pg_stat_activity
               where backend_type = 'startup' and wait_event = 'RecoveryRetrieveRetryInterval') as between_attempts,
       coalesce(current_setting('allow_alter_system', true), 'on') = 'on' as can_be_told,
       current_setting('cluster_name') as cluster_name,
       pg_last_wal_receive_lsn() is not null as has_received,
       coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text, '') as lsn,
       greatest((select timeline_id from pg_control_checkpoint()),
                (select coalesce(min_recovery_end_timeline, 0) from pg_control_recovery())) as timeline
"""
_TO_NOBODY = "alter system set primary_conninfo = ''"
_RELOAD = "select pg_reload_conf()"
_LOOK_EVERY_S = 0.01
_FEED_SHARE = 0.5
_CALM_S = 0.1
"""A replica hears of the new setting a little later than the session that asks; until then it might begin to receive once more."""
_CALM_BETWEEN_ATTEMPTS_S = 0.01
"""One that is seen waiting for its next attempt cannot: it hears first. Only the postmaster's round of signals must be over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One answer of one replica. `told` is primary_conninfo in its files, `applied` the one in force, `kept` the one of before."""

    in_recovery: bool
    applied: str = dataclasses.field(repr=False)
    told: str = dataclasses.field(repr=False)
    by_alter_system: bool
    kept: str | None = dataclasses.field(repr=False)
    receiving: bool
    between_attempts: bool
    can_be_told: bool
    cluster_name: str
    has_received: bool
    lsn: str
    timeline: int

    @property
    def starved(self) -> bool:
        """It receives nothing, and will not after a restart either."""
        return self.in_recovery and not (self.applied or self.told or self.receiving)

    @property
    def knows_its_end(self) -> bool:
        """`lsn` is all that it has. One that has received nothing since its start knows that only when it has replayed what it found."""
        return self.has_received or self.between_attempts

    @property
    def calls_itself(self) -> str:
        """The name under which it confirms to its master; '' when it has none to connect to."""
        return calls_itself(self.applied, self.cluster_name)


async def look(plugin: "handyrepplugin", name: str) -> Look:
    """Ask it. Raises DatabaseError, NoAnswerError."""
    row: Row = (await plugin.query(name, _LOOK, login=Login.SUPERUSER))[0]
    return Look(**row)


async def starve(plugin: "handyrepplugin", server: "Server", end: float) -> Result:
    """Let it receive from nobody: SUCCESS with `lsn` and `timeline` once it does, and will not again. Until `end`, by the clock.

    Raises DatabaseError, NoAnswerError.
    """
    hindered = await _tell(plugin, server)
    if hindered:
        return fail(hindered)
    clock, calm_since, seen = plugin.call.world.clock, None, None
    while (now := clock.monotonic()) < end:
        seen = await look(plugin, server.name)
        if not (seen.starved and seen.knows_its_end):
            calm_since = None
        elif calm_since is None:
            calm_since = now
        elif now - calm_since >= (_CALM_BETWEEN_ATTEMPTS_S if seen.between_attempts else _CALM_S):
            return success(lsn=seen.lsn, timeline=seen.timeline)
        await clock.sleep(_LOOK_EVERY_S)
    return fail(_not_starved(seen))


async def feed(plugin: "handyrepplugin", server: "Server", end: float) -> Result:
    """Give it back what was kept, unless it was told something else since: SUCCESS once that is in force, and nothing is kept any more.

    Raises DatabaseError, NoAnswerError.
    """
    seen = await look(plugin, server.name)
    if seen.kept is None:
        return success()
    if not seen.told:
        await _order(plugin, server.name, _before(seen.kept))
    await _order(plugin, server.name, _RELOAD)
    clock = plugin.call.world.clock
    while not (await look(plugin, server.name)).applied:
        if clock.monotonic() >= end:
            return uncertain("its primary_conninfo is not in force again")
        await clock.sleep(_LOOK_EVERY_S)
    ran = await plugin.run_as_postgres(server.name, "rm", "-f", _place(server))
    return success() if ran.exit_status == 0 else uncertain(f"{_place(server)} could not be deleted: {last_words(ran)}")


async def put_back(plugin: "handyrepplugin", servers: Iterable["Server"]) -> Result:
    """Feed all of these, within the time that is left."""

    async def fed(server: "Server") -> Result:
        end = plugin.call.world.clock.monotonic() + plugin.call.left_s() * _FEED_SHARE
        return await feed(plugin, server, end)

    said = await on_each(servers, fed, limit_s=plugin.call.left_s(), acts=True)
    return together(said, "receive as before")


def hindrance(seen: Look) -> str:
    """Why it cannot be told to receive from nobody, or ''."""
    if not seen.in_recovery:
        return "it is not in recovery"
    if seen.told and not seen.can_be_told:
        return "allow_alter_system is off"
    return ""


async def _tell(plugin: "handyrepplugin", server: "Server") -> str:
    """Order it to receive from nobody; why that was not ordered, or ''."""
    seen = await look(plugin, server.name)
    hindered = hindrance(seen)
    if hindered:
        return hindered
    if seen.told:
        kept = seen.told if seen.by_alter_system else ""
        ran = await plugin.put_file(server.name, _place(server), kept, run_as=RunAs.POSTGRES)
        if ran.exit_status != 0:
            return f"{_place(server)} could not be written: {last_words(ran)}"
        if (await look(plugin, server.name)).kept != kept:
            await plugin.run_as_postgres(server.name, "rm", "-f", _place(server))
            return f"{server.pgdata} is not the data directory it runs in"
        await _order(plugin, server.name, _TO_NOBODY)
    if seen.told or seen.applied:
        await _order(plugin, server.name, _RELOAD)
    return ""


def _not_starved(seen: Look | None) -> str:
    if seen is None:
        return "it was told to receive nothing, and there was no time to see whether it does"
    if seen.receiving:
        return "it was told to receive nothing, and goes on receiving"
    if not seen.starved:
        return "it was told to receive nothing, and another setting of primary_conninfo wins"
    return (
        "it receives nothing, and how far it has got is not known: it still replays what it found when it was started"
    )


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
