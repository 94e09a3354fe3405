"""The master socket of one HAProxy: its workers, what their servers get, and the sessions that are left.

Old workers are those that a reload left behind with the sessions they had. Raises PluginError (it said no, or what nobody understands),
and NoAnswerError like the helper that it uses.
"""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handyrep.errors import NoAnswerError, PluginError
from handyrep.plugins._bouncer_config import Place
from handyrep.plugins._haproxy_config import Plan, State
from handyrep.plugins.handyrepplugin import last_words

if TYPE_CHECKING:
    from handyrep.plugins._bouncer_host import BouncerHost

_NEXT = "--handyrep-asks-next--"
_TALK = """
command -v socat >/dev/null || { echo 'socat is not installed' >&2; exit 3; }
while IFS= read -r line; do
    printf '%s\\n' "$line" | socat -t 10 - "UNIX-CONNECT:$1,retry=10,interval=0.05" || exit 4
    printf '\\n%s\\n' "$2"
done
"""
"""While it reloads, HAProxy's master refuses connections for a moment."""
_NO_SOCKET = 4
_IN_A_LINE = 50
"""So many orders of at most 160 bytes fit into HAProxy's buffer."""
_PATH = re.compile(r"/[A-Za-z0-9_./\-]+")
_SESSION = re.compile(r"(0x[0-9a-f]+): .*? be=(\S+) srv=(\S+) ")
_WORKER = re.compile(r"(\d+)\s+worker\s")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A server in the worker that takes connections. `status` in HAProxy's words; `sessions`: how many it has."""

    place: Place
    status: str
    sessions: int

    @property
    def state(self) -> State:
        """What it gets, whether or not it answers."""
        return {"MAINT": State.MAINT, "DRAIN": State.DRAIN}.get(self.status.partition(" ")[0], State.READY)


class MasterSocket:
    """Each method is one or two commands on the host."""

    def __init__(self, host: "BouncerHost", socket: str) -> None:
        self._host = host
        self._socket = socket

    async def servers(self) -> dict[tuple[str, str], Found]:
        """Those of the worker that takes connections, by section and name."""
        states, stats = await self._ask(("@1 show servers state", "@1 show stat -1 4 -1"))
        places = _places(states)
        if not stats.startswith("# pxname,"):
            raise PluginError(f"HAProxy's statistics are not understood: {stats[:80]!r}")
        rows = csv.DictReader(io.StringIO(stats.removeprefix("# ")))
        return {
            (row["pxname"], row["svname"]): Found(
                places[row["pxname"], row["svname"]], row["status"], int(row["scur"] or 0)
            )
            for row in rows
            if (row["pxname"], row["svname"]) in places
        }

    async def order(self, slots: Plan) -> None:
        """Let these servers, which it must know, get what their slots say. Sessions at those that nobody may be at end."""
        commands = []
        for slot in slots.values():
            name = f"{slot.section}/{slot.name}"
            commands.append(f"@1 set server {name} state {slot.state}")
            if slot.state is State.MAINT:
                commands.append(f"@1 shutdown sessions server {name}")
        lines = ["; ".join(commands[at : at + _IN_A_LINE]) for at in range(0, len(commands), _IN_A_LINE)]
        said = [answer for answer in await self._ask(lines) if answer.strip()]
        if said:
            raise PluginError(f"HAProxy said: {said[0].strip()[:200]}")

    async def astray_in_old_workers(self, plan: Plan) -> dict[str, list[str]]:
        """By the process of each old worker, its sessions at servers where the plan lets nobody stay."""
        found: dict[str, list[str]] = {}
        for pid in _old_workers((await self._ask(("show proc",)))[0]):
            states, sessions = await self._ask((f"@!{pid} show servers state", f"@!{pid} show sess"))
            places = _places(states) if states.startswith("1\n") else {}
            sections = {section for section, _ in plan}
            for session, section, name in _SESSION.findall(sessions):
                slot = plan.get((section, name))
                stays = slot is not None and slot.state is not State.MAINT and places.get(slot.key) == slot.place
                if section in sections and name != "<none>" and not stays:
                    found.setdefault(pid, []).append(session)
        return found

    async def end(self, sessions: dict[str, list[str]]) -> None:
        """End these sessions of old workers."""
        await self._ask([f"@!{pid} shutdown session {one}" for pid, each in sessions.items() for one in each])

    async def worker(self) -> str:
        """The process that takes connections; '' while there is none. Another one after a reload that came to its end."""
        now = (await self._ask(("show proc",)))[0].partition("# workers")[2]
        return "".join(_WORKER.findall(now.partition("\n# ")[0])[:1])

    async def reload(self) -> None:
        """Let it read its file again, in a new worker. Whether it did: look at worker()."""
        await self._ask(("reload",))

    async def _ask(self, commands: Sequence[str]) -> list[str]:
        """One answer for each command."""
        if not commands:
            return []
        if not _PATH.fullmatch(self._socket):
            raise PluginError(f"{self._socket!r} cannot be told to socat: letters, digits, '_', '.', '-' and '/'")
        stdin = "".join(f"{command}\n" for command in commands).encode()
        ran = await self._host.run("sh", "-c", _TALK, "talk", self._socket, _NEXT, stdin=stdin)
        if ran.exit_status == _NO_SOCKET:
            raise NoAnswerError(f"HAProxy does not answer at {self._socket}: {last_words(ran)}")
        answers = ran.stdout.split(f"\n{_NEXT}\n")
        if ran.exit_status != 0 or ran.cut or len(answers) != len(commands) + 1:
            raise PluginError(f"HAProxy cannot be asked: {last_words(ran)}")
        return [answer.strip("\n") for answer in answers[:-1]]


def _places(states: str) -> dict[tuple[str, str], Place]:
    """From 'show servers state': its first line is a version, its second the columns."""
    lines = states.splitlines()
    if not lines or lines[0] != "1" or not lines[1:] or not lines[1].startswith("# "):
        raise PluginError(f"HAProxy's list of servers is not understood: {states[:80]!r}")
    columns = lines[1].removeprefix("# ").split()
    rows = (dict(zip(columns, line.split(), strict=False)) for line in lines[2:] if line)
    return {(row["be_name"], row["srv_name"]): _place(row) for row in rows}


def _place(row: dict[str, str]) -> Place:
    name = row.get("srv_fqdn", "-")
    return (row["srv_addr"] if name == "-" else name), int(row["srv_port"])


def _old_workers(processes: str) -> list[str]:
    _, _, old = processes.partition("# old workers")
    return _WORKER.findall(old.partition("# programs")[0])
