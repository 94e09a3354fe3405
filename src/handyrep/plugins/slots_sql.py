"""slots_sql: the replication slots that a new master needs, by SQL; and which logical slots would be lost."""

import contextlib
from collections import Counter
from collections.abc import Collection

from handyrep.directives import integer
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _left_slots, _logical_slots, _slots
from handyrep.plugins._at_once import on_each
from handyrep.plugins._logical_slots import Logical
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Login

_MEMORY = "logical slots of the master"
# What was for replicas of the master that it was. Their slots as logical ones: a former master's own failover slot is no copy of the new
# master's of that name, and PostgreSQL then syncs none at all.
_TIDY = """
select slot_name::text as name, pg_drop_replication_slot(slot_name) as dropped from pg_replication_slots s
where pg_is_in_recovery() and not active and not temporary
  and (slot_type = 'physical' and slot_name = any (%s)
       or slot_type = 'logical' and slot_name = any (%s)
          and (to_jsonb(s) ->> 'failover')::boolean and not (to_jsonb(s) ->> 'synced')::boolean)
"""
_KEPT = """
with here as (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn)
select current_setting('max_slot_wal_keep_size') = '-1' as unlimited, exists (select from pg_replication_slots) as has_slots,
       (select coalesce(jsonb_object_agg(slot_name, (pg_wal_lsn_diff(lsn, restart_lsn) / 1048576)::bigint), '{}')
        from pg_replication_slots s, here
        where not active and restart_lsn is not null and lsn is not null
          and not (pg_is_in_recovery() and coalesce((to_jsonb(s) ->> 'synced')::boolean, false))) as kept_mb
"""


class slots_sql(handyrepplugin):
    """Makes on a new master the physical slots that its replicas use, and tells which logical slots it would not have.

    Does: run() asks every replica for its primary_slot_name and makes what is missing on the new master, WAL kept from that moment; one
    whose WAL was removed is made anew. lost() compares the master's logical slots with what a replica has synced. tidy() drops on a
    replica, where nobody uses them, the physical slots that other servers name in primary_slot_name, and its own failover slots
    that the master has as well. test() warns of slots that keep much WAL for nobody.
    Touches on the server: replication slots, on the new master and on a former one. rejoin_rewind and clone_basebackup make one for
    their server, by its name, where another one uses a slot.
    Needs: a login for postgres_superuser; handyrep_user with pg_monitor. Logical slots are carried over by PostgreSQL 17 and later
    alone: made with failover = true, and on the replicas sync_replication_slots, hot_standby_feedback and a slot of their own;
    replication_user must be able to log in to handyrep_db on the master.
    Safe to repeat?: yes.
    When it cannot tell: a replica that does not answer gets no slot, and is named. lost() of a master that does not answer goes by
    what it said last, and fails when HandyRep has not heard it yet. FAIL when a slot of that name is a logical one.
    Options: retained_mb.
    """

    kinds = (Kind.SLOTS,)
    retained_mb = option(integer(1, 10**9), 1024, "MB of WAL that a slot may keep for nobody before test() warns of it")

    async def run(self, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when every slot is there that a replica which answers uses."""
        replicas = _slots.others(self, newmaster)
        try:
            here = await _logical_slots.look(self, newmaster)
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"no slot was made: {error.what}")
        said = await _slots.used(self, replicas)
        users = {name: one.slot for name, one in said.items() if one.in_recovery and one.slot}
        failed, unknown = {}, ""
        for slot in sorted(set(users.values())):
            try:
                failed[slot] = await _slots.make(self, newmaster, slot)
            except DatabaseError as error:
                failed[slot] = error.what
            except NoAnswerError as error:
                failed[slot], unknown = error.what, slot
        silent = [server.name for server in replicas if server.name not in said]
        told = _told(newmaster, users, silent)
        ill = "; ".join(f"{slot}: {why}" for slot, why in failed.items() if why)
        if ill:
            return (self.uncertain if unknown else self.fail)(f"{ill} ({told})")
        return self.success(
            told, warnings=[*_shared(users), *self._gone(newmaster, here), *_stuck(newmaster, here, users)]
        )

    async def lost(self, newmaster: str) -> Result:
        """SUCCESS with `lost`: a sentence for each logical slot that this replica would not have as the master."""
        master = self.master().name
        try:
            known, since = await self._of_master(master)
            replica = await _logical_slots.look(self, newmaster)
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"which logical slots would be lost is not known: {error.what}")
        lost = [f"{slot}: {why}" for slot, why in _logical_slots.lost(known, replica).items()]
        total = len(known.lasting)
        return self.success(
            f"{newmaster} would lack {len(lost)} of {total} logical slots of {master}{since}", lost=lost
        )

    async def tidy(self, servername: str) -> Result:
        """SUCCESS when what is left on this replica is not for anybody that could be told."""
        master = self.master().name
        if servername == master:
            return self.fail(f"{servername} is the master: its slots are left alone")
        asked = _slots.answering(self, _slots.others(self, servername))
        said = await _slots.used(self, asked)
        silent = [server.name for server in asked if server.name not in said]
        there = _slots.address(self.server(master))
        maybe_here = {one.slot for one in said.values() if one.in_recovery and one.upstream != there}
        elsewhere = {one.slot for one in said.values()} - maybe_here - {""}
        try:
            carried = [slot.name for slot in (await _logical_slots.look(self, master)).lasting if slot.failover]
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"nothing was dropped: {error.what}")
        dropped = await self._dropped(servername, sorted(elsewhere), carried)
        if silent and dropped.outcome is Outcome.SUCCESS:
            told = f"{dropped.details}; what is for {', '.join(silent)} was left, since there was no answer"
            return self.fail(told, **dict(dropped.extra))
        return dropped

    async def test(self) -> Result:
        """FAIL when the superuser cannot log in somewhere. `warnings`: the slots that keep much WAL for nobody."""
        servers = [server for server in self.cluster.servers if server.enabled and server.is_postgres]
        asked = _slots.answering(self, servers)
        said = await on_each(asked, self._kept, limit_s=self.settings.failover.call_timeout, acts=False)
        if self.cluster.master is not None:
            await self._heard(self.cluster.master.name)
        warnings = [text for one in said.values() for text in one.extra.get("warnings", ())]
        ill = [f"{name}: {one.details}" for name, one in said.items() if one.outcome is not Outcome.SUCCESS]
        if ill or not said:
            return self.fail("; ".join(ill) or "no server answers", warnings=warnings)
        unlimited = [name for name, one in said.items() if one.extra["unlimited"]]
        advice = f"max_slot_wal_keep_size = -1 on {', '.join(unlimited)}: a slot that nobody uses would fill the disk"
        return self.success("; ".join([*warnings, *([advice] if unlimited else [])]), warnings=warnings)

    async def _kept(self, server: Server) -> Result:
        row = (await self.query(server.name, _KEPT, login=Login.SUPERUSER))[0]
        much = {slot: kept_mb for slot, kept_mb in row["kept_mb"].items() if kept_mb >= self.retained_mb}
        warnings = [_much(server.name, slot, kept_mb) for slot, kept_mb in much.items()]
        return self.success(warnings=warnings, unlimited=row["unlimited"] and row["has_slots"])

    async def _heard(self, master: str) -> None:
        """Remember what it says, for the day when it does not answer."""
        with contextlib.suppress(DatabaseError, NoAnswerError):
            await self._remembered(master)

    async def _of_master(self, master: str) -> tuple[Logical, str]:
        """(what it says, '') or (what it said last, when). Raises NoAnswerError: it never said."""
        try:
            return await self._remembered(master), ""
        except (DatabaseError, NoAnswerError):
            name, known, at = self.memory.get(_MEMORY, ("", None, 0.0))
            if name != master:
                raise
            return known, f", as they were {self.call.world.clock.monotonic() - at:.0f} s ago"

    async def _remembered(self, master: str) -> Logical:
        known = await _logical_slots.look(self, master)
        self.memory[_MEMORY] = (master, known, self.call.world.clock.monotonic())
        return known

    def _gone(self, newmaster: str, here: Logical) -> list[str]:
        """The logical slots that the master before is remembered to have had, and the new one has not."""
        before, known, _ = self.memory.get(_MEMORY, (newmaster, here, 0.0))
        good = {slot.name for slot in here.lasting}
        lost = [slot.name for slot in known.lasting if before != newmaster and slot.name not in good]
        return [
            f"{newmaster} has no logical slot {name}, which {before} had: its reader must begin anew" for name in lost
        ]

    async def _dropped(self, servername: str, physical: list[str], logical: list[str]) -> Result:
        try:
            rows = await self.query(servername, _TIDY, physical, logical, login=Login.SUPERUSER)
        except DatabaseError as error:
            return self.fail(f"slots could not be dropped: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"slots may have been dropped: {error.what}")
        names = [str(row["name"]) for row in rows]
        return self.success(
            f"dropped slots: {', '.join(names)}" if names else "there was nothing to drop", dropped=names
        )

    async def footprint(self, servername: str) -> Result:
        """The physical slots that HandyRep may have made there, and who uses them."""
        if not self.server(servername).is_postgres:
            return self.success(traces=[])
        try:
            slots = await _left_slots.look(self, servername)
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(f"which slots are there is not known: {error.what}")
        purpose = "keeps WAL for a replica until it has received it"
        return self.success(traces=[self.trace("slot", f"slot {s.name}", purpose, stays=s.stays) for s in slots])

    async def take_back(self, servername: str) -> Result:
        """Drop the slots that nobody can need any more."""
        if not self.server(servername).is_postgres:
            return self.success("there is nothing of it here")
        try:
            slots = await _left_slots.look(self, servername)
            await _left_slots.drop(self, servername, [slot.name for slot in slots if not slot.stays])
        except DatabaseError as error:
            return self.fail(f"slots could not be dropped: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"slots may have been dropped: {error.what}")
        return self.success("no slot is left that nobody can need")


def _told(newmaster: str, users: dict[str, str], silent: Collection[str]) -> str:
    slots = ", ".join(sorted(set(users.values())))
    told = f"{newmaster} has {slots}" if slots else "no replica uses a slot"
    return f"{told}; what is used by those that do not answer is not known: {', '.join(silent)}" if silent else told


def _shared(users: dict[str, str]) -> list[str]:
    """Only one server at a time can receive through a slot."""
    many = [slot for slot, count in Counter(users.values()).items() if count > 1]
    return [f"{' and '.join(n for n, s in users.items() if s == slot)} share the slot {slot}" for slot in many]


def _stuck(newmaster: str, here: Logical, users: dict[str, str]) -> list[str]:
    """PostgreSQL gives readers of failover slots nothing that a slot named there has not received, be it there or not."""
    missing = [slot for slot in here.waits_for if slot not in users.values()]
    told = f"readers of logical slots on {newmaster} wait for slots that it does not have (synchronized_standby_slots)"
    return [f"{told}: {', '.join(missing)}"] if missing else []


def _much(server: str, slot: str, kept_mb: int) -> str:
    """Told in powers of two: what grows is not told anew at every look."""
    at_least = 1 << (kept_mb.bit_length() - 1)
    return f"the slot {slot} on {server} keeps more than {at_least} MB of WAL, and nobody uses it"
