"""Logical slots: which of a master's a replica would not have as the next master, and why.

Owns the judgement. PostgreSQL 17 carries over slots that were made with failover = true, to replicas that are set up to sync them.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

_FIRST_VERSION = 170000
_LOOK = """
select current_setting('server_version_num')::int as version,
       (select coalesce(jsonb_object_agg(name, setting), '{}') from pg_settings
        where name in ('sync_replication_slots', 'hot_standby_feedback', 'primary_slot_name', 'primary_conninfo',
                      'synchronized_standby_slots')) as settings,
       (select coalesce(jsonb_agg(slot_name), '[]') from pg_replication_slots where slot_type = 'physical') as physical,
       (select coalesce(jsonb_agg(to_jsonb(s) order by slot_name), '[]') from pg_replication_slots s
        where slot_type = 'logical') as slots
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One logical slot. `invalid` says why nothing can be read from it any more; '' when it is good."""

    name: str
    temporary: bool
    failover: bool
    synced: bool
    invalid: str


@dataclasses.dataclass(frozen=True, slots=True)
class Logical:
    """What one server says of its logical slots.

    `unready`: what keeps it, as a replica, from syncing those of its master. `waits_for`: the physical slots that are not there, and
    for which readers of its failover slots would wait, as a master.
    """

    version: int
    slots: Mapping[str, Slot]
    unready: tuple[str, ...]
    waits_for: tuple[str, ...]

    @property
    def lasting(self) -> tuple[Slot, ...]:
        """Those that outlive a session and can still be read from: what there is to lose."""
        return tuple(slot for slot in self.slots.values() if not slot.temporary and not slot.invalid)


async def look(plugin: "handyrepplugin", name: str) -> Logical:
    """Ask a server. Raises DatabaseError, NoAnswerError."""
    row = (await plugin.query(name, _LOOK))[0]
    slots = {slot.name: slot for slot in map(_slot, row["slots"])}
    awaited = (row["settings"].get("synchronized_standby_slots") or "").replace('"', "").split(",")
    waits_for = tuple(name for name in map(str.strip, awaited) if name and name not in row["physical"])
    return Logical(row["version"], slots, tuple(_unready(row["settings"])), waits_for)


def _slot(row: Mapping[str, Any]) -> Slot:
    """Columns that this version does not have are missing."""
    lost = "its WAL was removed" if row.get("wal_status") == "lost" else ""
    conflicting = "it conflicted with what was replayed" if row.get("conflicting") else ""
    return Slot(
        name=row["slot_name"],
        temporary=row["temporary"],
        failover=row.get("failover") is True,
        synced=row.get("synced") is True,
        invalid=str(row.get("invalidation_reason") or lost or conflicting),
    )


def _unready(settings: Mapping[str, str]) -> Iterator[str]:
    if settings.get("sync_replication_slots") != "on":
        yield "sync_replication_slots is off"
    if settings.get("hot_standby_feedback") != "on":
        yield "hot_standby_feedback is off"
    if not settings.get("primary_slot_name"):
        yield "primary_slot_name is empty"
    if not _has_dbname(settings.get("primary_conninfo") or ""):
        yield "primary_conninfo has no dbname, or handyrep_user may not see it"


def _has_dbname(conninfo: str) -> bool:
    try:
        return bool(conninfo_to_dict(conninfo).get("dbname"))
    except psycopg.Error:
        return False


def lost(master: Logical, replica: Logical) -> dict[str, str]:
    """The lasting logical slots of a master that the replica would not have in its place, by name, each with the reason."""
    why = {slot.name: _why_lost(slot, replica.slots.get(slot.name), master, replica) for slot in master.lasting}
    return {name: reason for name, reason in why.items() if reason}


def _why_lost(slot: Slot, copy: Slot | None, master: Logical, replica: Logical) -> str:
    oldest = min(master.version, replica.version)
    if oldest < _FIRST_VERSION:
        return f"PostgreSQL {oldest // 10000} does not carry logical slots over, 17 does"
    if not slot.failover:
        return "it is no failover slot"
    if copy is None:
        return f"it is not synced: {'; '.join(replica.unready) or 'not yet'}"
    if not copy.synced:
        return "a slot of that name on the replica is no copy of it, and keeps it from being synced"
    if copy.temporary:
        return "its copy is not complete yet"
    return f"its copy is invalidated: {copy.invalid}" if copy.invalid else ""
