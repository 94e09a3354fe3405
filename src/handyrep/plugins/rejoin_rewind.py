"""rejoin_rewind: brings a former master back as a replica, with pg_rewind only where its history has parted."""

from psycopg.conninfo import make_conninfo

from handyrep.errors import DatabaseError, NoAnswerError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._programs import config_file, find_program, reason
from handyrep.plugins._replication import SET_FOLLOWING, WITH_PASSFILE, following, passfile_line
from handyrep.plugins._wal_end import control_values
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words
from handyrep.ports import Login

_FORKS = """
select history, name from (
    select pg_read_file('pg_wal/' || name) as history, name from pg_ls_waldir() where name like '%.history'
) as files order by name desc limit 1
"""
# A half rewound server must never start, and no file can say so: pg_rewind removes or replaces whatever it finds, standby.signal too. So
# the data directory is made writable for others meanwhile. Without x that allows nobody anything, and PostgreSQL refuses to start in
# one. To go on with a half rewound one its own WAL is needed again, which pg_rewind has removed.
# A crashed server must start once, alone, to be rewound; standby.signal would not let it.
_REWIND = r"""
set -eu
data=$1 kept=$2 config=$3; shift 3
programs=$(dirname -- "$1")
if [ -n "$(find -H "$data" -maxdepth 0 -perm -o=w)" ]; then
    kept=$(ls -dtc -- "${data%/}".handyrep-kept-* 2>/dev/null | head -n 1)
    [ -n "$kept" ] || { echo "$data is half rewound, and its own WAL is not beside it any more" >&2; exit 10; }
    cp -a -- "$kept/." "$data/pg_wal"
elif [ ! -e "$kept" ]; then
    rm -rf -- "$kept.part"
    cp -a -- "$data/pg_wal/." "$kept.part"
    mv -- "$kept.part" "$kept"
fi
case $("$programs/pg_controldata" "$data" | sed -n 's/^Database cluster state: *//p') in
    "shut down"*) ;;
    *)
        rm -f -- "$data/standby.signal"
        "$programs/postgres" --single -F -D "$data" ${config:+-c "config_file=$config"} template1 </dev/null >/dev/null
        : > "$data/standby.signal";;
esac
"$@" --dry-run </dev/null
chmod o+w -- "$data"
sync "$data" 2>/dev/null || sync
"$@" </dev/null
: > "$data/standby.signal"
sync "$data/standby.signal" "$data" 2>/dev/null || sync
chmod o-w -- "$data"
"""
_FORBID = """
data=$1
: > "$data/standby.signal"
"""


def has_parted(history: str, newest: int, timeline: str, last_lsn: str) -> bool:
    """Whether a server whose WAL ends on `timeline` at `last_lsn` may have WAL that the history of timeline `newest` lacks."""
    if timeline == str(newest):
        return False
    forks = {words[0]: words[1] for words in map(str.split, history.splitlines()) if len(words) > 1}
    return not last_lsn or timeline not in forks or Lsn.parse(last_lsn) > Lsn.parse(forks[timeline])


class rejoin_rewind(handyrepplugin):
    """Makes a former master a replica of the new one.

    Does: proves with fence_stop that it is stopped; compares its last WAL with where the new master's history left its timeline. When it wrote
    nothing beyond that, it simply follows. Otherwise its pg_wal is copied aside (beside pgdata, named handyrep-kept-EPOCH-NAME), and
    pg_rewind takes it back. Then it is started with restart_method.
    Touches on the server: pgdata; standby.signal; primary_conninfo in postgresql.auto.conf or replica_conf; a checkpoint on the new
    master before pg_rewind.
    Needs: SSH; for pg_rewind data checksums or wal_log_hints = on, and a superuser login from the server to the new master.
    Safe to repeat?: yes; an interrupted pg_rewind leaves pgdata in mode o+w, with which PostgreSQL does not start, and is run again.
    When it cannot tell: FAIL and the server stays stopped. What pg_rewind cannot do is left to "handyrep clone NAME --reclone".
    Options: none.
    """

    kinds = (Kind.REJOIN,)

    async def run(self, servername: str, newmaster: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when it was started as a replica."""
        refused = self._refused(servername, newmaster)
        if refused:
            return self.fail(f"{refused}: nothing was touched")
        fenced = await self.use_plugin(Kind.FENCE, "fence_stop", "run", servername=servername)
        if fenced.outcome is not Outcome.SUCCESS:
            return self.fail(f"{servername} is not proven to be stopped: {fenced.details}")
        try:
            parted = await self._has_parted(self.server(servername), newmaster, str(fenced.extra.get("last_lsn") or ""))
            if parted:
                problem = await self._rewound(self.server(servername), newmaster)
                if problem:
                    return self.fail(
                        f"{problem}. {servername} stays stopped; next: handyrep clone {servername} --reclone"
                    )
            return await self._started(servername, newmaster, parted=parted)
        except DatabaseError as error:
            return self.fail(f"{newmaster} could not be asked: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"it was under way: {error}")

    def _refused(self, servername: str, newmaster: str) -> str:
        if servername == newmaster or self.master().name != newmaster:
            return f"{newmaster} is not the recorded master, or {servername} is"
        try:
            following(self, servername, newmaster)
        except RefusedError as error:
            return error.what
        return ""

    async def _has_parted(self, server: Server, newmaster: str, last_lsn: str) -> bool:
        """Whether the former master may have written anything that the new master does not have."""
        half = await self.run_as_postgres(server.name, "find", "-H", server.pgdata, "-maxdepth", "0", "-perm", "-o=w")
        rows = await self.query(newmaster, _FORKS, login=Login.SUPERUSER)
        if half.stdout or not rows:
            return True
        control = await find_program(self, server, "pg_controldata")
        ran = await self.run_as_postgres(server.name, control or "false", server.pgdata)
        timeline = control_values(ran.stdout).get("Latest checkpoint's TimeLineID", "")
        return has_parted(rows[0]["history"], int(rows[0]["name"][:8], 16), timeline, last_lsn)

    async def _rewound(self, server: Server, newmaster: str) -> str:
        """Run pg_rewind; why it could not, or ''."""
        program = await find_program(self, server, "pg_rewind")
        if not program:
            return "pg_rewind is not on this server"
        source = self.server(newmaster)
        user = self.settings.handyrep.postgres_superuser
        secret = self.settings.passwords.superuser_pass
        target = make_conninfo("", host=source.client_address, port=source.port, user=user, dbname="postgres")
        rewind = (program, "-D", server.pgdata, f"--source-server={target}", "--no-ensure-shutdown")
        kept = f"{server.pgdata.rstrip('/')}.handyrep-kept-{self.cluster.epoch}-{server.name}"
        script = ("sh", "-c", _REWIND, "rewind", server.pgdata, kept, config_file(server), *rewind)
        argv = ("sh", "-c", WITH_PASSFILE, "with_passfile", *script)
        stdin = passfile_line(user, secret.reveal()).encode() if secret is not None else b""
        # Before version 16 pg_rewind takes a source that was just promoted to be on its old timeline, and then does nothing.
        await self.query(newmaster, "checkpoint", login=Login.SUPERUSER)
        ran = await self.run_as_postgres(server.name, *argv, stdin=stdin)
        if ran.exit_status == 0:
            return ""
        await self.run_as_postgres(server.name, "sh", "-c", _FORBID, "forbid", server.pgdata)
        return f"pg_rewind could not take it back: {reason(ran)}"

    async def _started(self, servername: str, newmaster: str, *, parted: bool) -> Result:
        server = self.server(servername)
        argv = ("sh", "-c", SET_FOLLOWING, "set_following", server.pgdata, server.replica_conf)
        ran = await self.run_as_postgres(servername, *argv, stdin=following(self, servername, newmaster).encode())
        if ran.exit_status != 0:
            return self.fail(f"its settings could not be written: {last_words(ran)}")
        arguments = {"servername": servername, "runmode": "start"}
        started = await self.use_plugin(Kind.RESTART, server.restart_method, "run", **arguments)
        how = (
            "after pg_rewind; its own WAL is kept beside pgdata"
            if parted
            else "without pg_rewind: it had written nothing more"
        )
        if started.outcome is Outcome.SUCCESS:
            return self.success(f"{servername} was started as a replica of {newmaster}, {how}", rewound=parted)
        return self.uncertain(
            f"{servername} was made a replica of {newmaster}, {how}, and starting it: {started.details}"
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
