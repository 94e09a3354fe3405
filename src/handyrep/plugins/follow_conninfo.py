"""follow_conninfo: points a running replica at another master by primary_conninfo, or at nobody, without a restart."""

import contextlib
from collections.abc import Awaitable

from psycopg import sql

from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, PluginError, RefusedError
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins import _left_in_pgdata, _left_of_following, _slots, _starving
from handyrep.plugins._keeping import WAY
from handyrep.plugins._left_in_pgdata import Left
from handyrep.plugins._parting import history, left_at
from handyrep.plugins._replication import STARVED, WRITE_FOLLOWING, conf_line, conninfo
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.ports import Login, Row

_STATE = """
select pg_is_in_recovery() as in_recovery, (select system_identifier::text from pg_control_system()) as identifier,
       current_setting('primary_slot_name') as slot, current_setting('recovery_target_timeline') as target
"""
# The control file may still tell an older timeline than the one that is replayed; the names of the files of WAL do not.
_STANDS = """
select coalesce(pg_last_wal_replay_lsn(), '0/0')::text as replayed,
       greatest((select timeline_id from pg_control_checkpoint()),
                (select coalesce(max(('x' || substr(name, 1, 8))::bit(32)::int), 0)
                 from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'))::int as timeline
"""
# In force, and still so when the files are read again: each ALTER SYSTEM costs a file that is written to the disk.
_RIGHT = """
select wanted.name from unnest(%s::text[], %s::text[]) as wanted (name, setting)
where case when pg_has_role('pg_read_all_settings', 'usage') then current_setting(wanted.name) end = wanted.setting
  and wanted.setting = coalesce((select f.setting from pg_file_settings f where lower(f.name) = wanted.name
                                 order by f.seqno desc limit 1), wanted.setting)
"""
_HINDERS = """
select distinct lower(name) as name from pg_file_settings
where sourcefile ~ '/postgresql[.]auto[.]conf$' and lower(name) = any (%s)
"""
# One that tried the old way in vain at the moment of the reload takes up the new one only after wal_retrieve_retry_interval (5 s): another
# reload ends that pause, and changes nothing else.
_RELOAD = "select pg_reload_conf()"
_RECEIVES = "select exists (select from pg_stat_wal_receiver) as receives"
_WAKES, _WAKE_AFTER_S = 5, 0.02
_STARVED = f"select (pg_stat_file('{STARVED}', true)).size is not null as starved"
_HALT_SHARE = 0.9
"""Of the time that is left: then it is said why it did not stop, or start again."""


class follow_conninfo(handyrepplugin):
    """Tells a running replica to receive from another master.

    Does: ALTER SYSTEM SET primary_conninfo, recovery_target_timeline = latest, and a reload. Where replica_conf is set, these lines of
    that file are replaced instead. primary_slot_name is kept where the new master has that slot and nobody else uses it; else it is
    emptied: receiving matters more, and a missing slot would end it. dbname in primary_conninfo is handyrep_db: slots are synced by it.
    What halt() or fence_starve kept in pgdata is deleted. halt() lets a replica receive from nobody: it keeps primary_conninfo in
    handyrep.starved and empties it by ALTER SYSTEM, which wins over replica_conf too, and stays so after a restart; `lsn` and
    `timeline` tell where it stands. resume() puts back what was kept.
    Touches on the server: postgresql.auto.conf in pgdata (or replica_conf, with these settings removed from postgresql.auto.conf). Its
    application_name becomes the server's name. halt(): handyrep.starved in pgdata, which may hold a password, for its owner alone;
    resume() and the next follow take it away, a promoted replica keeps it until it is made a replica again.
    Needs: PostgreSQL 13 or newer (the setting is taken up without a restart); a login for postgres_superuser; replication_user must be
    able to log in to the new master: a password goes into primary_conninfo, which only the owner of pgdata and superusers can read.
    SSH for halt(), resume() and replica_conf; halt() needs ALTER SYSTEM, so with allow_alter_system off it refuses.
    Safe to repeat?: yes.
    When it cannot tell: UNCERTAIN. A server that is not in recovery, or of another cluster, is refused, and so is one that has parted from the new master: a master is never turned round by this. halt() gives
    up on a replica that goes on receiving: while its replay is paused, delayed or far behind, PostgreSQL does not stop a receiver.
    Options: none.
    """

    kinds = (Kind.FOLLOW,)

    async def run(self, servername: str, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was told to."""
        try:
            settings = self._settings(servername, newmaster)
            state = (await self.query(servername, _STATE))[0]
        except (DatabaseError, NoAnswerError, RefusedError) as error:
            return self.fail(f"nothing was sent: {error.what}")
        hindered = self._not_ours(servername, newmaster, state) or await self._parted(servername, newmaster)
        if hindered:
            return self.fail(hindered)
        slot, warnings = await self._slot(servername, newmaster, state["slot"] or "")
        try:
            await self._set_all(servername, {"primary_slot_name": slot, **settings})
            left = await self._left_of_starving(servername)
            await self._woken(servername)
        except (DatabaseError, PluginError) as error:
            return self.fail(f"primary_conninfo could not be set: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"it may have been told: {error.what}")
        told = "; ".join([f"{servername} was told to receive from {newmaster}{left}", *warnings])
        return self.success(told, warnings=warnings)

    async def hasten(self, servername: str, newmaster: str) -> Result:
        """As run(), of a replica whose slot, if it has one, is there already. Whether it has parted is not asked: the new master cannot tell yet.

        What is in force beside primary_conninfo may not stand in the files; run() sees to that, once clients need not wait for it.
        """
        try:
            state = (await self.query(servername, _STATE))[0]
            slot = state["slot"] or ""
            hindered = self._not_ours(servername, newmaster, state)
            if slot and not hindered:
                hindered = await _slots.unusable(self, newmaster, slot, servername)
            if hindered:
                return self.fail(f"nothing was sent: {hindered}")
            settings = self._settings(servername, newmaster)
            if state["target"] == settings["recovery_target_timeline"] and not self.server(servername).replica_conf:
                await self._set(servername, "primary_conninfo", settings["primary_conninfo"])
                await self.query(servername, _RELOAD, login=Login.SUPERUSER)
            else:
                await self._set_all(servername, {"primary_slot_name": slot, **settings})
        except HandyRepError as error:
            return self.uncertain(error.what)
        return self.success(f"{servername} was told to receive from {newmaster}")

    def _settings(self, servername: str, newmaster: str) -> dict[str, str]:
        """Raises RefusedError."""
        return {"recovery_target_timeline": "latest", "primary_conninfo": conninfo(self, servername, newmaster)}

    async def _slot(self, servername: str, newmaster: str, slot: str) -> tuple[str, list[str]]:
        """(the slot it can receive through from there, what people should know)."""
        why = await _slots.unusable(self, newmaster, slot, servername) if slot else ""
        return ("", [f"{servername} receives without its slot {slot} now: {why}"]) if why else (slot, [])

    def _not_ours(self, servername: str, newmaster: str, state: Row) -> str:
        """Why this is no replica of ours that could follow; '' when it is one."""
        if servername == newmaster:
            return f"{servername} cannot follow itself"
        if not state["in_recovery"]:
            return f"{servername} is not in recovery: it is a master and is left alone"
        if state["identifier"] != (self.cluster.system_identifier or state["identifier"]):
            return f"in the place of {servername} answers a PostgreSQL of another cluster: it is left alone"
        return ""

    async def _parted(self, servername: str, newmaster: str) -> str:
        """Why it never can follow, and what a person can do; '' where nothing is known of that."""
        limit_s = self.settings.failover.call_timeout
        try:
            stands = (await self.query(servername, _STANDS, timeout_s=limit_s))[0]
            row = (await self.query(newmaster, WAY, login=Login.SUPERUSER, timeout_s=limit_s))[0]
            way = history(row["history"] or "", int(row["timeline"], 16))
            left = left_at(way, stands["timeline"], Lsn.parse(stands["replayed"]))
        except (DatabaseError, NoAnswerError, LookupError, TypeError, ValueError):
            return ""
        if left is None:
            return ""
        return (
            f"{servername} has parted from {newmaster}: it replayed WAL of timeline {stands['timeline']} to {stands['replayed']}, and {newmaster} "
            f"left that timeline at {left}, so nothing was sent. It may have commits that {newmaster} lacks. "
            f"To bring it back and keep those aside: handyrep shutdown {servername}, then handyrep remaster {servername}"
        )

    async def halt(self, servername: str) -> Result:
        """SUCCESS with `lsn` and `timeline` once it receives from nobody and will not again."""
        server = self.server(servername)
        hindered = ""
        try:
            hindered = _starving.hindrance(await _starving.look(self, servername))
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"nothing was sent: {error.what}")
        if hindered:
            return self.fail(f"nothing was sent: {hindered}")
        return await self._acted(_starving.starve(self, server, self._end()))

    async def resume(self, servername: str) -> Result:
        """SUCCESS once what halt() kept is in force again, or nothing was kept."""
        return await self._acted(_starving.feed(self, self.server(servername), self._end()))

    async def _acted(self, act: Awaitable[Result]) -> Result:
        try:
            return await act
        except DatabaseError as error:
            return self.fail(error.what)
        except NoAnswerError as error:
            return self.uncertain(f"it may have been told: {error.what}")

    def _end(self) -> float:
        return self.call.world.clock.monotonic() + self.call.left_s() * _HALT_SHARE

    async def _set_all(self, servername: str, settings: dict[str, str]) -> None:
        """What is not so yet, and a reload. Raises DatabaseError, PluginError, NoAnswerError."""
        file = self.server(servername).replica_conf
        if file:
            lines = "".join(conf_line(setting, value) for setting, value in settings.items())
            argv = ("sh", "-c", WRITE_FOLLOWING, "write_following", file)
            ran = await self.run_as_postgres(servername, *argv, stdin=lines.encode())
            if ran.exit_status != 0:
                raise PluginError(f"{file} could not be written: {last_words(ran)}")
            await self._no_longer_hidden(servername, settings)
        else:
            rows = await self.query(servername, _RIGHT, [*settings], [*settings.values()], login=Login.SUPERUSER)
            for setting in sorted(settings.keys() - {row["name"] for row in rows}):
                await self._set(servername, setting, settings[setting])
        await self.query(servername, _RELOAD, login=Login.SUPERUSER)

    async def _woken(self, servername: str) -> None:
        """See that it is under way. What was ordered is ordered, whatever comes of this."""
        with contextlib.suppress(DatabaseError, NoAnswerError):
            for _ in range(_WAKES):
                await self.call.world.clock.sleep(_WAKE_AFTER_S)
                if (await self.query(servername, _RECEIVES, login=Login.SUPERUSER))[0]["receives"]:
                    return
                await self.query(servername, _RELOAD, login=Login.SUPERUSER)

    async def _no_longer_hidden(self, servername: str, settings: dict[str, str]) -> None:
        """What ALTER SYSTEM has set, halt() for example, wins over replica_conf: take it away."""
        for row in await self.query(servername, _HINDERS, list(settings), login=Login.SUPERUSER):
            reset = sql.SQL("alter system reset {}").format(sql.Identifier(str(row["name"])))
            await self.query(servername, reset.as_string(None), login=Login.SUPERUSER)

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

    async def footprint(self, servername: str) -> Result:
        """Its settings, which a replica needs and a master does not, and what was kept of one that starved."""

        def traces(server: Server, left: Left) -> list[dict[str, str]]:
            return _left_of_following.traces(self, server, left)

        return await _left_in_pgdata.footprint(self, servername, traces)

    async def take_back(self, servername: str) -> Result:
        """On a master reset them; let a replica that was left starving receive again."""

        async def take(server: Server, left: Left) -> str:
            return await _left_of_following.take_back(self, server, left)

        return await _left_in_pgdata.taken_back(self, servername, take)
