"""archive_delete_find: deletes old WAL from the archive with find, and never what anybody still needs."""

import asyncio

from handyrep.directives import integer, number
from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, RefusedError
from handyrep.model.cluster import Member
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins._wal_archive import CLONE_LABEL, before, first_of_backup, is_segment, position
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

_NEEDED = """
select redo_wal_file as redo,
       case when pg_is_in_recovery() then null
            else pg_walfile_name((select min(restart_lsn) from pg_replication_slots)) end as slot
from pg_control_checkpoint()
"""
# The directory of a PostgreSQL that runs holds files of the same names, all of which it needs.
_ENTER = r"""
cd -- "$1" || exit 3
if [ -e archive_status ] || [ -e ../PG_VERSION ] || [ -e PG_VERSION ]; then echo "$1 belongs to a PostgreSQL: it is no archive" >&2; exit 4; fi
"""
_LABELS = (
    _ENTER
    + r"""
find . -maxdepth 1 -type f -name '*.backup*' -print | while IFS= read -r file; do
    grep -q "^LABEL: $2" "$file" || printf '%s\n' "${file#./}"
done
"""
)
_OLD = (
    _ENTER
    + r"""
find . -maxdepth 1 -type f -mmin "+$2" -regextype posix-extended -regex '\./[0-9A-F]{24}(\.(gz|bz2|lz4|xz|zst))?' -print
"""
)
_DELETE = _ENTER + "xargs -r rm -f --"
_CAN_DELETE = (
    _ENTER
    + '[ -w . ] && [ -x . ] && command -v find >/dev/null && command -v xargs >/dev/null || { echo "$1 cannot be written, or find or xargs is missing" >&2; exit 5; }'
)


class archive_delete_find(handyrepplugin):
    """Deletes WAL files older than archive_delete_hours from archive_directory on archive_server.

    Does: asks every enabled PostgreSQL from which WAL file on it would need the archive if it were started again (its last
    checkpoint, its replication slots), and looks in the archive which base backups are kept (*.backup files); lists with find what is
    older than the limit; deletes of this list what lies before all of that. 2014's deleted by age alone, whoever still needed the file.
    Touches on the server: files in archive_directory itself that are named by 24 hexadecimal digits, compressed (.gz, .bz2, .lz4,
    .xz, .zst) or not. Never .history, .backup, .partial, folders or anything else; never in a directory of a PostgreSQL (pg_wal).
    Needs: SSH to archive_server as its postgres_os_user, who owns the archive; GNU find and xargs there; a login for handyrep_user.
    Safe to repeat?: yes.
    When it cannot tell: a server that does not answer counts with what it was last known to need, and is named; when that is not
    known either, nothing is deleted. Disabled servers do not count. A backup that is being made now is protected by its age only.
    Options: archive_delete_hours, keep_backups.
    """

    kinds = (Kind.ARCHIVE_DELETE,)
    archive_delete_hours = option(number(0.01, 24 * 3650), 24.0, "hours of WAL to retain")
    keep_backups = option(
        integer(-1, 100000),
        -1,
        "so many of the newest base backups that left a *.backup file in the archive keep their WAL, clones by HandyRep aside; -1: all",
    )

    async def run(self) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with the number of files `deleted`, and `needed`, the oldest segment that is needed."""
        try:
            server, folder = self._place()
            needed, told = await self._oldest_needed(server, folder)
            old = await self._asked(server, _OLD, folder, str(int(self.archive_delete_hours * 60)))
        except HandyRepError as error:
            return self.fail(f"nothing was deleted: {error}")
        doomed = before((line.removeprefix("./") for line in old.splitlines()), needed)
        argv = ("sh", "-c", _DELETE, "delete", folder)
        try:
            ran = await self.run_as_postgres(server.name, *argv, stdin="".join(f"./{d}\n" for d in doomed).encode())
        except NoAnswerError as error:
            return self.uncertain(f"{len(doomed)} files were to be deleted, and perhaps are: {error.what}")
        if ran.exit_status != 0:
            return self.fail(f"not all of {len(doomed)} files could be deleted: {last_words(ran)}")
        what = f"{len(doomed)} WAL files deleted, older than {self.archive_delete_hours:g} hours and before {needed}"
        return self.success(what + told, deleted=len(doomed), needed=needed)

    def _place(self) -> tuple[Server, str]:
        archive = self.settings.archive
        folder = archive.archive_directory.rstrip("/")
        if not archive.archive_server or not folder.startswith("/"):
            raise RefusedError("archive_server and archive_directory must be set in [archive]")
        return self.server(archive.archive_server), folder

    async def _oldest_needed(self, server: Server, folder: str) -> tuple[str, str]:
        """(the oldest segment that anybody needs, what to tell). Raises HandyRepError when that is not known."""
        members = (*self.cluster.masters, *self.cluster.replicas)
        problems = await asyncio.gather(*(self._ask_what_it_needs(member) for member in members))
        silent = {member.name: problem for member, problem in zip(members, problems, strict=True) if problem}
        unknown = [f"{name} ({problem})" for name, problem in silent.items() if name not in self.memory]
        if unknown or not members:
            raise RefusedError(f"what is still needed by {', '.join(unknown) or 'the cluster'} is not known")
        needed = [str(self.memory[member.name]) for member in members]
        needed += await self._needed_by_backups(server, folder)
        told = f"; {', '.join(silent)} did not answer and counted with what was last needed" if silent else ""
        return min(needed, key=position), told

    async def _ask_what_it_needs(self, member: Member) -> str:
        """Remember the oldest segment that it needs, also for a day when it is silent. Why that is not known now, or ''."""
        try:
            row = (await self.query(member.name, _NEEDED))[0]
        except (DatabaseError, NoAnswerError) as error:
            return error.what
        named = [segment for segment in (row["redo"], row["slot"]) if segment is not None]
        if not named or not all(is_segment(segment) for segment in named):
            return f"it names no WAL file, but {named}"
        self.memory[member.name] = min(named, key=position)
        return ""

    async def _needed_by_backups(self, server: Server, folder: str) -> list[str]:
        labels = await self._asked(server, _LABELS, folder, CLONE_LABEL)
        firsts = sorted((first_of_backup(label) for label in labels.splitlines()), key=position, reverse=True)
        kept = [first for first in firsts if first]
        return kept if self.keep_backups < 0 else kept[: self.keep_backups]

    async def _asked(self, server: Server, script: str, folder: str, *arguments: str) -> str:
        """The output of a script in the archive. Raises RefusedError, NoAnswerError."""
        ran = await self.run_as_postgres(server.name, "sh", "-c", script, "archive", folder, *arguments)
        if ran.exit_status != 0:
            raise RefusedError(f"{folder} cannot be looked at: {last_words(ran)}", server=server.name)
        if ran.cut and script is _LABELS:
            raise RefusedError(f"{folder} has more *.backup files than can be looked at", server=server.name)
        return ran.stdout

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when the archive cannot be cleaned: it is not there, cannot be written, or what is needed is not known."""
        try:
            server, folder = self._place()
            if servername not in (None, server.name):
                return self.success(f"{servername} is not the archive_server")
            await self._asked(server, _CAN_DELETE, folder)
            needed, told = await self._oldest_needed(server, folder)
        except HandyRepError as error:
            return self.fail(str(error))
        return self.success(f"{folder} can be cleaned of what lies before {needed}{told}")
