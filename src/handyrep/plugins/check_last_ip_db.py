"""check_last_ip_db: of several HandyReps, the one whose name stands in the handyrep table is the master. First in wins."""

import hashlib
import platform
import uuid
from pathlib import Path

from psycopg import sql

from handyrep.directives import seconds_between
from handyrep.errors import DatabaseError, NoAnswerError, PluginError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Row

# One statement on the database's own clock: of two HandyReps that come at once, the second waits for the first one's row and then
# finds it fresh. synchronous_commit = local, since it would otherwise wait, holding the row, for replicas that are gone.
_TAKE = """
with local as (select set_config('synchronous_commit', 'local', true))
update {table} as t
set last_holder = %s, last_sync = clock_timestamp(), last_ip = coalesce(host(inet_client_addr()), 'local') || ' (' || %s || ')'
from local
where t.last_holder = %s or t.last_holder is null or t.last_sync is null
   or t.last_sync < clock_timestamp() - make_interval(secs => %s)
returning t.last_ip
"""
_WHO = """
select last_ip, last_holder, extract(epoch from clock_timestamp() - last_sync)::float8 as age_s,
       has_table_privilege({name}, 'update') as may_take
from {table}
"""
_THERE = """
select true as there from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relname = %s and (n.nspname = %s or %s = '' and pg_table_is_visible(c.oid))
"""
_KEPT_SHARE = 0.8
"""Of last_ip_timeout: so long the holder may believe in a row that it cannot read, though its clock ran a fifth too slow."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_INIT = "run: handyrep init-handyrep-db"


class check_last_ip_db(handyrepplugin):
    """Of several HandyReps, the one whose name stands in the handyrep table is the master; it is free after last_ip_timeout.

    Does: one UPDATE that takes or keeps the row, by the database's clock: first in wins. Who is who is told by an identity of this
    host's boot and state_dir, not by the address (which is shown): two behind one address, or on one host, are two. 2014's read first
    and wrote later: two that came at once both won.
    Touches on the server: last_ip, last_holder and last_sync of the row in the handyrep table on the master.
    Needs: the handyrep table (made by: handyrep init-handyrep-db); the same last_ip_timeout in every HandyRep, several times poll_interval.
    Safe to repeat?: yes; it must be repeated: the row is kept by that.
    When it cannot tell: while the row cannot be read (the master that holds it is gone), who held it keeps it for four fifths of
    last_ip_timeout after its last confirmed UPDATE; nobody else could take it before. Everybody else fails. What it cannot protect:
    a failover that begins later than that with the master away is made by nobody; after an asynchronous failover the row itself may
    be older; where the master's clock is set forward the row is free too early, and set back, too late.
    Options: last_ip_timeout.
    """

    kinds = (Kind.MASTER_CHECK,)
    last_ip_timeout = option(
        seconds_between(1, 86400),
        60.0,
        "how long the row of another HandyRep is respected after its last update; 3 to 10 times poll_interval",
    )

    async def run(self) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when this HandyRep holds the row."""
        sent_at = self.call.world.clock.monotonic()
        try:
            held = await self._take(self.master().name)
            if held:
                self.memory["held_at"] = sent_at
                return self.success(f"this HandyRep, {held[0]['last_ip']}, holds the row")
            self.memory.pop("held_at", None)
            return self._told(await self._who())
        except DatabaseError as error:
            return self._unreadable(f"the handyrep table cannot be used ({error.what}); {_INIT}")
        except (NoAnswerError, PluginError) as error:
            return self._unreadable(f"the handyrep table cannot be read ({error.what})")

    async def _take(self, master: str) -> tuple[Row, ...]:
        me = self._identity()
        table = self._table().replace("%", "%%")
        return await self.query(master, _TAKE.replace("{table}", table), me, platform.node(), me, self.last_ip_timeout)

    async def _who(self) -> tuple[Row, ...]:
        name = sql.Literal(self._table()).as_string(None)
        statement = _WHO.replace("{name}", name).replace("{table}", self._table())
        return await self.query(self.master().name, statement)

    def _told(self, rows: tuple[Row, ...]) -> Result:
        if not rows:
            return self.fail(f"the handyrep table has no row: {_INIT}")
        age_s = rows[0]["age_s"] or 0.0
        later = "; the database's clock was set back since: clear last_sync by hand if that HandyRep is gone"
        return self.fail(
            f"the HandyRep at {rows[0]['last_ip']} holds the row, updated {age_s:.1f} s ago"
            + (later if age_s < 0 else "")
        )

    def _unreadable(self, why: str) -> Result:
        held_at = self.memory.get("held_at")
        if held_at is None:
            return self.fail(f"{why}, and this HandyRep did not hold it")
        left_s = held_at + self.last_ip_timeout * _KEPT_SHARE - self.call.world.clock.monotonic()
        if left_s <= 0:
            return self.fail(f"{why}, and the time in which nobody else could take it has passed")
        return self.success(f"{why}; this HandyRep held it, and nobody else can have it for another {left_s:.1f} s")

    def _table(self) -> str:
        names = (self.settings.handyrep.handyrep_schema, self.settings.handyrep.handyrep_table)
        return sql.SQL(".").join(sql.Identifier(name) for name in names if name).as_string(None)

    def _identity(self) -> str:
        """The same after a restart of HandyRep, so that it need not wait for itself. Its state_dir is locked: nobody else has it."""
        folder = Path(self.settings.handyrep.state_dir)
        try:
            facts = folder.stat()
            parts = (_BOOT_ID.read_text(encoding="ascii"), platform.node(), str(folder), facts.st_dev, facts.st_ino)
        except OSError:
            return str(self.memory.setdefault("identity", uuid.uuid4().hex))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    async def footprint(self, servername: str) -> Result:
        """The handyrep table, looked for on the master alone: replicas have what it has."""
        if self.cluster.master is None or self.cluster.master.name != servername:
            return self.success(traces=[])
        names = self.settings.handyrep
        try:
            rows = await self.query(
                servername, _THERE, names.handyrep_table, names.handyrep_schema, names.handyrep_schema
            )
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"whether the handyrep table is there is not known: {error.what}")
        why = "it does nothing by itself, and another HandyRep may start from it; once none does: DROP TABLE"
        purpose = "HandyRep's state, and which HandyRep may act"
        place = f"table {self._table()} in {names.handyrep_db}"
        return self.success(traces=[self.trace("table", place, purpose, stays=why)] if rows else [])

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the row cannot be read or written."""
        if servername not in (None, getattr(self.cluster.master, "name", None)):
            return self.success(f"{servername} is not the master, whose table it is")
        try:
            rows = await self._who()
        except (DatabaseError, NoAnswerError, PluginError) as error:
            return self.fail(f"{error.what}; {_INIT}")
        if not rows:
            return self.fail(f"the handyrep table has no row: {_INIT}")
        if not rows[0]["may_take"]:
            return self.fail("handyrep_user may not write to the handyrep table: GRANT UPDATE on it")
        return self.success(
            "the row can be read and written. It protects no failover that begins later than"
            f" {self.last_ip_timeout * _KEPT_SHARE:g} s after the master went away: then nobody fails over"
        )
