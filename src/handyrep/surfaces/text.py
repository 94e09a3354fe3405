"""Answers for people: tables where there are servers, sentences elsewhere. Escapes whatever servers or names contain."""

import functools
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from handyrep.model.result import RD
from handyrep.surfaces import explained, traces
from handyrep.surfaces.printable import printable

_COLOURS = {
    "healthy": "green",
    "lagged": "yellow",
    "warning": "yellow",
    "unavailable": "red",
    "down": "red",
    "unknown": "dim",
}

_OF_ITS_OWN = {
    "explain": explained.show,
    "verdicts": explained.listed,
    "footprint": traces.show,
    "release": traces.show,
}


@functools.cache
def console() -> Console:
    """Standard output."""
    return Console(highlight=False, soft_wrap=True)


def progress(sentence: str) -> None:
    """One step, on standard error: standard output has the answer alone."""
    _aside().print(Text(printable(sentence), style="dim"))


@functools.cache
def _aside() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def show(name: str, rd: RD) -> None:
    """Print the answer of an operation."""
    if name in _OF_ITS_OWN:
        _OF_ITS_OWN[name](console(), rd)
        return
    if "cluster" in rd:
        _cluster(rd)
    elif "servers" in rd and isinstance(rd["servers"], dict):
        _servers(rd["servers"])
    elif name == "what_if":
        _what_if(rd)
    elif "lines" in rd:
        for line in rd["lines"]:
            _say(f"{line['at']}  {line['text']}")
    elif "plugins" in rd:
        for plugin in rd["plugins"]:
            _say(f"{plugin['result']:8} {plugin['plugin']} ({plugin['kind']}): {plugin['details']}")
        _protection(rd.get("protection"))
        _synchronous(rd.get("synchronous"))
    if "cluster" not in rd:
        _result(rd)


def _cluster(rd: RD) -> None:
    cluster = rd["cluster"]
    line = Text(f"{cluster['name']}: ", style="bold")
    line.append(cluster["status"], style=_COLOURS.get(cluster["status"], ""))
    line.append(f" - {printable(cluster['status_message'])}")
    console().print(line)
    _servers(rd["servers"])
    _protection(rd.get("protection"))
    _synchronous(rd.get("synchronous"))
    for name, rung in rd.get("returning", {}).items():
        _say(f"{name} {rung}")
    if rd.get("proxies_behind"):
        _say(f"the proxies may not all lead to the master: {rd['proxies_behind']}")
    if rd.get("under_way"):
        _say(f"under way: {rd['under_way']}")
    if rd.get("verdict"):
        _say(f"{rd['verdict']['rule']}: {rd['verdict']['sentence']}")
    if rd.get("given_up"):
        _given_up(**rd["given_up"])


def _given_up(times: int, at: str, text: str) -> None:
    """Stands below the verdict, which may say once more that it fails over."""
    count = "once" if times == 1 else f"{times} times"
    _say(f"tried {count} in vain since the master is not well, the last time at {at[:19].replace('T', ' ')}: {text}")
    _say("step by step: handyrep explain failover")


def _protection(measured: dict[str, Any] | None) -> None:
    if measured is None:
        return
    _say(f"protection {measured['sentence']}")
    for missing in measured["missing"]:
        _say(f"  missing: {missing}")
    if measured.get("uncovered"):
        _say(f"  not covered: {measured['uncovered']}")


def _synchronous(lists: dict[str, str] | None) -> None:
    if lists is None:
        return
    _say(f"commits wait for {lists['in_force'] or 'no replica'}")
    if lists["why"]:
        _say(f"  wanted: {lists['wanted'] or 'another list'}; {lists['why']}")


def _servers(servers: dict[str, Any]) -> None:
    table = Table("server", "role", "status", "lag", "since", "why", box=None, pad_edge=False)
    for name, server in servers.items():
        status = server["status"] if server["enabled"] else "disabled"
        lag = "" if server["lag"] is None else f"{server['lag']:g}"
        since = (server["status_ts"] or "")[:19].replace("T", " ")
        why = Text(printable(server["status_message"]))
        table.add_row(
            escape(name), escape(server["role"]), Text(status, style=_COLOURS.get(status, "dim")), lag, since, why
        )
    console().print(table)


def _what_if(rd: RD) -> None:
    if "event" not in rd:
        return
    _say(f"Supposed: {rd['event']}")
    for reason in rd["because"]:
        _say(f"  {reason}")
    for proof in rd["proofs"]:
        _say(f"  fence {proof['fence']}: {proof['possible']} ({proof['said']})")
    if rd.get("candidate"):
        _say(f"WAL that may be lost: {rd['lost_bytes']} bytes ({rd['data_proof']})")
    for slot in rd.get("lost_slots", ()):
        _say(slot)


def _result(rd: RD) -> None:
    plan = rd.get("plan", ())
    for number, line in enumerate(plan, 1):
        _say(f"  {number}. {line}")
    for warning in rd.get("warnings", ()) if plan else ():
        _say(f"  note: {warning}")
    if rd.get("details"):
        _say(f"{rd['result']}: {rd['details']}")


def _say(sentence: str) -> None:
    console().print(Text(printable(sentence)))
