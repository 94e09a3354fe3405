"""rescue_wal: carries WAL that a stopped master never sent from its disk to a replica, which replays it like any other."""

import asyncio
import base64
import binascii
import contextlib
import dataclasses

from handyrep.directives import integer
from handyrep.errors import DatabaseError, NoAnswerError, RefusedError
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._left_in_pgdata import RESCUE, Left
from handyrep.plugins._programs import find_program
from handyrep.plugins._wal_end import control_values
from handyrep.plugins._wal_pieces import PIECE_BYTES, Gap, Piece
from handyrep.plugins._wal_place import BEGIN, DISCARD, FOLDER, GIVE, READ, SEAL, SOURCE, WRITE
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known
from handyrep.ports import Login

# The timeline is found as inspect_postgres finds it: a file of WAL may tell a newer one than the control file does yet.
_STANDS = """
select pg_is_in_recovery() as in_recovery,
       (select system_identifier::text from pg_control_system()) as system_identifier,
       greatest((select timeline_id from pg_control_checkpoint()),
                (select coalesce(min_recovery_end_timeline, 0) from pg_control_recovery()),
                (select coalesce(max(('x' || substr(name, 1, 8))::bit(32)::int), 0)
                 from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'))::int as timeline,
       coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text, '') as received_lsn,
       exists (select from pg_stat_wal_receiver where status = 'streaming') as receiving,
       case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end as paused,
       (select setting <> '0' from pg_settings where name = 'recovery_min_apply_delay') as delayed,
       (select bytes_per_wal_segment from pg_control_init())::int as segment_bytes,
       coalesce((select setting from pg_settings where name = 'data_directory'), '') as data_directory
"""
_REPLAYED = """
select pg_is_in_recovery() as in_recovery, coalesce(pg_last_wal_replay_lsn()::text, '0/0') as lsn
"""
_WAKE = """
select pg_reload_conf(), (select min(pid) from pg_stat_activity where backend_type = 'walreceiver') as receiver
"""
# A receiver that waits for the answer of a host that is cut off keeps PostgreSQL from looking into pg_wal, for minutes. SQL cannot end it.
_END_RECEIVER = """
case $(tr '\\0' ' ' < "/proc/$1/cmdline") in *walreceiver*) kill -TERM "$1";; esac
"""
_LOOK_EVERY_S = 0.02
_WAKE_EVERY_S = 1.0
_COPY_SHARE, _REPLAY_SHARE = 0.7, 0.9
"""Of the time there is: until then it must be copied, and replayed; the rest is for taking back, and for saying what was seen."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Stands:
    """What the candidate says of itself. Two looks are compared: what is equal has not moved."""

    in_recovery: bool
    system_identifier: str
    timeline: int
    received_lsn: str
    receiving: bool
    paused: bool
    delayed: bool
    segment_bytes: int
    data_directory: str

    @property
    def hindrance(self) -> str:
        """Why it can be given nothing, or ''."""
        if not self.in_recovery:
            return "it is not in recovery"
        if self.receiving:
            return "it still receives from another server"
        if self.paused or self.delayed:
            return "its replay is paused or delayed, so nobody could see that it has what it was given"
        return "" if self.received_lsn else "where it stands is not known"


class rescue_wal(handyrepplugin):
    """Gives a replica the WAL that a stopped master wrote and never sent, so that it replays it before it is promoted.

    Does: reads on the old master's disk, and asks the candidate where it stands; goes on only if both are of one cluster and timeline and
    have the same bytes up to there. Copies what is lacking through HandyRep, in pieces and packed, into a folder of the
    candidate's pg_wal; pg_waldump must be able to read it to its end. Only then whole files take their places by renames, and the one
    that the candidate stands in is written on, as its receiver would do it. A reload, and the end of a receiver that waits for the old master, wake it up to replay them.
    Touches on the server: the old master: nothing. The candidate: pg_wal/handyrep.rescue, which is gone in the end; segments in pg_wal, in
    archive_status those marks of them that the old master had.
    Needs: SSH to both hosts; pg_controldata on the old master's, pg_waldump on the candidate's; gzip, base64, sha256sum; a login with
    pg_monitor, or superuser. PostgreSQL must have stopped on the old master, and the candidate must receive from nobody.
    Safe to repeat?: yes: a candidate that has it all is left alone, and what an earlier call left in the folder is thrown away.
    Ends also when it does not get on: one piece that takes start_timeout, or a replay that stands still for as long.
    When it cannot tell: FAIL as long as no segment was put in its place: the candidate is as it was. After that UNCERTAIN; what it has then
    is the old master's own history in any case. It refuses where replay is paused or delayed, since nobody would see it arrive. If
    HandyRep itself ends while it copies, the folder stays, and may be deleted.
    Options: max_rescue_mb, spare_mb.
    """

    kinds = (Kind.RESCUE,)
    max_rescue_mb = option(
        integer(1, 10**5),
        1024,
        "MB of WAL that are carried at most; more is refused. HandyRep gives it start_timeout and a second for each MB",
    )
    spare_mb = option(integer(0, 10**9), 64, "MB of disk space that must stay free beside the candidate's pg_wal")

    async def run(self, servername: str, candidate: str, upto: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS once the candidate has replayed the WAL to `upto`, or has received it already."""
        began, left_s = self.call.world.clock.monotonic(), self.call.left_s()
        try:
            end, stands = Lsn.parse(upto), await self._stands(candidate)
            if stands.in_recovery and stands.received_lsn and Lsn.parse(stands.received_lsn) >= end:
                return self.success(f"{candidate} has the WAL to {upto} already")
            gap = self._gap(stands, end)
            begun_sum, archived = await self._examined(servername, stands, gap)
        except ValueError as error:
            return self.fail(f"nothing was done: {error}")
        except (DatabaseError, NoAnswerError, RefusedError) as error:
            return self.fail(f"nothing was done: {error}")
        problem = await self._copied(servername, candidate, stands, gap, begun_sum, left_s * _COPY_SHARE)
        if problem:
            return self.fail(f"{problem}. {candidate} is as it was{await self._discarded(candidate)}")
        return await self._given(candidate, gap, archived, began + left_s * _REPLAY_SHARE)

    async def _stands(self, candidate: str) -> _Stands:
        return _Stands(**(await self.query(candidate, _STANDS))[0])

    def _gap(self, stands: _Stands, end: Lsn) -> Gap:
        """What the candidate lacks. Raises RefusedError."""
        if stands.hindrance:
            raise RefusedError(stands.hindrance)
        gap = Gap(stands.timeline, stands.segment_bytes, Lsn.parse(stands.received_lsn), end)
        if gap.lacking_bytes > self.max_rescue_mb << 20:
            raise RefusedError(f"it lacks {gap.lacking_bytes} bytes, and max_rescue_mb allows {self.max_rescue_mb} MB")
        return gap

    async def _examined(self, servername: str, stands: _Stands, gap: Gap) -> tuple[str, str]:
        """(checksum of what both should have, the segments the old master has archived). Raises RefusedError: it is not fit."""
        server = self.server(servername)
        control = await find_program(self, server, "pg_controldata")
        known = (server.pgdata, control or "false", stands.system_identifier, str(gap.segment_bytes))
        argv = ("sh", "-c", SOURCE, "source", *known, str(gap.begun_bytes), *gap.segments)
        ran = await self.run_as_postgres(servername, *argv)
        said = dict(line.partition("=")[::2] for line in ran.stdout.splitlines())
        values = control_values(ran.stdout.replace("control=", ""))
        wanted = {"Database system identifier": stands.system_identifier, "Bytes per WAL segment": str(gap.segment_bytes), "Latest checkpoint's TimeLineID": str(gap.timeline)}  # fmt: skip
        for key, value in wanted.items():
            if values.get(key) != value:
                raise RefusedError(f"{key} is {values.get(key, 'not known')} on {servername}, and {value} is wanted")
        if ran.exit_status != 0 or "sum" not in said:
            raise RefusedError(f"the WAL of {servername} cannot be used: {said.get('fault') or last_words(ran)}")
        return said["sum"], said.get("archived", "")

    async def _copied(
        self, servername: str, candidate: str, stands: _Stands, gap: Gap, begun_sum: str, limit_s: float
    ) -> str:
        """Bring what is lacking into the candidate's folder; why it is not there, whole and readable, or ''."""
        try:
            async with asyncio.timeout(limit_s):
                waldump = await find_program(self, self.server(candidate), "pg_waldump")
                if not waldump:
                    return "pg_waldump is not there, so nothing could tell whether a copy is good"
                await self._begun(candidate, stands, gap, begun_sum)
                await self._carried(servername, candidate, gap.pieces)
                await self._sealed(candidate, gap, waldump)
                if await self._stands(candidate) != stands:
                    return f"{candidate} does not stand still"
        except (DatabaseError, RefusedError) as error:
            return error.what
        except NoAnswerError as error:
            return f"it was not copied: {error}"
        except TimeoutError:
            return f"{gap.lacking_bytes} bytes of WAL could not be copied within {limit_s:.0f} s"
        return ""

    async def _begun(self, candidate: str, stands: _Stands, gap: Gap, begun_sum: str) -> None:
        room_kb = (len(gap.segments) * gap.segment_bytes >> 10) + (self.spare_mb << 10)
        sizes = (str(gap.segment_bytes), str(gap.begun_bytes), begun_sum, str(gap.kept_bytes), str(room_kb))
        await self._done(candidate, BEGIN, stands.data_directory, *sizes, gap.segments[0])

    async def _carried(self, servername: str, candidate: str, pieces: tuple[Piece, ...]) -> None:
        """While one piece is written the next one is read. Both have ended when one of them fails: nothing is at work any more then."""
        packed = await self._read(servername, pieces[0])
        for piece, after in zip(pieces, (*pieces[1:], None), strict=True):
            writing = self._done(candidate, WRITE, piece.segment, str(piece.grown_bytes), stdin=packed)
            written, read = await asyncio.gather(writing, self._read(servername, after), return_exceptions=True)
            if isinstance(written, BaseException):
                raise written
            if isinstance(read, BaseException):
                raise read
            packed = read

    async def _read(self, servername: str, piece: Piece | None) -> bytes:
        if piece is None:
            return b""
        text = await self._done(servername, READ, piece.segment, str(piece.number), str(PIECE_BYTES))
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise RefusedError(f"piece {piece.number} of {piece.segment} did not arrive whole") from None

    async def _sealed(self, candidate: str, gap: Gap, waldump: str) -> None:
        place = (str(gap.segment_bytes), waldump, str(gap.timeline), str(gap.start), str(gap.upto))
        await self._done(candidate, SEAL, *place, *gap.segments)

    async def _done(self, name: str, script: str, *words: str, stdin: bytes = b"") -> str:
        """What a script says that has done its work. Raises RefusedError when it has not."""
        argv = ("sh", "-c", script, "rescue", self.server(name).pgdata, *words)
        ran = await self.run_as_postgres(name, *argv, stdin=stdin, timeout_s=self.settings.failover.start_timeout)
        if ran.exit_status != 0 or ran.cut:
            raise RefusedError(f"{name}: {last_words(ran)}")
        return ran.stdout

    async def _discarded(self, candidate: str) -> str:
        """Throw away what was copied; '' or what to tell if it may still be there."""
        with contextlib.suppress(NoAnswerError, RefusedError):
            await self._done(candidate, DISCARD)
            return ""
        return f", but for {self.server(candidate).pgdata}/pg_wal/{FOLDER}, which may be deleted"

    async def _given(self, candidate: str, gap: Gap, archived: str, end: float) -> Result:
        """Put the segments in their places and see them replayed, until `end` by the clock."""
        what = f"{candidate} was given {gap.lacking_bytes} bytes of WAL"
        try:
            kept = str(gap.kept_bytes // PIECE_BYTES)
            await self._done(candidate, GIVE, str(PIECE_BYTES), kept, archived, *gap.segments)
            replayed = await self._replayed(candidate, gap.upto, end)
        except (DatabaseError, NoAnswerError, RefusedError) as error:
            return self.uncertain(f"{what}, and whether it replays them is not known: {error}")
        if replayed >= gap.upto:
            return self.success(f"{what} and has replayed it to {replayed}", lsn=str(replayed))
        return self.uncertain(f"{what}, and has replayed it to {replayed} only instead of {gap.upto}")

    async def _replayed(self, candidate: str, wanted: Lsn, end: float) -> Lsn:
        """How far it has come when it is far enough, at `end`, or when it does not get on. Raises RefusedError when it is no replica any more."""
        clock, waken, newest = self.call.world.clock, 0.0, Lsn(0)
        patient_until = clock.monotonic() + self.settings.failover.start_timeout
        while True:
            if clock.monotonic() >= waken:
                waken = clock.monotonic() + _WAKE_EVERY_S
                await self._woken(candidate)
            row = (await self.query(candidate, _REPLAYED))[0]
            if row["in_recovery"] is not True:
                raise RefusedError(f"{candidate} is not in recovery any more")
            lsn = Lsn.parse(row["lsn"])
            if lsn > newest:
                newest, patient_until = lsn, clock.monotonic() + self.settings.failover.start_timeout
            if lsn >= wanted or clock.monotonic() >= min(end, patient_until):
                return lsn
            await clock.sleep(_LOOK_EVERY_S)

    async def _woken(self, candidate: str) -> None:
        """Let it look into pg_wal at once; if that cannot be ordered, it does by itself."""
        with contextlib.suppress(DatabaseError):
            row = (await self.query(candidate, _WAKE, login=Login.SUPERUSER))[0]
            if row["receiver"] is not None:
                argv = ("sh", "-c", _END_RECEIVER, "end_receiver", str(row["receiver"]))
                await self.run_as_postgres(candidate, *argv)

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when a program that it needs is not on a server."""
        names = [servername] if servername else [s.name for s in self.cluster.servers if s.enabled and s.is_postgres]
        for name in names:
            try:
                found = [await find_program(self, self.server(name), p) for p in ("pg_controldata", "pg_waldump")]
                ran = await self.run_as_postgres(
                    name, "sh", "-c", "command -v gzip && command -v base64 && command -v sha256sum"
                )
            except NoAnswerError as error:
                return self.fail(f"{name}: {nothing_known(error)}")
            if not all(found) or ran.exit_status != 0:
                return self.fail(f"{name}: pg_controldata, pg_waldump, gzip, base64 or sha256sum is not there")
        return self.success(f"WAL can be carried between {', '.join(names) or 'no servers'}")

    async def footprint(self, servername: str) -> Result:
        """A folder of a copy that was broken off. It stays: the server that it was copied from may be gone."""
        return await _left_in_pgdata.footprint(self, servername, self._traces)

    def _traces(self, server: Server, left: Left) -> list[dict[str, str]]:
        if RESCUE not in left.names:
            return []
        why = "it may hold WAL that only a dead master had; once somebody has looked: rm -r of it, as its owner"
        return [self.trace("copied WAL", f"{server.pgdata}/{RESCUE}", "WAL on its way to a candidate", stays=why)]
