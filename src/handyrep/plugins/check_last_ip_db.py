"""check_last_ip_db: of several HandyReps, the one whose name stands in the handyrep table is the master. First in wins."""

import platform
import uuid

from psycopg import sql

from handyrep.directives import seconds_between
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin

# One statement on the database's own clock: two HandyReps that come at once cannot both have it. synchronous_commit = local, since
# otherwise it would wait, holding the lease, for replicas that are gone.
_TAKE = """
with local as (select set_config('synchronous_commit', 'local', true) as how)
update {table} as t
set last_holder = %s, last_ip = %s, last_sync = clock_timestamp()
from local
where t.last_holder = %s or t.last_holder is null or t.last_sync is null
   or t.last_sync < clock_timestamp() - make_interval(secs => %s)
returning t.last_ip
"""
_WHO = "select last_ip, extract(epoch from clock_timestamp() - last_sync)::float8 as age_s from {table}"


class check_last_ip_db(handyrepplugin):
    """Says yes when this HandyRep's name stands in the handyrep table, or nobody else's has for last_ip_timeout.

    Does: one UPDATE that takes or keeps the row, by the database's clock. Who is who is told by a random identity made at the start,
    not by the address alone: two HandyReps on one host or behind one address are two. (2014's read first and wrote later: two that
    came at once both won.)
    Touches on the server: the row of the handyrep table on the master.
    Needs: the handyrep table (handyrep init-handyrep-db), and its columns last_ip, last_holder, last_sync.
    Safe to repeat?: yes.
    When it cannot tell: when the row cannot be read (the master that holds it is gone), who held it keeps it until last_ip_timeout has
    passed on its own clock since its last confirmed update; nobody else could take it before. Everybody else fails. So it does not
    protect once that time has passed with the master away, and after an asynchronous failover the row itself may be older.
    Options: last_ip_timeout.
    """

    kinds = (Kind.MASTER_CHECK,)
    last_ip_timeout = option(
        seconds_between(1, 86400),
        60.0,
        "how long the row of another HandyRep is respected; 3 to 10 times poll_interval",
    )

    async def run(self) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when this HandyRep holds the row."""
        me = self.memory.setdefault("identity", uuid.uuid4().hex)
        sent_at = self.call.world.clock.monotonic()
        try:
            master = self.master().name
            rows = await self.query(master, self._with_table(_TAKE), me, _address(), me, self.last_ip_timeout)
            if rows:
                self.memory["held_since"] = sent_at
                return self.success("this HandyRep holds the row")
            self.memory.pop("held_since", None)
            return await self._somebody_else(master)
        except DatabaseError as error:
            return self._unreadable(f"the handyrep table cannot be used ({error.what}); run: handyrep init-handyrep-db")
        except NoAnswerError as error:
            return self._unreadable(f"the handyrep table cannot be read ({error.what})")

    async def _somebody_else(self, master: str) -> Result:
        rows = await self.query(master, self._with_table(_WHO))
        if not rows:
            return self.fail("the handyrep table has no row: run handyrep init-handyrep-db")
        return self.fail(f"the HandyRep at {rows[0]['last_ip']} holds the row, updated {rows[0]['age_s']:.1f} s ago")

    def _unreadable(self, why: str) -> Result:
        held_since = self.memory.get("held_since")
        if held_since is None:
            return self.fail(f"{why}, and this HandyRep did not hold it")
        left_s = held_since + self.last_ip_timeout - self.call.world.clock.monotonic()
        if left_s <= 0:
            return self.fail(f"{why}, and the time in which nobody else could take it has passed")
        return self.success(f"{why}; this HandyRep holds it for another {left_s:.1f} s")

    def _with_table(self, statement: str) -> str:
        names = (self.settings.handyrep.handyrep_schema, self.settings.handyrep.handyrep_table)
        table = sql.SQL(".").join(sql.Identifier(name) for name in names if name)
        return sql.SQL(statement.replace("{table}", "{}")).format(table).as_string(None)

    async def test(self) -> Result:
        """FAIL when the row cannot be read."""
        try:
            rows = await self.query(self.master().name, self._with_table(_WHO))
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"{error}. Run: handyrep init-handyrep-db")
        if not rows:
            return self.fail("the handyrep table has no row: run handyrep init-handyrep-db")
        return self.success(
            "the row can be read. It cannot protect the failover of its own master beyond last_ip_timeout"
        )


def _address() -> str:
    return platform.node()
