"""archive_delete_find: deletes old WAL from the archive with find, and never what anybody still needs."""

import re

from handyrep.directives import number
from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, RefusedError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words

_NEEDED = """
select case when pg_is_in_recovery() then (select redo_wal_file from pg_control_checkpoint())
            else pg_walfile_name(coalesce((select min(restart_lsn) from pg_replication_slots), pg_current_wal_lsn())) end as segment
"""
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_FIND_LABELS = r"""
set -eu
cd -- "$1"
find . -maxdepth 1 -type f -name '*.backup' -print
"""
# Names are compared as text: 24 hexadecimal digits sort as the WAL does within a timeline, so only the part after the timeline counts.
# The list is made and shown first, and exactly that list is deleted.
_DELETE = r"""
set -eu
cd -- "$1"
minutes=$2 needed=$3
find . -maxdepth 1 -type f -mmin "+$minutes" -regextype posix-extended -regex '\./[0-9A-F]{24}(\.(gz|zst|lz4|bz2|xz))?' -print | while IFS= read -r file; do
    name=${file#./}
    position=$(printf %s "$name" | cut -c9-24)
    if [ "$(printf '%s\n%s\n' "$position" "$needed" | LC_ALL=C sort | head -n 1)" = "$position" ] && [ "$position" != "$needed" ]; then
        rm -f -- "./$name" && echo "$name"
    fi
done
"""


class archive_delete_find(handyrepplugin):
    """Deletes WAL files older than archive_delete_hours from archive_directory on archive_server.

    Does: asks every PostgreSQL from which WAL it would start again, and looks which base backups are kept (*.backup in the archive);
    then find deletes files that are named like WAL, are older than the limit, and lie before all of that. (2014's deleted by age
    alone, whoever still needed the file.)
    Touches on the server: files in archive_directory itself that are named by 24 hexadecimal digits (and an ending of a compressor).
    Never .history, .backup, .partial or anything else.
    Needs: SSH to archive_server as the account postgres_os_user; find.
    Safe to repeat?: yes.
    When it cannot tell: a replica that does not answer counts with the last position it was known to need, and its name is told; one
    of which nothing is known stops the deletion.
    Options: archive_delete_hours.
    """

    kinds = (Kind.ARCHIVE_DELETE,)
    archive_delete_hours = option(number(0.01, 24 * 3650), 24.0, "hours of WAL to keep")

    async def run(self) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with the number of files deleted."""
        try:
            server, folder = self._place()
            needed, told = await self._oldest_needed(server, folder)
        except HandyRepError as error:
            return self.fail(f"nothing was deleted: {error}")
        minutes = str(int(self.archive_delete_hours * 60))
        try:
            ran = await self.run_as_postgres(server.name, "sh", "-c", _DELETE, "delete", folder, minutes, needed[8:24])
        except NoAnswerError as error:
            return self.uncertain(f"the deletion may be under way: {error.what}")
        if ran.exit_status != 0:
            return self.fail(f"find failed: {last_words(ran)}")
        gone = ran.stdout.split()
        return self.success(
            f"{len(gone)} WAL files deleted, all older than {minutes} minutes and before {needed}{told}",
            deleted=len(gone),
        )

    def _place(self) -> tuple[Server, str]:
        archive = self.settings.archive
        folder = archive.archive_directory.rstrip("/")
        if not archive.archive_server or folder.count("/") < 2:
            raise RefusedError("archive_server and archive_directory (at least two folders deep) must be set")
        return self.server(archive.archive_server), folder

    async def _oldest_needed(self, server: Server, folder: str) -> tuple[str, str]:
        """(the oldest WAL file that anybody needs, what to tell). Raises HandyRepError when that is not known."""
        known: dict[str, str] = self.memory
        silent = []
        for member in (*self.cluster.masters, *self.cluster.replicas):
            try:
                known[member.name] = str((await self.query(member.name, _NEEDED))[0]["segment"])
            except (DatabaseError, NoAnswerError) as error:
                if member.name not in known:
                    raise RefusedError(f"what {member.name} still needs is not known ({error.what})") from None
                silent.append(member.name)
        wanted = [known[m.name] for m in (*self.cluster.masters, *self.cluster.replicas)] + await self._backups(
            server, folder
        )
        odd = [name for name in wanted if not _SEGMENT.fullmatch(name)]
        if odd or not wanted:
            raise RefusedError(f"an answer is no name of a WAL file: {odd or 'nobody was asked'}")
        told = f"; {', '.join(silent)} did not answer and count with what they last needed" if silent else ""
        return min(wanted, key=lambda name: name[8:24]), told

    async def _backups(self, server: Server, folder: str) -> list[str]:
        ran = await self.run_as_postgres(server.name, "sh", "-c", _FIND_LABELS, "labels", folder)
        if ran.exit_status != 0:
            raise RefusedError(f"{folder} cannot be looked at: {last_words(ran)}")
        return [
            line.removeprefix("./")[:24] for line in ran.stdout.splitlines() if _SEGMENT.match(line.removeprefix("./"))
        ]

    async def test(self) -> Result:
        """FAIL when the archive cannot be reached or written, or find is missing."""
        try:
            server, folder = self._place()
            ran = await self.run_as_postgres(
                server.name, "sh", "-c", 'test -d "$1" && test -w "$1" && command -v find >/dev/null', "test", folder
            )
        except HandyRepError as error:
            return self.fail(str(error))
        return (
            self.success(f"{folder} can be cleaned")
            if ran.exit_status == 0
            else self.fail(f"{folder} is not there, cannot be written, or find is missing")
        )
