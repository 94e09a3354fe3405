"""Which physical slots on a server HandyRep may have made, who uses them, and which of them nobody can need.

Must never drop a slot that a server of the cluster uses or may use.
"""

import dataclasses
import re
from typing import TYPE_CHECKING

from handyrep.plugins import _slots
from handyrep.ports import Login

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

_LOOK = """
select s.slot_name::text as name, s.active, coalesce(r.application_name, '') as receiver, pg_is_in_recovery() as in_recovery
from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid
where s.slot_type = 'physical' and not s.temporary order by 1
"""
_DROP = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots
where slot_type = 'physical' and not active and slot_name = any (%s)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """`stays`: why it is left there; '' when nobody can need it any more."""

    name: str
    stays: str


async def look(plugin: "handyrepplugin", servername: str) -> list[Slot]:
    """The slots that HandyRep may have made there. Raises DatabaseError, NoAnswerError."""
    rows = await plugin.query(servername, _LOOK, login=Login.SUPERUSER)
    if not rows:
        return []
    said = await _slots.used(plugin, _slots.others(plugin, servername))
    everybody = {s.name for s in plugin.cluster.servers if s.is_postgres and s.name != servername}
    silent = ", ".join(sorted(everybody - said.keys()))
    here = _slots.address(plugin.server(servername))
    found = []
    for row in rows:
        users = {name for name, one in said.items() if one.slot == row["name"]}
        receiving = sorted({n for n in users if said[n].upstream == here} | ({row["receiver"]} & everybody))
        if row["active"] and not receiving:
            continue  # somebody receives through it whom HandyRep does not know: it is theirs
        found.append(
            Slot(row["name"], _why(plugin, row["name"], receiving, silent, users if row["in_recovery"] else set()))
        )
    return found


def _why(plugin: "handyrepplugin", slot: str, receiving: list[str], silent: str, elsewhere: set[str]) -> str:
    """`elsewhere`: who names it and receives from another server, where this one is a replica."""
    if receiving:
        return f"{' and '.join(receiving)} receives through it"
    if silent:
        return f"whether {silent} uses it is not known"
    named_after = {re.sub(r"[^a-z0-9_]", "_", s.name.lower())[:63] for s in plugin.cluster.servers if s.is_postgres}
    if elsewhere or slot in named_after:
        return ""
    return "no server of the cluster uses it, and whether HandyRep made it is not known; if nobody needs it, drop it: it keeps WAL for ever"


async def drop(plugin: "handyrepplugin", servername: str, names: list[str]) -> None:
    """Drop those of them that nobody receives through at this moment. Raises DatabaseError, NoAnswerError."""
    await plugin.query(servername, _DROP, names, login=Login.SUPERUSER)
