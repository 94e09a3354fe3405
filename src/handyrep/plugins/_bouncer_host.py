"""The file pgbouncer.ini on the host of one pgbouncer, handled as the account that owns it, or as root where that is not enough."""

import dataclasses
import math
import re
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from handyrep.errors import PluginError
from handyrep.model.server import Server
from handyrep.plugins._bouncer_config import MARK
from handyrep.plugins._bouncer_foot import included
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Ran, RunAs

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

_READ = '[ -e "$1" ] || exit 0; exec cat -- "$1"'
_NO_LOG = "handyrep: no log"
_CAN_LOG = """
can_log() { if [ -e "$1" ]; then [ -f "$1" ] && [ -w "$1" ]; else [ -w "$(dirname -- "$1")" ]; fi; }
"""
_LOG = f"""{_CAN_LOG}
[ -z "$1" ] || can_log "$1" || echo "{_NO_LOG}"
"""
_TRY = f"""{_CAN_LOG}
set -eu
umask 077
[ -z "$3" ] || can_log "$3" || {{ echo "{_NO_LOG}"; exit 0; }}
command -v -- "$1" >/dev/null
file=$(mktemp)
trap 'rm -f "$file"' EXIT
cat > "$file"
"$1" -u "$2" "$file" 2>&1 || :
"""
_NOBODY = "handyrep_tries_this_file"
"""No account has this name: a pgbouncer that is to run as it reads its whole file first, and then ends before it opens anything."""
_TAKEN, _REFUSED = f"could not find user '{_NOBODY}'", "cannot load config file"
_QUIET = "\n[pgbouncer]\nlogfile =\nsyslog = 0\n"
_LOG_LINE = re.compile(r".*?\b(?:ERROR|FATAL) (.*)")
_WHERE = re.compile(r" in configuration \(\S+:(\d+)\)")
_MODE = "0640"
_STILL_READ_S, _STILL_TAKEN_S = 150.0, 2.0
"""For so long a file is not tried again that was taken; and for so long not even what else it needs, such as a log file that it may write:
that hardly goes away in so short a time."""
_MOST_INCLUDES = 10
_REPLACED = "\ufffd"


_REVIVE = """
[ -d /run/systemd/system ] && [ "$(systemctl show -p ActiveState --value "$1")" = failed ] && systemctl start "$1"
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """How pgbouncer read a file: why it does not take it, or why that is not known; both are '' when it takes it.

    `can_log`: False when it could not open the log file that is named there. One that runs ends when it is told to reload then.
    """

    refused: str = ""
    not_tried: str = ""
    can_log: bool = True


class BouncerHost:
    """Every method raises NoAnswerError like the helpers that it uses."""

    def __init__(self, plugin: "handyrepplugin", server: Server, owner: str, file: str) -> None:
        self._plugin = plugin
        self._server = server
        self._owner = owner
        self._file = file

    async def put(self, content: str) -> Ran:
        """Replace the file in one step: as its owner, or as root where the folder is not the owner's."""

        async def by(account: RunAs) -> Ran:
            owner = f"{self._owner}:" if account is RunAs.ROOT else ""
            return await self._plugin.put_file(
                self._server.name, self._file, content, run_as=account, mode=_MODE, owner=owner
            )

        return await self._by_whoever_can(by)

    async def _by_whoever_can(self, act: Callable[[RunAs], Awaitable[Ran]]) -> Ran:
        """The owner, else root; the one that could the last time is asked first."""
        remembered = f"who writes {self._file} on {self._server.name}"
        first, other = self._account(), RunAs.ROOT
        if self._plugin.memory.get(remembered) is RunAs.ROOT:
            first, other = other, first
        by, ran = first, await act(first)
        if ran.exit_status != 0 and other is not first:
            by, ran = other, await act(other)
        if ran.exit_status == 0:
            self._plugin.memory[remembered] = by
        return ran

    async def revived(self, service: str) -> bool:
        """Start this service of systemd if it has failed. One that somebody stopped is left alone."""
        if not service:
            return False
        ran = await self._plugin.run_as_root(self._server.name, "sh", "-c", _REVIVE, "revive", service)
        return ran.exit_status == 0

    async def read(self) -> Ran:
        """The file; nothing when there is none."""
        return await self.run("sh", "-c", _READ, "read", self._file)

    async def text(self, file: str = "") -> str:
        """The file, or one that it includes, to the last byte. Raises PluginError when that is not to be had."""
        ran = await self.run("cat", "--", file or self._file)
        if ran.exit_status != 0:
            raise PluginError(f"{file or self._file} cannot be read: {last_words(ran)}")
        if ran.cut or _REPLACED in ran.stdout:
            raise PluginError(f"{file or self._file} is too large, or not UTF-8")
        return ran.stdout

    async def expanded(self, text: str, depth: int = 0) -> str:
        """The text with what it includes in the place of each %include. Raises PluginError when that is not to be had."""
        lines = []
        for line in text.split("\n"):
            file = included(line)
            if file and (not file.startswith("/") or depth == _MOST_INCLUDES):
                raise PluginError(f"{file} is included, and it cannot be told what stands in it: give its full path")
            lines.append(await self.expanded(await self.text(file), depth + 1) if file else line)
        return "\n".join(lines)

    async def tried(self, content: str, program: str, logfile: str) -> "Trial":
        """Let the host's own pgbouncer read this as its file, without starting. What it took a while ago is not tried again."""
        remembered = f"what the pgbouncer of {self._server.name} takes"
        asked, now_s = (content, program, logfile), self._plugin.call.world.clock.monotonic()
        taken = self._plugin.memory.setdefault(remembered, {})
        for old in [one for one, (read_s, _) in taken.items() if now_s - read_s > _still_read_s(one[0])]:
            del taken[old]
        read_s, well_s = taken.get(asked, (None, -math.inf))
        if now_s - well_s <= _STILL_TAKEN_S:
            return Trial()
        trial = await (self._trial(*asked) if read_s is None else self._log(logfile))
        if trial == Trial():
            taken[asked] = (now_s if read_s is None else read_s, now_s)
        return trial

    async def _log(self, logfile: str) -> "Trial":
        ran = await self.run("sh", "-c", _LOG, "log", logfile)
        if ran.exit_status != 0:
            return Trial(not_tried=f"whether {logfile} can be written is not known: {last_words(ran)}")
        return Trial(can_log=not ran.stdout.startswith(_NO_LOG))

    async def _trial(self, content: str, program: str, logfile: str) -> "Trial":
        ran = await self.run("sh", "-c", _TRY, "try", program, _NOBODY, logfile, stdin=(content + _QUIET).encode())
        if ran.stdout.startswith(_NO_LOG):
            return Trial(can_log=False)
        said = [match[1] for line in ran.stdout.splitlines() if (match := _LOG_LINE.fullmatch(line))]
        if _REFUSED in ran.stdout:
            return Trial(refused=_WHERE.sub(r", line \1", (said or [_REFUSED])[0])[:300])
        return Trial() if _TAKEN in ran.stdout else Trial(not_tried=f"{program} could not try it: {last_words(ran)}")

    async def can_put(self) -> Ran:
        """Exit status 0 when put() could work."""
        argv = ("test", "-w", str(PurePosixPath(self._file).parent))

        async def by(account: RunAs) -> Ran:
            if account is self._account():
                return await self.run(*argv)
            return await self._plugin.run_as_root(self._server.name, *argv)

        return await self._by_whoever_can(by)

    async def addresses(self) -> frozenset[str]:
        """From where other hosts may see it."""
        ran = await self.run("hostname", "-I")
        named = {self._server.hostname, self._server.client_address}
        return frozenset(named | set(ran.stdout.split() if ran.exit_status == 0 else ()))

    async def run(self, *argv: str, stdin: bytes = b"") -> Ran:
        """Run a program as the account that runs pgbouncer."""
        account = self._account()
        if account is RunAs.POSTGRES:
            return await self._plugin.run_as_postgres(self._server.name, *argv, stdin=stdin)
        if account is RunAs.LOGIN:
            return await self._plugin.run_as_login(self._server.name, *argv, stdin=stdin)
        as_owner = ("runuser", "-u", self._owner, "--", *argv)
        return await self._plugin.run_as_root(self._server.name, *as_owner, stdin=stdin)

    def _account(self) -> RunAs:
        if self._owner == self._server.postgres_os_user:
            return RunAs.POSTGRES
        return RunAs.LOGIN if self._server.control == "ssh" and self._owner == self._server.ssh_user else RunAs.ROOT


def _still_read_s(content: str) -> float:
    """What a file includes may be changed by others."""
    return _STILL_TAKEN_S if any(included(line) for line in content.split("\n")) else _STILL_READ_S


def is_ours(content: str) -> bool:
    """Whether HandyRep wrote this pgbouncer.ini, or nobody wrote anything."""
    return not content.strip() or f"\n{MARK} = " in content
