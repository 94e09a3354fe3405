"""sync_names: sets synchronous_standby_names by ALTER SYSTEM, and looks until it is in force."""

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable

from psycopg import sql

from handyrep.decide.quorum import parse_sync_list
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._left_in_pgdata import Left
from handyrep.plugins._left_of_following import reset
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Login, Row

# An order goes by a session of its own, so one that was sent and not heard of is carried by a session that has done nothing else.
_FORMER_ORDERS = """
from pg_stat_activity
where application_name = 'handyrep' and usename = current_user and pid <> pg_backend_pid()
  and (query = '' or query ilike 'alter system set synchronous_standby_names%')
"""
_END_FORMER_ORDERS = f"select pid, pg_terminate_backend(pid) as ended {_FORMER_ORDERS}"
# A session that begins after the reload takes what the postmaster has by then. That commits must wait at all is told by the checkpointer,
# which hears of a reload between two checkpoints or while it writes slowly; before that it may be busy for long. The sessions are looked
# at first: where none is left, nothing changes behind what is read after them.
_LOOK = f"""
with read as materialized (select lower(name) as name, setting, sourcefile, sourceline, error from pg_file_settings),
     told as (select setting, sourcefile, sourceline, sourcefile ~ '/postgresql[.]auto[.]conf$' as by_alter_system
              from read where name = 'synchronous_standby_names')
select (select count(*) {_FORMER_ORDERS}) as former_orders,
       current_setting('synchronous_standby_names') as applied,
       coalesce((select setting from told where by_alter_system limit 1), '') as told,
       (select string_agg(sourcefile || ' line ' || sourceline, ', ') from told where not by_alter_system) as elsewhere,
       (select source from pg_settings where name = 'synchronous_standby_names') = 'command line' as by_command_line,
       coalesce(current_setting('allow_alter_system', true), 'on') = 'on' as can_be_told,
       coalesce((select wait_event in ('CheckpointerMain', 'CheckpointWriteDelay') from pg_stat_activity
                 where backend_type = 'checkpointer'), false) as checkpointer_hears,
       extract(epoch from clock_timestamp() - pg_conf_load_time())::float8 as since_reload_s,
       (select min(sourcefile || ' line ' || coalesce(sourceline, 0) || ': ' || error) from read where error is not null) as mistake
"""
_SETTING = "synchronous_standby_names"
_SHARE = 0.9
"""Of the time that is left: then it is said why it is not in force."""
_LOOK_EVERY_S = 0.05
_CALM_S = 0.1
"""For so long it must be seen in force: the other processes hear of it a little later than a new session."""
_LOOKS_AFTER_A_RELOAD = 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """`applied`: what a new session has; `told`: what postgresql.auto.conf says; `elsewhere`: where else a value stands.

    `former_orders`: the sessions that may carry an older order.
    """

    former_orders: int
    applied: str
    told: str
    elsewhere: str | None
    by_command_line: bool
    can_be_told: bool
    checkpointer_hears: bool
    since_reload_s: float
    mistake: str | None

    def has(self, names: str) -> bool:
        """Whether it is in force, and stays so after a restart."""
        return (self.applied, self.told) == (names, names)

    def needs_no_order(self, names: str) -> bool:
        """Whether it is in force, whatever was sent before; not every process need have heard of it."""
        return self.has(names) and not self.by_command_line and not self.former_orders and self.checkpointer_hears

    def is_settled(self, names: str) -> bool:
        """Whether it is in force, and every process has heard of it."""
        return self.needs_no_order(names) and self.not_yet_heard_s <= 0

    @property
    def not_yet_heard_s(self) -> float:
        """How long the other processes may still take to hear of the newest reload, whoever ordered it."""
        return min(_CALM_S - self.since_reload_s, _CALM_S)

    @property
    def hindrance(self) -> str:
        """Why it cannot be set, or ''."""
        if self.by_command_line:
            return "synchronous_standby_names stands on its command line, which wins over everything"
        return "" if self.can_be_told else "allow_alter_system is off"


class sync_names(handyrepplugin):
    """Sets synchronous_standby_names, on a master or on a replica that is about to become one, without a restart.

    Does: ends sessions of HandyRep that may still carry an older order; ALTER SYSTEM SET synchronous_standby_names, a reload; looks
    through new sessions until it is in force, and until the checkpointer has heard of it, which lets commits wait. A setting in
    postgresql.conf is left as it is and wins no more: it is told. A list that is in force already is only looked at. Only lists of names that can be counted: never *, never none.
    Touches on the server: synchronous_standby_names in postgresql.auto.conf in pgdata.
    Needs: a login for postgres_superuser, or for a role that may set this (15 and later: GRANT ALTER SYSTEM ON PARAMETER, and pg_monitor,
    EXECUTE on pg_reload_conf() and pg_show_all_file_settings(), SELECT on pg_file_settings); allow_alter_system on.
    Safe to repeat?: yes.
    When it cannot tell: FAIL while nothing was sent; UNCERTAIN afterwards: the list may come into force at any moment, until another
    call of this has succeeded.
    Options: none.
    """

    kinds = (Kind.SYNC,)

    async def run(self, servername: str, names: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS once it is in force, and no older order can follow."""
        if parse_sync_list(names) is None:
            return self.fail(f"nothing was sent: {names!r} is no list of names that can be counted")
        with contextlib.suppress(DatabaseError, NoAnswerError):
            seen = await self._held_look(servername)
            if seen.is_settled(names):
                return self.success(_also_set(seen))
        try:
            before = await self._before(servername, names)
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"nothing was sent: {error.what}")
        if isinstance(before, str):
            return self.fail(f"nothing was sent: {before}")
        if before.is_settled(names):
            return self.success(_also_set(before))
        return await self._set(servername, names, before)

    async def _before(self, servername: str, names: str) -> _Look | str:
        """How it is now, once no older order can follow; or why nothing may be sent."""
        seen = await self._heard(servername, names)
        if seen.needs_no_order(names):
            return seen
        if not await self._until(lambda: self._no_former_order(servername)):
            return "a session of HandyRep there does not end, and may carry an older order"
        seen = await self._look(servername)
        return seen.hindrance or seen

    async def _heard(self, servername: str, names: str) -> _Look:
        """A look; where the list only needs to be heard of, one of a moment later."""
        seen = await self._look(servername)
        for _ in range(_LOOKS_AFTER_A_RELOAD):
            if seen.needs_no_order(names) and seen.not_yet_heard_s > 0:
                await self.call.world.clock.sleep(seen.not_yet_heard_s)
                seen = await self._look(servername)
        return seen

    async def _set(self, servername: str, names: str, before: _Look) -> Result:
        try:
            if not before.has(names):
                await self._query(servername, _alter(names))
        except DatabaseError as error:
            return self.fail(f"it could not be set: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"it may have been set: {error.what}")
        return await self._in_force(servername, names)

    async def _no_former_order(self, servername: str) -> bool:
        return not await self._query(servername, _END_FORMER_ORDERS)

    async def _in_force(self, servername: str, names: str) -> Result:
        """Reload, and look until it is so."""
        seen: list[_Look] = []
        try:
            await self._query(servername, "select pg_reload_conf()")
            if await self._until(lambda: self._has(servername, names, seen), _CALM_S):
                with contextlib.suppress(DatabaseError, NoAnswerError):
                    await self._held_look(servername)
                return self.success(_also_set(seen[-1]))
        except (DatabaseError, NoAnswerError) as error:
            return self.uncertain(f"it was set, and whether it is in force is not known: {error.what}")
        return self.uncertain(f"it was set, and is not in force yet{_why(seen)}")

    async def _has(self, servername: str, names: str, seen: list[_Look]) -> bool:
        seen.append(await self._look(servername))
        return seen[-1].has(names) and seen[-1].checkpointer_hears

    async def _until(self, holds: Callable[[], Awaitable[bool]], calm_s: float = 0.0) -> bool:
        """Look until it has held for `calm_s`, as long as there is time."""
        clock = self.call.world.clock
        end = clock.monotonic() + self.call.left_s() * _SHARE
        since: float | None = None
        while (now := clock.monotonic()) < end:
            held = await holds()
            since = (now if since is None else since) if held else None
            if since is not None and now - since >= calm_s:
                return True
            await clock.sleep(_LOOK_EVERY_S)
        return False

    async def _held_look(self, servername: str) -> _Look:
        """By a session that is there already: good enough to see that nothing is to be done. It takes a reload for as old as its own look after that."""
        limit_s = self.settings.failover.call_timeout
        return _Look(**(await self.query(servername, _LOOK, login=Login.SUPERUSER, timeout_s=limit_s))[0])

    async def _look(self, servername: str) -> _Look:
        return _Look(**(await self._query(servername, _LOOK))[0])

    async def _query(self, servername: str, statement: str) -> tuple[Row, ...]:
        return await self.query(servername, statement, login=Login.SUPERUSER, fresh=True)

    async def test(self) -> Result:
        """FAIL where it could not be set. Nothing is looked at while nothing is to be set."""
        if not self.settings.failover.synchronous_required:
            return self.success("synchronous_required is 0: synchronous_standby_names is left alone")
        for server in self.cluster.servers:
            if server.enabled and server.is_postgres:
                try:
                    why = (await self._look(server.name)).hindrance
                except (DatabaseError, NoAnswerError) as error:
                    why = error.what
                if why:
                    return self.fail(f"{server.name}: {why}")
        return self.success("it can be set on every server")

    async def footprint(self, servername: str) -> Result:
        """A list that stands there as HandyRep writes it: on a master commits wait for it, on a replica it waits for a promotion."""
        return await _left_in_pgdata.footprint(self, servername, self._traces)

    def _traces(self, _: Server, left: Left) -> list[dict[str, str]]:
        if not self._is_ours(left):
            return []
        waits = (
            ""
            if left.is_standby
            else "acknowledged commits rest on it; once you want that no more: ALTER SYSTEM RESET, and a reload"
        )
        stopped = "" if left.runs else "PostgreSQL does not run there, so nothing can be told to it"
        purpose = f"commits wait for {left.auto[_SETTING]}, by ALTER SYSTEM" + (
            "; not before a promotion" if not waits else ""
        )
        return [self.trace("setting", f"setting {_SETTING}", purpose, stays=waits or stopped)]

    def _is_ours(self, left: Left) -> bool:
        """Whether it is written as HandyRep writes a list of servers of this cluster."""
        text = left.auto.get(_SETTING, "")
        found = parse_sync_list(text)
        return found is not None and found.text == text and set(found.names) <= set(self.cluster.members)

    async def take_back(self, servername: str) -> Result:
        """Reset it on a replica."""

        async def take(server: Server, left: Left) -> str:
            goes = left.runs and left.is_standby and self._is_ours(left)
            return await reset(self, server.name, [_SETTING], in_recovery=True) if goes else ""

        return await _left_in_pgdata.taken_back(self, servername, take)


def _alter(names: str) -> str:
    return sql.SQL("alter system set synchronous_standby_names = {}").format(sql.Literal(names)).as_string(None)


def _also_set(seen: _Look) -> str:
    return f"the setting in {seen.elsewhere} does not count any more" if seen.elsewhere else ""


def _why(seen: list[_Look]) -> str:
    if not seen:
        return ": there was no time to look"
    if seen[-1].mistake:
        return f": the configuration has a mistake ({seen[-1].mistake})"
    return "" if seen[-1].checkpointer_hears else ": the checkpointer is busy and has not heard of it"
