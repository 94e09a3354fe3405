"""clone_basebackup: a new replica as a full copy, with pg_basebackup."""

from typing import Any

from handyrep.directives import list_of, path, text
from handyrep.errors import DatabaseError, NoAnswerError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._keeping import Keeping, Own, UnkeptError, keeps
from handyrep.plugins._left_in_pgdata import CLONING, FENCED, Left
from handyrep.plugins._programs import find_program, major_version, reason
from handyrep.plugins._replication import SET_FOLLOWING, WITH_PASSFILE, following, passfile_line
from handyrep.plugins._slots import following_by_slot
from handyrep.plugins._wal_archive import CLONE_LABEL
from handyrep.plugins.handyrepplugin import last_words, nothing_known
from handyrep.ports import Login

_TABLESPACES = """
select count(*) as outside, current_setting('server_version_num')::int / 10000 as major
from pg_tablespace where spcname not in ('pg_default', 'pg_global')
"""
# The copy is made beside pgdata and takes its place in one rename, so pgdata is the old one or the new one, never half a one. What
# stood there is moved aside before and deleted only once the new one streams, and after what only it has was kept; until then
# handyrep.cloning marks the new one as a copy that may be thrown away. Looked at on the target, at that moment: nothing may run there, and what is moved must be a data
# directory, a folder that is empty, or nothing. An earlier copy may still be under way after its answer was lost: hence the lock.
_CLONE = r"""
set -u
data=${1%/} reclone=$2 identifier=$3 control=$4; shift 4
refuse() { echo "$2" >&2; exit "$1"; }
case $data in /*/*) ;; *) refuse 10 "$data is no path for a data directory";; esac
parent=$(dirname -- "$data") name=$(basename -- "$data")
[ -L "$data" ] && refuse 10 "$data is a symbolic link; name the folder itself"
cd -- "$parent" || exit 10
new=$name.handyrep-new old=$name.handyrep-old   # a number follows when one is there already: only what was kept is deleted
must_not_run() {
    [ -d "$name" ] || return 0
    place=$(stat -L -c %d:%i -- "$name")
    for process in $(stat -L -c '%d:%i %n' /proc/[0-9]*/cwd 2>/dev/null | sed -n "s|^$place ||p"); do
        case $(cat "${process%/cwd}/comm" 2>/dev/null) in *postgres*|*postmaster*) refuse 12 "PostgreSQL runs in $data";; esac
    done
}
is_copy() { [ -e "$name/handyrep.cloning" ] && [ -e "$name/standby.signal" ] && [ ! -e "$name/handyrep.fenced" ]; }
must_not_run
if [ -d "$name" ]; then
    mountpoint -q -- "$name" && refuse 11 "$data is a mount point, so nothing can take its place; use a folder below it"
    if [ -n "$(ls -A -- "$name")" ] && ! is_copy; then
        [ -f "$name/PG_VERSION" ] || refuse 13 "$data holds something that is no data directory"
        [ "$reclone" = yes ] || refuse 14 "$data is not empty; say --reclone to overwrite it"
        found=$("$control" "$name" 2>/dev/null | sed -n 's/^Database system identifier: *//p')
        case $found in ''|"$identifier") ;; *) refuse 15 "$data belongs to another cluster (system identifier $found)";; esac
    fi
fi
[ -d "$new" ] || mkdir -m 0700 -- "$new" || exit 17
exec 9<"$new"
flock -n 9 || refuse 16 "another copy for $data is still under way"
is_copy && rm -rf -- "./$name"
find "./$new" -mindepth 1 -delete || exit 17
"$@" -D "$parent/$new" </dev/null || { status=$?; rm -rf -- "./$new"; exit "$status"; }
[ -f "$new/PG_VERSION" ] || refuse 18 "pg_basebackup ended well and made no data directory"
: > "$new/standby.signal" && : > "$new/handyrep.cloning" || exit 18
sync
must_not_run
if [ -d "$name" ] && ! rmdir -- "$name" 2>/dev/null; then
    number=
    while [ -e "$old$number" ]; do number=$((number + 1)); done
    old=$old$number
    mv -- "$name" "$old" || exit 19
fi
mv -- "$new" "$name" || { [ -d "$old" ] && mv -- "$old" "$name"; exit 19; }
exit 0
"""
_DISCARD_NEW = r"""
set -eu
new=$1
[ -d "$new" ] || exit 0
[ ! -L "$new" ] || { echo "$new is a symbolic link" >&2; exit 11; }
exec 9<"$new"
flock -n 9 || { echo "a copy is under way in $new" >&2; exit 16; }
rm -rf --one-file-system -- "$new"
"""
_OLD = r"""
ls -d -- "$1".handyrep-old* 2>/dev/null
exit 0
"""
_DISCARD_OLD = r"""
set -u
data=$1; shift
for old in "$@"; do
    [ ! -L "$old" ] && [ -f "$old/PG_VERSION" ] || exit 11
    rm -rf --one-file-system -- "$old" || exit 12
done
rm -f -- "$data/handyrep.cloning"
"""


class clone_basebackup(keeps):
    """Makes a replica by copying a server with pg_basebackup (-X stream, fast checkpoint).

    Does: copies beside pgdata, puts the copy in its place, makes it a replica, starts it with restart_method. With reclone what stood
    there is moved aside first and deleted once the new replica runs (2014's deleted it first, with rm -rf, before it knew whether
    the copy would come). WAL that only it has, of a former master or of a replica that went another way, is kept before, with a
    report, as rejoin_rewind does; where that cannot be done, what stood there stays in pgdata.handyrep-old.
    Touches on the server: pgdata, pgdata.handyrep-new, pgdata.handyrep-old, pgdata.handyrep-kept-CLUSTER-EPOCH-TIME; on the source
    one replication session.
    Needs: SSH; flock; replication_user may log in from the server to the source; room for a second copy beside pgdata.
    Safe to repeat?: yes: a copy that was interrupted, or never streamed (handyrep.cloning lies in it), is thrown away and made again.
    When it cannot tell: UNCERTAIN. It refuses: the master, a running server, a folder that is no data directory, one of another
    cluster, one that is not empty without reclone, a source of another major version, tablespaces unless extra_parameters map them.
    Options: basebackup_path, extra_parameters, quarantine_dir, quarantine_keep.
    """

    kinds = (Kind.CLONE,)
    basebackup_path = option(path, "", "full path of pg_basebackup on the servers; blank: looked for")
    extra_parameters = option(list_of(text), (), "additional parameters for pg_basebackup, separated by commas")

    async def run(self, servername: str, clonefrom: str, reclone: bool) -> Result:  # type: ignore[override]
        """SUCCESS when it was copied and started."""
        server, source = self.server(servername), self.server(clonefrom)
        if server.role == Role.MASTER or servername == clonefrom:
            return self.fail(f"{servername} is the master or the source itself: nothing was touched")
        try:
            refused = await self._refused(server, source)
            if refused:
                return self.fail(f"{refused}: nothing was touched")
            copied = await self._copied(server, source, reclone=reclone)
            if copied:
                return self.fail(f"the copy was not made: {copied}")
            return await self._started(server)
        except DatabaseError as error:
            return self.fail(f"{clonefrom} could not be asked: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"the copy was under way: {error}")

    async def _refused(self, server: Server, source: Server) -> str:
        try:
            following(self, server.name, self.master().name)
        except RefusedError as error:
            return error.what
        rows = await self.query(source.name, _TABLESPACES)
        mapped = any("tablespace-mapping" in one or one.startswith("-T") for one in self.extra_parameters)
        if rows[0]["outside"] and not mapped:
            return f"{source.name} has tablespaces outside its data directory; map them with extra_parameters = --tablespace-mapping=OLD=NEW"
        there = rows[0]["major"]
        here = await major_version(self, server, there)
        if here not in (None, there):
            return f"{server.name} has PostgreSQL {here}, and {source.name} is of {there}, so a copy could not be started there (see bin_dir)"
        return ""

    async def _copied(self, server: Server, source: Server, *, reclone: bool) -> str:
        """Make the copy; why it was not made, or ''."""
        program = await find_program(self, server, "pg_basebackup", self.basebackup_path)
        control = await find_program(self, server, "pg_controldata")
        if not program:
            return "pg_basebackup is not on this server: set basebackup_path"
        rows = await self.query(source.name, "select system_identifier::text as id from pg_control_system()")
        user, secret = self.settings.handyrep.replication_user, self.settings.passwords.replication_pass
        backup = (
            *(program, "-h", source.client_address, "-p", str(source.port), "-U", user),
            *("-X", "stream", "--checkpoint=fast", f"--label={CLONE_LABEL}", "-w", *self.extra_parameters),
        )
        script = (
            "sh",
            "-c",
            _CLONE,
            "clone",
            server.pgdata,
            "yes" if reclone else "no",
            rows[0]["id"],
            control or "false",
        )
        stdin = passfile_line(user, secret.reveal()).encode() if secret is not None else b""
        argv = ("sh", "-c", WITH_PASSFILE, "with_passfile", *script, *backup)
        ran = await self.run_as_postgres(server.name, *argv, stdin=stdin)
        return "" if ran.exit_status == 0 else reason(ran)

    async def _started(self, server: Server) -> Result:
        argv = ("sh", "-c", SET_FOLLOWING, "set_following", server.pgdata, server.replica_conf)
        lines, by_slot = await following_by_slot(self, server.name, self.master().name)
        ran = await self.run_as_postgres(server.name, *argv, stdin=lines.encode())
        if ran.exit_status != 0:
            return self.fail(f"it was copied, but its settings could not be written: {last_words(ran)}")
        arguments = {"servername": server.name, "runmode": "start"}
        started = await self.use_plugin(Kind.RESTART, server.restart_method, "run", **arguments)
        if started.outcome is not Outcome.SUCCESS:
            return self.uncertain(
                f"it was copied, and starting it: {started.details}. What stood there is kept beside it"
            )
        return await self._seen_streaming(server, by_slot)

    async def _old_discarded(self, server: Server, told: str) -> Result:
        """Keep what only those have which were moved aside, now or for an earlier copy; then they go."""
        data, extra = server.pgdata.rstrip("/"), dict[str, Any]()
        ran = await self.run_as_postgres(server.name, "sh", "-c", _OLD, "old", data)
        discarded = []
        for old in ran.stdout.splitlines():
            try:
                own = await self._kept(Keeping(self, server, old), server)
            except UnkeptError as error:
                told += f". {old} is left there, since it may have what no other server has: {error}"
                continue
            discarded.append(old)
            told, extra = (f"{told}; {own}", own.extra) if own else (told, extra)
        await self.run_as_postgres(server.name, "sh", "-c", _DISCARD_OLD, "discard_old", data, *discarded)
        return self.success(told, **extra)

    async def _kept(self, keeping: Keeping, server: Server) -> Own | None:
        """None when there was nothing to keep: it went the way of the new copy. Raises UnkeptError."""
        way = (await Keeping(self, server).look()).way
        found = await keeping.diverged(way, self.master().name)
        if found is None:
            return None
        own = await keeping.keep(found)
        await keeping.forget()
        return own

    async def _seen_streaming(self, server: Server, by_slot: str) -> Result:
        clock, status = self.call.world.clock, self.settings.failover.replication_status_method
        for _ in range(self.settings.failover.recovery_retries):
            seen = await self.use_plugin(Kind.REPLICATION_STATUS, status, "run", replicaserver=server.name)
            if seen.extra.get("replicating") is True:
                return await self._old_discarded(
                    server, f"{server.name} is a replica of {self.master().name} and streams{by_slot}"
                )
            await clock.sleep(1.0)
        return self.fail(
            f"{server.name} was copied and started, and does not stream yet. What stood there is kept beside it"
        )

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when pg_basebackup is not on a server concerned, or replication_user cannot log in to the master."""
        names = [servername] if servername else [s.name for s in self.concerned("clone_method")]
        for name in names:
            try:
                program = await find_program(self, self.server(name), "pg_basebackup", self.basebackup_path)
            except NoAnswerError as error:
                return self.fail(f"{name}: {nothing_known(error)}")
            if not program:
                return self.fail(f"{name}: pg_basebackup is not there; set basebackup_path")
        try:
            await self.query(self.master().name, "select 1", login=Login.HANDYREP)
        except (DatabaseError, NoAnswerError) as error:
            return self.fail(str(error))
        return self.success(f"pg_basebackup is on {', '.join(names) or 'no server: none uses it'}")

    async def footprint(self, servername: str) -> Result:
        """Copies that were broken off, what was moved aside or kept for one, and the mark of a copy."""
        kept = self.kept_base(self.server(servername))
        return await _left_in_pgdata.footprint(self, servername, self._traces, kept)

    def _traces(self, server: Server, left: Left) -> list[dict[str, str]]:
        data = server.pgdata.rstrip("/")
        found = self.kept_traces(server, left.beside)
        why = "it may have what no other server has; once somebody has looked: rm -r of it, as its owner"
        purpose = "stood in pgdata before a copy took its place"
        old = (place for place in left.beside if place.startswith(f"{data}.handyrep-old"))
        found += [self.trace("moved aside", place, purpose, stays=why) for place in old]
        if f"{data}.handyrep-new" in left.beside:
            found.append(self.trace("half a copy", f"{data}.handyrep-new", "a copy that was broken off"))
        if CLONING in left.names:
            idle = "" if left.runs else f"{server.name} is stopped, and never streamed: handyrep clone {server.name}"
            purpose = "lets a copy that never streamed be thrown away"
            found.append(self.trace("mark of a copy", f"{data}/{CLONING}", purpose, stays=idle))
        return found

    async def take_back(self, servername: str) -> Result:
        """Delete a copy that was broken off, and the mark of one that runs."""

        async def take(server: Server, left: Left) -> str:
            new = f"{server.pgdata.rstrip('/')}.handyrep-new"
            if new in left.beside:
                ran = await self.run_as_postgres(server.name, "sh", "-c", _DISCARD_NEW, "discard_new", new)
                if ran.exit_status != 0:
                    return last_words(ran)
            names = (CLONING, FENCED) if CLONING in left.names and left.runs else ()
            return await _left_in_pgdata.delete(self, server, *names)

        return await _left_in_pgdata.taken_back(self, servername, take)
