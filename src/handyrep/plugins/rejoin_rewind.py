"""rejoin_rewind: brings a former master back as a replica, with pg_rewind only where its history has parted."""

from collections.abc import Awaitable, Callable

from psycopg.conninfo import make_conninfo

from handyrep.errors import DatabaseError, NoAnswerError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins import _left_in_pgdata
from handyrep.plugins._holders import DEAD
from handyrep.plugins._keeping import ROOM, Diverged, Keeping, Own, UnkeptError, keeps
from handyrep.plugins._left_in_pgdata import FORBIDDEN, SIGNAL, Left
from handyrep.plugins._programs import config_file, find_program, reason
from handyrep.plugins._replication import SET_FOLLOWING, WITH_PASSFILE, following, passfile_line
from handyrep.plugins._slots import following_by_slot
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Login

# A half rewound server must never start, and no file can say so: pg_rewind removes or replaces whatever it finds, standby.signal too. So
# the data directory is made writable for others meanwhile. Without x that allows nobody anything, and PostgreSQL refuses to start in
# one. To go on with a half rewound one its own WAL is needed again, from its last checkpoint before the fork to what its own recovery
# wrote at the end, and pg_rewind has removed it: so what is kept is completed before. pg_rewind writes pg_control last: one that says "in archive recovery" was rewound to the end.
# A crashed server must start once, alone, to be rewound; standby.signal would not let it. Meanwhile a setting forbids all but this
# start: only a postmaster reads pg_hba.conf. It is taken back only behind standby.signal, which an earlier try may have left out.
# pg_rewind brings another postgresql.auto.conf.
_ALLOW = rf"""
forbidden={FORBIDDEN}
allow() {{ [ ! -f "$data/postgresql.auto.conf" ] || sed -i "/$forbidden/d" "$data/postgresql.auto.conf"; }}
"""
_REWIND = (
    ROOM
    + _ALLOW
    + DEAD
    + r"""
set -eu
export LC_ALL=C
data=$1 kept=$2 config=$3; shift 3
programs=$(dirname -- "$1")
control() { "$programs/pg_controldata" "$data" | sed -n "s/^$1: *//p"; }
segment() {
    size=$(control 'Bytes per WAL segment')
    number=$(( (((0x${1%/*} << 32) | 0x${1#*/}) + $2) / size )) per=$(( 0x100000000 / size ))
    printf '%08X%08X' $((number / per)) $((number % per))
}
done_with_it() {
    : > "$data/standby.signal"
    sync "$data/standby.signal" "$data" 2>/dev/null || sync
    chmod o-w -- "$data"
    exit 0
}
if [ -n "$(find -H "$data" -maxdepth 0 -perm -o=w)" ]; then
    [ "$(control 'Database cluster state')" != "in archive recovery" ] || done_with_it
    [ -n "$kept" ] || { echo "$data is half rewound, and its own WAL is not beside it any more" >&2; exit 10; }
    for part in pg_wal recovered; do cp -a -- "$kept/$part/." "$data/pg_wal"; done
fi
case $(control 'Database cluster state') in
    "shut down"*) ;;
    *)
        reaped "$data" || { echo "PostgreSQL does not start beside its dead postmaster $main, of which the parent has not taken note" >&2; exit 10; }
        printf "\nhba_file = '%s'\n" "$forbidden" >> "$data/postgresql.auto.conf"
        sync "$data/postgresql.auto.conf" 2>/dev/null || sync
        rm -f -- "$data/standby.signal"
        "$programs/postgres" --single -F -D "$data" ${config:+-c "config_file=$config"} template1 </dev/null >/dev/null
        cp -p -- "$data/global/pg_control" "$kept/pg_control.recovered";;
esac
: > "$data/standby.signal"
sync "$data/standby.signal" "$data" 2>/dev/null || sync
allow
told=$("$@" --dry-run </dev/null 2>&1) || { printf '%s\n' "$told" >&2; exit 1; }
place=$(printf '%s\n' "$told" | sed -n 's/.*from last common checkpoint at \([0-9A-F/]*\) .*/\1/p')
case $told in *"no rewind required"*) exit 30;; esac
from=0000000000000000
[ -z "$place" ] || from=$(segment "$place" 0)
to=$(segment "$(control 'Latest checkpoint location')" 8192)
mkdir -p -- "$kept/recovered"
cd -- "$data/pg_wal"
missing=$(ls | grep -E '^[0-9A-F]{24}$' | while read -r file; do
    number=$(printf '%s' "$file" | cut -c 9-)
    if [ "$number" \< "$from" ] || [ "$number" \> "$to" ]; then continue; fi
    cmp -s -- "$file" "$kept/pg_wal/$file" || cmp -s -- "$file" "$kept/recovered/$file" || echo "$file"
done)
[ -z "$missing" ] || { room "$kept" $missing; cp -p --reflink=auto -- $missing "$kept/recovered/"; }
chmod o+w -- "$data"
find "$kept/recovered" -exec sync -- {} + 2>/dev/null || sync
sync -- "$data" 2>/dev/null || sync
"$@" </dev/null
done_with_it
"""
)
_NOTHING_TO_REWIND = 30
_FORBID = (
    _ALLOW
    + r"""
data=$1
: > "$data/standby.signal" && { sync "$data/standby.signal" "$data" 2>/dev/null || sync; } && allow
"""
)


OnParting = Callable[[Keeping, Diverged, str], Awaitable[Result]]


class rejoin_rewind(keeps):
    """Makes a former master a replica of the new one.

    Does: proves with fence_stop that it is stopped; compares its last WAL with where the new master's history left its timeline. When it wrote
    nothing beyond that, it simply follows. Otherwise its WAL from there on is copied aside, compared with what was copied, and read
    with pg_waldump: how many transactions, which tables, how many rows only this server has. The report (report.txt, report.json)
    lies beside the WAL, and its first sentence is in the result. Then pg_rewind takes the server back, and restart_method starts it.
    follow() does the same without pg_rewind: where histories have parted it leaves the server stopped and says what it has.
    Touches on the server: pgdata; pgdata.handyrep-kept-CLUSTER-EPOCH-TIME (or the same in quarantine_dir), for its owner alone;
    standby.signal; primary_conninfo in postgresql.auto.conf or replica_conf; hba_file in postgresql.auto.conf while a crashed server
    recovers alone; a checkpoint on the new master before pg_rewind.
    Needs: SSH; for pg_rewind data checksums or wal_log_hints = on, and a superuser login from the server to the new master. Room for
    the copy: without it nothing is touched. For the report awk, and for names the tables on the new master.
    Safe to repeat?: yes; what is kept is not kept twice. An interrupted pg_rewind leaves pgdata in mode o+w, with which PostgreSQL
    does not start, and is run again.
    When it cannot tell: FAIL and the server stays stopped. What pg_rewind cannot do is left to "handyrep clone NAME --reclone". A report
    of WAL that could not all be read says "at least"; so do the rows of transactions that began before what was read.
    What is kept is never deleted, unless quarantine_keep says when it may be: then with the next server that comes back. To delete
    it yourself: rm -r of that directory, as its owner; nothing refers to it any more once the server is a replica that receives.
    Options: quarantine_dir, quarantine_keep.
    """

    kinds = (Kind.REJOIN,)

    async def run(self, servername: str, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was started as a replica."""
        return await self._back(servername, newmaster, self._taken_back)

    async def follow(self, servername: str, newmaster: str) -> Result:
        """The same, but never with pg_rewind: FAIL with parted = True when it would be needed."""
        return await self._back(servername, newmaster, self._left_alone)

    async def _back(self, servername: str, newmaster: str, parted: OnParting) -> Result:
        refused = self._refused(servername, newmaster)
        if refused:
            return self.fail(f"{refused}: nothing was touched")
        fenced = await self.use_plugin(Kind.FENCE, "fence_stop", "run", servername=servername)
        if fenced.outcome is not Outcome.SUCCESS:
            return self.fail(f"{servername} is not proven to be stopped: {fenced.details}")
        try:
            return await self._brought_back(servername, newmaster, str(fenced.extra.get("last_lsn") or ""), parted)
        except UnkeptError as error:
            return self.fail(f"{error}. {_next(servername)}")
        except DatabaseError as error:
            return self.fail(f"{newmaster} could not be asked: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"it was under way: {error}")

    async def _brought_back(self, servername: str, newmaster: str, last_lsn: str, parted: OnParting) -> Result:
        keeping = Keeping(self, self.server(servername))
        found = await keeping.diverged(await keeping.way_of(newmaster), newmaster, last_lsn)
        if found is not None:
            return await parted(keeping, found, newmaster)
        how = "without pg_rewind: it had written nothing more"
        return await self._started(servername, newmaster, how, rewound=False)

    def _refused(self, servername: str, newmaster: str) -> str:
        if servername == newmaster or self.master().name != newmaster:
            return f"{newmaster} is not the recorded master, or {servername} is"
        try:
            following(self, servername, newmaster)
        except RefusedError as error:
            return error.what
        return ""

    async def _left_alone(self, keeping: Keeping, found: Diverged, newmaster: str) -> Result:
        name = keeping.server.name
        own = keeping.own(found)
        where = f"at {found.parting.fork}" if found.parting else "and it is half rewound"
        parted = f"its history has parted from that of {newmaster} {where}: {own}"
        return self.fail(f"{parted}. {name} stays stopped; next: handyrep remaster {name}", parted=True, **own.extra)

    async def _taken_back(self, keeping: Keeping, found: Diverged, newmaster: str) -> Result:
        """Keep what only it has, then rewind it."""
        name = keeping.server.name
        own = await keeping.keep(found)
        problem = _impossible(found) or await self._rewound(keeping.server, own, newmaster)
        if problem:
            return self.fail(f"{problem}. {own}. {_next(name)}", **own.extra)
        result = await self._started(name, newmaster, f"after pg_rewind; {own}", rewound=True, **own.extra)
        await keeping.forget()
        return result

    async def _rewound(self, server: Server, own: Own, newmaster: str) -> str:
        """Run pg_rewind; why it could not, or ''."""
        program = await find_program(self, server, "pg_rewind")
        if not program:
            return "pg_rewind is not on this server"
        source = self.server(newmaster)
        user = self.settings.handyrep.postgres_superuser
        secret = self.settings.passwords.superuser_pass
        target = make_conninfo("", host=source.client_address, port=source.port, user=user, dbname="postgres")
        rewind = (program, "-D", server.pgdata, f"--source-server={target}", "--no-ensure-shutdown")
        script = ("sh", "-c", _REWIND, "rewind", server.pgdata, own.folder, config_file(server), *rewind)
        argv = ("sh", "-c", WITH_PASSFILE, "with_passfile", *script)
        stdin = passfile_line(user, secret.reveal()).encode() if secret is not None else b""
        # Before version 16 pg_rewind takes a source that was just promoted to be on its old timeline, and then does nothing.
        await self.query(newmaster, "checkpoint", login=Login.SUPERUSER)
        ran = await self.run_as_postgres(server.name, *argv, stdin=stdin)
        if ran.exit_status == 0 or (ran.exit_status == _NOTHING_TO_REWIND and not own.facts.get("transactions")):
            return ""
        await self.run_as_postgres(server.name, "sh", "-c", _FORBID, "forbid", server.pgdata)
        said = "it sees nothing to do" if ran.exit_status == _NOTHING_TO_REWIND else reason(ran)
        return f"pg_rewind could not take it back: {said}"

    async def _started(self, servername: str, newmaster: str, how: str, **extra: object) -> Result:
        server = self.server(servername)
        argv = ("sh", "-c", SET_FOLLOWING, "set_following", server.pgdata, server.replica_conf)
        lines, by_slot = await following_by_slot(self, servername, newmaster)
        ran = await self.run_as_postgres(servername, *argv, stdin=lines.encode())
        if ran.exit_status != 0:
            return self.fail(f"its settings could not be written: {last_words(ran)} ({how})", **extra)
        arguments = {"servername": servername, "runmode": "start"}
        started = await self.use_plugin(Kind.RESTART, server.restart_method, "run", **arguments)
        if started.outcome is Outcome.SUCCESS:
            return self.success(f"{servername} was started as a replica of {newmaster}, {how}{by_slot}", **extra)
        return self.uncertain(
            f"{servername} was made a replica of {newmaster}, {how}, and starting it: {started.details}", **extra
        )

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when pg_rewind is not on a server."""
        names = [servername] if servername else [s.name for s in self.cluster.servers if s.enabled and s.is_postgres]
        for name in names:
            try:
                program = await find_program(self, self.server(name), "pg_rewind")
            except NoAnswerError as error:
                return self.fail(f"{name}: {error.what}")
            if not program:
                return self.fail(f"{name}: pg_rewind is not there")
        return self.success(f"pg_rewind is on {', '.join(names) or 'no server'}")

    async def footprint(self, servername: str) -> Result:
        """What it has kept, and what keeps a server that is half brought back from starting. All of it stays."""
        kept = self.kept_base(self.server(servername))
        return await _left_in_pgdata.footprint(self, servername, self._traces, kept)

    def _traces(self, server: Server, left: Left) -> list[dict[str, str]]:
        found = self.kept_traces(server, left.beside)
        half = f"{server.name} must not start before it is brought back: handyrep remaster {server.name}"
        if left.half_rewound:
            purpose = "keeps PostgreSQL from starting while it is half rewound"
            found.append(self.trace("mode o+w", f"mode of {server.pgdata}", purpose, stays=half))
        if left.auto.get("hba_file") == FORBIDDEN:
            purpose = "keeps all but its own recovery from starting it"
            found.append(self.trace("setting", "setting hba_file", purpose, stays=half))
        if SIGNAL in left.names:
            serves = f"{server.name} is a replica by it, whoever made it; without it, it would start as a master"
            found.append(self.trace("signal", f"{server.pgdata}/{SIGNAL}", "lets it start as a replica", stays=serves))
        return found


def _impossible(found: Diverged) -> str:
    """Two servers that were each promoted to a timeline of the same number look alike to pg_rewind."""
    if found.parting is None or found.look.timeline != found.newest:
        return ""
    return f"both were promoted to timeline {found.newest}, each by itself, and pg_rewind cannot tell them apart"


def _next(name: str) -> str:
    return f"{name} stays stopped; next: handyrep clone {name} --reclone"
