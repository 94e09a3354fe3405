"""inspect_postgres: what a PostgreSQL says of itself, by SQL; and whether its host answers, by SSH."""

import math
import shlex

from handyrep.directives import integer, seconds
from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._programs import FINDING
from handyrep.plugins._replication import calls_itself, upstream
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.ports import Row

# pg_settings makes a row of every setting there is, which takes longer than all the rest; so it is not asked here.
# After a promotion the control file tells the old timeline until the next checkpoint; the name of the WAL file being written does not.
_LOOK = """
select {newest_wal} as newest_wal,
       pg_is_in_recovery() as in_recovery,
       (select system_identifier::text from pg_control_system()) as system_identifier,
       current_setting('server_version_num')::int as version_num,
       case when pg_is_in_recovery()
            then greatest(coalesce((select max(received_tli) from pg_stat_wal_receiver), 0),
                          (select timeline_id from pg_control_checkpoint()),
                          (select coalesce(min_recovery_end_timeline, 0) from pg_control_recovery()))
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
       end as timeline,
       case when pg_is_in_recovery()
            then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            else pg_current_wal_flush_lsn()
       end::text as received_lsn,
       pg_last_wal_replay_lsn()::text as replayed_lsn,
       case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end as replay_paused,
       exists (select from pg_stat_wal_receiver where status = 'streaming') as receiving,
       (select extract(epoch from clock_timestamp() - max(last_msg_receipt_time))::float8 from pg_stat_wal_receiver) as message_age_s,
       current_setting('synchronous_standby_names') as synchronous_standby_names,
       case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('primary_conninfo') else '' end as primary_conninfo,
       current_setting('cluster_name') as cluster_name,
       pg_has_role('pg_read_all_stats', 'usage') and pg_has_role('pg_read_all_settings', 'usage') as sees_all
"""
# Without a receiver nothing else tells which timeline was received last: the control file names it only after the next restartpoint. A
# file of WAL carries a timeline in its name only once that is the replica's history. Who may not list them is refused before all else.
_NEWEST_WAL = """
       case when pg_is_in_recovery() and not exists (select from pg_stat_wal_receiver where status = 'streaming')
            then (select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$')
       end
"""
_REFUSED, _REFUSED_FOR_S = "42501", 60.0
"""Each time that it is refused stands in the server's log: so it is asked for again a minute later."""
# A message in the WAL is a real write with a commit, touches no table, and with synchronous_commit = local cannot wait for replicas.
# It finds room in a WAL file that is there already, though: the snapshot is a small file of this transaction's in the data directory.
_OUR_WRITE = "a test write of HandyRep"
_WRITE = f"""
/* {_OUR_WRITE} */ with local as (select set_config('synchronous_commit', 'local', true) as how), file as (select pg_export_snapshot() as written)
select pg_logical_emit_message(true, 'handyrep', how)::text as at from local, file where written <> ''
"""


# pg_isready waits whole seconds, and a postmaster that hangs takes the connection and stays silent.
_SEES = (
    FINDING
    + """
isready=$(program_path pg_isready "$1" "$2") || exit 90
exec timeout "$3" "$isready" -h "$4" -p "$5"
"""
)
_UNDER_WAY = """
select (select json_agg(json_build_object('pid', pid, 'user', usename, 'age_s', round(extract(epoch from clock_timestamp() - xact_start))))
          from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid() and xact_start < clock_timestamp() - make_interval(secs => %s)) as long,
       (select array_agg(gid) from pg_prepared_xacts) as prepared,
       case when current_setting('archive_mode') = 'off' then 0
            else (select count(*) from pg_ls_archive_statusdir() where name like '%%.ready') end as unarchived
"""
_HANGING = f"""
select count(*) as hanging, pg_current_wal_flush_lsn()::text as at from pg_stat_activity
where pid <> pg_backend_pid() and usename = current_user and state = 'active' and query like '%{_OUR_WRITE}%'
"""
_MOST_HANGING = 5
"""So many of our own writes may hang there before no further one is tried: each holds a connection until the disk works again. They are counted once
one was not answered: a HandyRep that was started anew tries one of its own first."""
# The server itself looks every millisecond: to be asked that often would take processor time from what is waited for.
_PROMOTED = """
with recursive looked as (
    select 1 as times, pg_is_in_recovery() as still
    union all
    select times + 1, case when pg_sleep(0.001) is null then true else pg_is_in_recovery() end from looked where still and times < %s
)
select not bool_and(still) as promoted from looked
"""
_LOOKS_PER_S = 1000
_COLLATIONS = """
select count(*) as number, min(collname) as one from pg_collation
where collversion <> pg_collation_actual_version(oid)
"""
_NO_RESPONSE = 2
"""What pg_isready ends with when nothing answers."""
_TIMED_OUT = 124
"""What timeout ends with when its program did not."""
_NOT_THERE = 90
"""What _SEES ends with when it finds no pg_isready."""


class inspect_postgres(handyrepplugin):
    """Logs in and asks; writes a test message on a master; runs test_ssh_command on the host.

    Does: run() and promoted() a SELECT; write() one message in the WAL and, until it is committed, a small file in the data directory;
    host() test_ssh_command; sees() pg_isready on the server's host.
    Touches on the server: reads system views; write() adds some bytes to the WAL.
    Needs: a login for handyrep_user with pg_monitor or superuser: to others a replica looks as if it received nothing; SSH for
    host() and sees().
    Safe to repeat?: yes.
    When it cannot tell: FAIL; with alive = True when PostgreSQL answered with an error.
    Options: long_transaction, archive_backlog.
    """

    kinds = (Kind.INSPECT,)
    long_transaction = option(seconds, 5.0, "a transaction that runs for longer is a reason not to begin a switchover")
    archive_backlog = option(
        integer(0, 1_000_000), 8, "so many files of WAL may wait to be archived when a switchover begins"
    )

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with the facts."""
        try:
            row = await self._looked_at(servername)
        except DatabaseError as error:
            return self.fail(f"PostgreSQL answered with an error: {error.what}", alive=True)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if not row["sees_all"]:
            why = "handyrep_user may not see all that is asked for: GRANT pg_monitor to it. Where the server stands is not known"
            return self.fail(why, alive=True)
        return self.success("", **_facts(row))

    async def _looked_at(self, servername: str) -> Row:
        """Without the timeline of the WAL on its disk where that may not be asked."""
        refused, now_s = f"{servername} lists no WAL", self.call.world.clock.monotonic()
        if now_s - self.memory.get(refused, -math.inf) > _REFUSED_FOR_S:
            try:
                return (await self.query(servername, _LOOK.format(newest_wal=_NEWEST_WAL)))[0]
            except DatabaseError as error:
                if error.sqlstate != _REFUSED:
                    raise
                self.memory[refused] = now_s
        return (await self.query(servername, _LOOK.format(newest_wal="null::int")))[0]

    async def write(self, servername: str) -> Result:
        """SUCCESS when a write was committed; FAIL with stalled = True when none has been for so long that the storage must hang."""
        try:
            before = (await self.query(servername, _HANGING))[0] if servername in self.memory else None
            if before is not None and int(before["hanging"]) >= _MOST_HANGING:
                return self._hangs(servername, str(before["at"]))
            row = (await self.query(servername, _WRITE, timeout_s=self.settings.failover.call_timeout * 2))[0]
        except DatabaseError as error:
            self.memory.pop(servername, None)
            return self.fail(f"a write was refused: {error.what}", alive=True)
        except NoAnswerError as error:
            return await self._unanswered(servername, nothing_known(error))
        self.memory.pop(servername, None)
        return self.success(f"wrote at {row['at']}")

    async def promoted(self, servername: str) -> Result:
        """SUCCESS once it has left recovery."""
        looks = int(min(self.settings.failover.call_timeout, self.call.left_s() / 2) * _LOOKS_PER_S)
        try:
            row = (await self.query(servername, _PROMOTED, looks))[0]
        except DatabaseError as error:
            return self.fail(f"PostgreSQL answered with an error: {error.what}", alive=True)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        return self.success() if row["promoted"] else self.fail("it is in recovery still")

    async def hindrances(self, servername: str) -> Result:
        """What a switchover of this master should wait for."""
        try:
            row = (await self.query(servername, _UNDER_WAY, self.long_transaction))[0]
        except DatabaseError as error:
            return self.fail(f"PostgreSQL answered with an error: {error.what}", alive=True)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        told = [
            f"a transaction of {one['user']} has run for {one['age_s']:g} s (pid {one['pid']})"
            for one in row["long"] or ()
        ]
        if row["prepared"]:
            names = ", ".join(row["prepared"])
            told.append(f"prepared transactions hold their locks, on the new master as well: {names}")
        if row["unarchived"] > self.archive_backlog:
            told.append(
                f"{row['unarchived']} files of WAL wait to be archived, and would go on waiting on a stopped server"
            )
        return self.success("", hindrances=told)

    async def _unanswered(self, servername: str, why: str) -> Result:
        """A write that did not end hangs only where the same server goes on answering, and has one of ours at work."""
        self.memory.setdefault(servername, ("", self.call.world.clock.monotonic()))
        try:
            now = (await self.query(servername, _HANGING))[0]
        except (DatabaseError, NoAnswerError):
            return self.fail(why)
        return self._hangs(servername, str(now["at"])) if now["hanging"] else self.fail(why)

    def _hangs(self, servername: str, position: str) -> Result:
        """Only when none of its WAL reached the disk meanwhile, whoever wrote it. What is slow gets on."""
        now_s = self.call.world.clock.monotonic()
        known, since_s = self.memory.get(servername, ("", now_s))
        if known != position:
            since_s = now_s
        self.memory[servername] = (position, since_s)
        lasted_s = now_s - since_s
        said = f"a test write hangs, and nothing has been written to its WAL after {position} for {lasted_s:.0f} s: look at the host's disk (dmesg)"
        return self.fail(said, alive=True, stalled=lasted_s >= self.settings.failover.timings.stalled_after_s)

    async def host(self, servername: str) -> Result:
        """SUCCESS when the host runs commands for us."""
        argv = shlex.split(self.settings.handyrep.test_ssh_command) or ["true"]
        try:
            ran = await self.run_as_login(servername, *argv)
        except NoAnswerError as error:
            return self.fail(error.what)
        return self.success() if ran.exit_status == 0 else self.fail(f"test_ssh_command failed: {last_words(ran)}")

    async def sees(self, servername: str, mastername: str) -> Result:
        """SUCCESS when the master answers on this server's host; FAIL with no = True when it certainly does not answer there."""
        here, master = self.server(servername), self.server(mastername)
        patience = f"{self.settings.failover.call_timeout:g}"
        given = (here.bin_dir, here.pgdata, patience, master.client_address, str(master.port))
        try:
            ran = await self.run_as_login(servername, "sh", "-c", _SEES, "sees", *given)
            if ran.exit_status == _NOT_THERE:
                ran = await self.run_as_postgres(servername, "sh", "-c", _SEES, "sees", *given)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if ran.exit_status in (0, 1):
            return self.success(f"sees {mastername}: {last_words(ran)}")
        if ran.exit_status in (_NO_RESPONSE, _TIMED_OUT):
            return self.fail(f"does not see {mastername}: {last_words(ran)}", no=True)
        if ran.exit_status == _NOT_THERE:
            return self.fail("pg_isready is not on this host, so what it sees is not known")
        return self.fail(f"pg_isready could not be used: {last_words(ran)}")

    async def test(self) -> Result:
        """Log in to every server and run the test command on its host. Warns of data that is sorted by other rules than its host's."""
        warnings: list[str] = []
        for server in self.cluster.servers:
            if server.enabled and server.is_postgres:
                for result in (await self.run(server.name), await self.host(server.name)):
                    if result.as_rd()["result"] != "SUCCESS":
                        return self.fail(f"{server.name}: {result.details}")
                warnings += await self._sorted_otherwise(server.name)
        return self.success("every server lets us in, and every host runs commands", warnings=warnings)

    async def _sorted_otherwise(self, servername: str) -> list[str]:
        """The warning of one server, where its host has other versions of collations than those that its indexes were made with."""
        try:
            row = (await self.query(servername, _COLLATIONS))[0]
        except (DatabaseError, NoAnswerError) as error:
            return [f"{servername}: whether its host sorts as its indexes are sorted is not known: {error}"]
        if not row["number"]:
            return []
        told = f"{row['number']} collations (as {row['one']}) have other versions on the host of {servername} than the data was made with"
        return [
            f"{told}: indexes on text may be wrong there. Use the same system on all hosts, or REINDEX once it is the master"
        ]


def _facts(row: Row) -> dict[str, object]:
    asked_for_more = ("newest_wal", "primary_conninfo", "cluster_name", "sees_all")
    facts = {key: value for key, value in row.items() if key not in asked_for_more}
    facts["timeline"] = max(int(row["timeline"]), int(row.get("newest_wal") or 0))
    told = str(row["primary_conninfo"] or "")
    return {**facts, "upstream": upstream(told), "calls_itself": calls_itself(told, str(row["cluster_name"]))}
