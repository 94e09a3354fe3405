"""Physical replication slots: which one each replica uses, and how one comes to be on a master.

Owns the name of a slot that HandyRep makes for a server. A slot keeps WAL for ever, so nothing here makes one for a server that
does not answer, except for one that is about to be started as a replica.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, success
from handyrep.model.status import Health
from handyrep.plugins._at_once import on_each
from handyrep.plugins._replication import conf_line, following, upstream
from handyrep.ports import Login, Row

if TYPE_CHECKING:
    from handyrep.model.server import Server
    from handyrep.plugins.handyrepplugin import handyrepplugin

NAME = re.compile(r"[a-z0-9_]{1,63}")
"""What PostgreSQL takes as the name of a slot."""
_USED = """
select pg_is_in_recovery() as in_recovery, current_setting('primary_slot_name') as slot,
       case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('primary_conninfo') else '' end as primary_conninfo
"""
_ONE = """
select s.slot_type, s.active, coalesce(s.wal_status, '') as wal_status, coalesce(r.application_name, '') as receiver
from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid where s.slot_name = %s
"""
# The second argument: its WAL is kept from now on, not only from the first time that somebody receives through it.
_MAKE = "select slot_name from pg_create_physical_replication_slot(%s, true)"
_DROP_LOST = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots
where slot_name = %s and slot_type = 'physical' and wal_status = 'lost' and not active
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """What one server says: through which slot it receives, or would if it were a replica ('': none), and where it is told to."""

    in_recovery: bool
    slot: str
    upstream: str


def answering(plugin: "handyrepplugin", servers: Iterable["Server"]) -> list["Server"]:
    """Those of them that answered when they were last looked at: to wait for the others would cost time when there is none."""
    members = plugin.cluster.members
    return [s for s in servers if members[s.name].status.health not in (Health.UNAVAILABLE, Health.DOWN)]


async def used(plugin: "handyrepplugin", servers: Iterable["Server"]) -> dict[str, Used]:
    """What each of them says, by name. Who does not answer is left out."""

    async def asked(server: "Server") -> Result:
        return success(**(await plugin.query(server.name, _USED))[0])

    said = await on_each(answering(plugin, servers), asked, limit_s=plugin.settings.failover.call_timeout, acts=False)
    rows = {name: result.extra for name, result in said.items() if result.outcome is Outcome.SUCCESS}
    return {
        name: Used(row["in_recovery"], row["slot"] or "", upstream(row["primary_conninfo"] or ""))
        for name, row in rows.items()
    }


def others(plugin: "handyrepplugin", name: str) -> tuple["Server", ...]:
    """The enabled PostgreSQL servers of the cluster but this one."""
    return tuple(s for s in plugin.cluster.servers if s.enabled and s.is_postgres and s.name != name)


def address(server: "Server") -> str:
    """A server as `Used.upstream` names it."""
    return f"{server.client_address}:{server.port}"


async def make(plugin: "handyrepplugin", master: str, slot: str) -> str:
    """See to it that this physical slot is on `master`; why it is not, or ''. Raises DatabaseError, NoAnswerError: it may be."""
    if not NAME.fullmatch(slot):
        return f"{slot!r} is no name of a slot"
    row = await _one(plugin, master, slot)
    if row is not None and row["slot_type"] != "physical":
        return f"the slot {slot} on {master} is a {row['slot_type']} one"
    if row is not None and row["wal_status"] == "lost" and not row["active"]:
        await plugin.query(master, _DROP_LOST, slot, login=Login.SUPERUSER)
        row = None
    if row is None:
        await plugin.query(master, _MAKE, slot, login=Login.SUPERUSER)
    return ""


async def unusable(plugin: "handyrepplugin", master: str, slot: str, replica: str) -> str:
    """Why `replica` could not receive from `master` through this slot, or ''."""
    try:
        row = await _one(plugin, master, slot)
    except (DatabaseError, NoAnswerError) as error:
        return f"whether {master} has it is not known ({error.what})"
    if row is None:
        return f"{master} does not have it"
    if row["slot_type"] != "physical":
        return f"on {master} it is a {row['slot_type']} one"
    if row["wal_status"] == "lost":
        return f"{master} has removed its WAL"
    taken = row["active"] and row["receiver"] != replica
    return f"{row['receiver'] or 'somebody else'} receives through it" if taken else ""


async def _one(plugin: "handyrepplugin", master: str, slot: str) -> Row | None:
    rows = await plugin.query(master, _ONE, slot)
    return rows[0] if rows else None


async def following_by_slot(plugin: "handyrepplugin", replica: str, master: str) -> tuple[str, str]:
    """(lines that make a stopped server receive from `master`, what to tell of its slot).

    Where another server of the cluster uses a slot this one gets its own, which is made on `master`. Receiving matters more: when it
    cannot be made the lines name none. An empty line has to stand there: a copied postgresql.conf may name another server's.
    Raises RefusedError.
    """
    slot, told = await _own(plugin, replica, master)
    return following(plugin, replica, master) + conf_line("primary_slot_name", slot), told


async def _own(plugin: "handyrepplugin", replica: str, master: str) -> tuple[str, str]:
    if not plugin.settings.failover.slots_method:
        return "", ""
    taken = {one.slot for one in (await used(plugin, others(plugin, replica))).values()} - {""}
    if not taken:
        return "", ""
    slot = re.sub(r"[^a-z0-9_]", "_", replica.lower())[:63]
    try:
        hindered = f"{slot} is another server's" if slot in taken else await make(plugin, master, slot)
    except (DatabaseError, NoAnswerError) as error:
        hindered = error.what
    return ("", f", without a slot: {hindered}") if hindered else (slot, f", through the slot {slot}")
