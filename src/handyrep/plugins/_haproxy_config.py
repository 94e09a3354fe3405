"""What stands in a haproxy.cfg: which servers each section has and which of them get clients, rendered and read back before anybody gets it.

Pure. What HAProxy's own rules cannot carry, or what could lead clients past the plan, is refused, never mangled.
"""

import dataclasses
import enum
import re
import shlex
from collections.abc import Iterator, Mapping

from handyrep.errors import PluginError
from handyrep.plugins._bouncer_config import Place
from handyrep.plugins._templates import rendered

MARK = "# Written by HandyRep "
"""Begins a line of every file that HandyRep's own template gives."""
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,63}")
_HOST = re.compile(r"[A-Za-z0-9_.:%\-]+")
_SECTIONS = frozenset(
    [
        "global",
        "defaults",
        "listen",
        "frontend",
        "backend",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "program",
        "cache",
        "http-errors",
        "ring",
        "log-forward",
        "fcgi-app",
    ]
)
_PAST_THE_PLAN = frozenset(
    {"server-template", "dispatch", "use-server", "use_backend", "default_backend", "http_proxy"}
)
"""In a section of ours: by these a client may get to another server than those that the plan names."""
_OF_OLD = ("server-state-file", "load-server-state-from-file", "server-state-base")


class State(enum.StrEnum):
    """What a server of a section gets. The values are HAProxy's words."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A server in a section. DRAIN: those that are there may stay; MAINT: nobody may."""

    section: str
    name: str
    place: Place
    state: State

    @property
    def key(self) -> tuple[str, str]:
        """By which it is found."""
        return self.section, self.name

    @property
    def line(self) -> str:
        """As it stands in haproxy.cfg: after a restart nobody is there who might stay."""
        host, port = self.place
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"server {self.name} {address}" + ("" if self.state is State.READY else " disabled")


Plan = Mapping[tuple[str, str], Slot]


def plan_of(slots: Iterator[Slot]) -> Plan:
    """Raises PluginError for a name or host that HAProxy cannot have."""
    plan: dict[tuple[str, str], Slot] = {}
    for slot in slots:
        if not (_NAME.fullmatch(slot.name) and _NAME.fullmatch(slot.section)):
            raise PluginError(
                f"{slot.section!r} or {slot.name!r} cannot be a name in HAProxy: letters, digits, '_', '-', '.'"
            )
        if not _HOST.fullmatch(slot.place[0]):
            raise PluginError(f"{slot.place[0]!r} cannot be the host of {slot.name} in HAProxy")
        plan[slot.key] = slot
    return plan


def nobody(plan: Plan) -> Plan:
    """The same servers, and none of them gets a client."""
    return {key: dataclasses.replace(slot, state=State.MAINT) for key, slot in plan.items()}


def render(template: str, plan: Plan, values: Mapping[str, object], ours: frozenset[Place], extra: str = "") -> str:
    """The file. `ours` are the places of the cluster's servers: only the plan may lead there. `extra` ends the line of each server.

    `values` names the sections: master_section and readers_section. Raises PluginError when what came out would not do as planned.
    """
    lines = {
        f"{of}_servers": [f"{slot.line} {extra}".strip() for slot in plan.values() if slot.section == values[section]]
        for of, section in (("master", "master_section"), ("reader", "readers_section"))
    }
    text = rendered(template, {**values, **lines})
    _refuse_other_ways(text, plan, ours)
    return text.rstrip("\n") + "\n"


def servers_of(text: str, section: str) -> dict[str, bool]:
    """Of each server that a section of this file has: whether it gets clients. Raises PluginError."""
    lines = (words for _, of, words in _lines(text) if of == section and words[0] == "server")
    return {words[1]: "disabled" not in words[2:] for words in lines if len(words) > 1}


def _refuse_other_ways(text: str, plan: Plan, ours: frozenset[Place]) -> None:
    sections = {section for section, _ in plan}
    found: dict[tuple[str, str], list[str]] = {}
    for number, section, words in _lines(text):
        if words[0] in _OF_OLD:
            raise PluginError(f"line {number} lets HAProxy remember who got clients before: leave {words[0]} out")
        if section in sections and (
            words[0] in _PAST_THE_PLAN or ("disabled" in words[1:] and words[0] == "default-server")
        ):
            raise PluginError(f"line {number} could lead clients of {section} past the plan: leave {words[0]} out")
        if words[0] != "server" or len(words) < 3:
            continue
        if "$" in words[2]:
            raise PluginError(f"line {number}: where {words[2]} leads cannot be told here: write it out")
        if section in sections and (section, words[1]) not in found:
            found[section, words[1]] = words[2:]
        elif section in sections or _place(words[2]) in ours:
            raise PluginError(
                f"line {number} leads to {words[2]}, in {section}, and would still do so after a failover"
            )
    wrong = sorted(f"{name} in {section}" for section, name in plan.keys() ^ found.keys())
    wrong += [
        f"{slot.name} in {slot.section}"
        for key, slot in plan.items()
        if key in found and not _as_planned(slot, found[key])
    ]
    if wrong:
        raise PluginError(f"what the template gives is not as planned for {', '.join(wrong)}")


def _as_planned(slot: Slot, words: list[str]) -> bool:
    return _place(words[0]) == slot.place and ("disabled" in words[1:]) == (slot.state is not State.READY)


def _place(address: str) -> Place:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def _lines(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """(line number, section, words) of every line. Raises PluginError for what HandyRep does not understand as HAProxy does."""
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise PluginError(f"line {number} of haproxy.cfg is not understood: {error}") from None
        if not words:
            continue
        if words[0].startswith("."):
            raise PluginError(
                f"line {number}: {words[0]} lets a part of haproxy.cfg count or not: leave it to the template"
            )
        if words[0] in _SECTIONS:
            section = words[1] if len(words) > 1 else words[0]
        yield number, section, words
