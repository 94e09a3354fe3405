"""How a running HAProxy is brought to lead as planned, what speaks against it before, and the look whether it does.

Raises NoAnswerError and PluginError like the helpers that it uses, except where it says so: then where it leads is not known.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from handyrep.errors import NoAnswerError, PluginError
from handyrep.model.result import Result, fail, success
from handyrep.plugins._at_once import both
from handyrep.plugins._haproxy_config import MARK, Plan, Slot, State
from handyrep.plugins._haproxy_console import Found, MasterSocket
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Clock, Ran

if TYPE_CHECKING:
    from handyrep.plugins._bouncer_host import BouncerHost

_SETTLES_S, _LOOK_EVERY_S = 4.0, 0.05
"""A new worker takes a moment to answer, and a session that waits for a dead server some seconds to end."""
_TRY = """
set -eu
umask 077
command -v -- "$1" >/dev/null || { echo "$1 is not there" >&2; exit 1; }
file=$(mktemp)
trap 'rm -f "$file"' EXIT
cat > "$file"
"$1" -c -f "$file" >/dev/null
"""
Key = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """At one HAProxy. `file` is config_location, `program` its haproxy; `of_handyrep`: the template is, so only its own files are replaced."""

    host: "BouncerHost"
    socket: MasterSocket
    clock: Clock
    file: str
    program: str
    of_handyrep: bool

    async def objection(self, content: str, there: Ran) -> str:
        """Why this must not take the place of the file that is there, or ''. That HAProxy is silent is no reason."""
        if there.exit_status != 0:
            return f"{self.file} cannot be read: {last_words(there)}"
        tried, refusal = await both(
            self.host.run("sh", "-c", _TRY, "try", self.program, stdin=content.encode()), self._refusal()
        )
        if tried.exit_status != 0:
            return f"HAProxy does not take what the template gives: {_complaint(tried.stderr) or last_words(tried)}"
        if self.of_handyrep and there.stdout.strip() and MARK not in there.stdout:
            return (
                f"{self.file} was not written by HandyRep: put a template of your own, made from it, into templates_dir"
            )
        return refusal

    async def _refusal(self) -> str:
        """Why HAProxy, which answers, cannot be told anything."""
        with contextlib.suppress(NoAnswerError):
            try:
                await self.socket.servers()
            except PluginError as error:
                return error.what
        return ""

    async def take_effect(self, plan: Plan, *, anew: bool) -> Result:
        """Lead its clients as planned, and look. Nobody gets to a new place before all are gone from an old one.

        `anew`: the file tells more than who gets clients, so it is read again in any case.
        """
        found = await self.socket.servers()
        now = _of_what_runs(plan, found)
        await self.socket.order({key: slot for key, slot in now.items() if slot.state is not State.READY})
        await self.socket.end(await self.socket.astray_in_old_workers(plan))
        await self.socket.order({key: slot for key, slot in now.items() if slot.state is State.READY})
        former = ""
        if anew or not _knows_all(plan, found):
            former = await self.socket.worker()
            await self.socket.reload()
        wrong = await self._waited(plan, former)
        return fail(f"it does not do as its file says: {', '.join(wrong)}") if wrong else success()

    async def _waited(self, plan: Plan, former: str) -> list[str]:
        """What is still wrong after a while. `former`: the worker that is to be replaced; '' for none."""
        end_s = self.clock.monotonic() + _SETTLES_S
        wrong = ["it does not answer"]
        while True:
            with contextlib.suppress(NoAnswerError, PluginError):
                wrong = _wrong(plan, await self.socket.servers())
                if await self.socket.astray_in_old_workers(plan):
                    wrong.append("sessions of old workers stay")
                if former and await self.socket.worker() in ("", former):
                    wrong.append("it has not read its new file (its log tells why)")
            if not wrong or self.clock.monotonic() >= end_s:
                return wrong
            await self.clock.sleep(_LOOK_EVERY_S)


def not_as(plan: Plan, found: Mapping[Key, Found]) -> list[str]:
    """The servers that get new clients and should not, or should and do not."""
    extra = {key for key in found.keys() - plan.keys() if key[0] in {section for section, _ in plan}}
    wrong = {key for key, slot in plan.items() if key not in found or not _gets_as_planned(slot, found[key])}
    return sorted(f"{name} in {section}" for section, name in wrong | extra)


def differs(before: str, after: str) -> bool:
    """Whether two files tell HAProxy different things beside which servers get clients: those it is told while it runs."""
    return _rest(before) != _rest(after)


def _rest(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line.replace(" disabled", "") for line in lines if line and not line.startswith("#")]


def _gets_as_planned(slot: Slot, found: Found) -> bool:
    return found.place == slot.place and (found.state is State.READY) == (slot.state is State.READY)


def _wrong(plan: Plan, found: Mapping[Key, Found]) -> list[str]:
    """In sentences. Whether a server is up is HAProxy's own affair, and poll()'s."""
    told = not_as(plan, found)
    for key, slot in plan.items():
        one = found.get(key)
        if one is not None and slot.state is State.MAINT and one.sessions:
            told.append(f"{slot.name} in {slot.section} has {one.sessions} sessions")
    return told


def _of_what_runs(plan: Plan, found: Mapping[Key, Found]) -> Plan:
    """What the servers that it knows should get: nobody, where it knows them by another address or the plan has none."""
    sections = {section for section, _ in plan}
    now: dict[Key, Slot] = {}
    for key, one in found.items():
        if key in plan and plan[key].place == one.place:
            now[key] = plan[key]
        elif key[0] in sections:
            now[key] = Slot(*key, one.place, State.MAINT)
    return now


def _knows_all(plan: Plan, found: Mapping[Key, Found]) -> bool:
    sections = {section for section, _ in plan}
    known = {key: one.place for key, one in found.items() if key[0] in sections}
    return known == {key: slot.place for key, slot in plan.items()}


def _complaint(stderr: str) -> str:
    """The first line of HAProxy's complaints, without the name of the copy that it read."""
    lines = [line.partition(" : ")[2] or line for line in stderr.splitlines() if "[ALERT]" in line]
    return lines[0].partition("] : ")[2][:300] or lines[0][:300] if lines else ""
