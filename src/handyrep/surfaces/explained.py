"""The answers of explain and verdicts for people: the sentence first, then who saw what, the rules, the steps with their times."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from handyrep.model.result import RD
from handyrep.model.verdict import Move
from handyrep.surfaces.printable import printable

_ANSWERS = {
    "up": "up",
    "alive": "alive",
    "host_answers": "host",
    "running": "runs",
    "writable": "writes",
    "stalled": "hangs",
    "sees_master": "sees master",
}
_NUMBERS = ("id", "times", "after", "took", "timeline", "position")


def show(console: Console, rd: RD) -> None:
    """A verdict with its evidence, or a failover with its timeline and the verdict that began it."""
    verdict, run = rd.get("verdict"), rd.get("last_run")
    of_run = rd.get("about") == "failover"
    if run is not None and of_run:
        _say(console, *_run(run))
        console.print(_steps(run["steps"]))
    if verdict is not None:
        _verdict(console, verdict, () if of_run else _rules(verdict))
    if run is not None and not of_run:
        _say(console, f"The last {run['kind']} was {run['epoch']} ({run['how']}): handyrep explain failover")
    _say(console, *(f"WAL that no other server had: {own}" for own in rd.get("diverged", ())))
    if verdict is not None and not of_run:
        _say(console, f"What you can do: {verdict['remedy']}")
    if verdict is None or rd["details"] != verdict["sentence"]:
        _say(console, f"{rd['result']}: {rd['details']}")


def listed(console: Console, rd: RD) -> None:
    """The verdicts, one a line."""
    if not rd.get("verdicts"):
        _say(console, f"{rd['result']}: {rd['details']}")
        return
    table = _table("id", "first", "last", "times", "rule", "move", "sentence")
    for one in rd["verdicts"]:
        cells = (one["id"], _clock(one["at"]), _clock(one["last_at"]), one["times"], one["rule"], one["move"])
        table.add_row(*map(str, cells), Text(printable(one["sentence"])))
    console.print(table)


def _verdict(console: Console, verdict: dict[str, Any], rules: Iterable[str]) -> None:
    _say(console, *_heading(verdict))
    if "evidence" not in verdict:
        _say(console, *(f"  {reason}" for reason in verdict["because"]))
        return
    console.print(_evidence(verdict["evidence"]))
    _say(console, *_inputs(verdict), *rules)


def _heading(verdict: dict[str, Any]) -> Iterator[str]:
    if "id" in verdict:
        again = f", {verdict['times']} times until {_clock(verdict['last_at'])}" if verdict["times"] > 1 else ""
        yield f"verdict {verdict['id']} of {_clock(verdict['at'])}{again}"
    yield f"{verdict['rule']} ({verdict['move']}): {verdict['sentence']}"
    if "unreadable" in verdict:
        yield f"  its evidence cannot be judged again: {verdict['unreadable']}"
    if verdict.get("differs"):
        yield f"  by the rules of today: {verdict['differs']}"


def _evidence(evidence: dict[str, Any]) -> Table:
    table = _table("server", *_ANSWERS.values(), "is", "timeline", "position", "said")
    for name, seen in evidence.items():
        answers = (_answer(seen[answer]) for answer in _ANSWERS)
        table.add_row(Text(name), *answers, *_facts(seen["facts"]), Text(printable("; ".join(seen["notes"]))))
    return table


def _answer(value: str) -> str:
    return "-" if value == "unknown" else value


def _facts(facts: dict[str, Any] | None) -> tuple[str, str, str]:
    if facts is None:
        return "-", "-", "-"
    return "replica" if facts["in_recovery"] else "master", str(facts["timeline"]), str(facts["received_lsn"])


def _inputs(verdict: dict[str, Any]) -> Iterator[str]:
    choice = verdict["choice"]
    for proof in verdict["proofs"]:
        yield f"fence {proof['fence']}: {proof['possible']} ({proof['said']})"
    if choice["candidate"] is not None:
        yield f"candidate: {choice['candidate']}"
    for excluded in choice["excluded"]:
        yield f"may not take over: {excluded['name']}: {excluded['reason']}"


def _rules(verdict: dict[str, Any]) -> Iterator[str]:
    """Told only where they are about this verdict: the rules of today may have come to another one, or its inputs are not known."""
    if verdict.get("differs", "unknown"):
        return
    if verdict["passed_over"]:
        yield "Rules before it, and why they did not hold:"
    for rule in verdict["passed_over"]:
        yield f"  {rule['rule']}: {rule['why']}"
    following = verdict["next"]
    if following is not None:
        # The sentence of one that proceeds would name a proof or a candidate that there was not.
        sentence = "" if following["move"] == Move.PROCEED.value else f": {following['sentence']}"
        yield f"Were it not for {verdict['rule']}: {following['rule']} ({following['move']}){sentence}"


def _run(run: dict[str, Any]) -> Iterator[str]:
    yield f"{run['kind']} {run['epoch']} ({run['how']}): {run['reason']}"
    if run["suspected_at"] is not None:
        yield f"  {_clock(run['suspected_at'])}  first suspected: times are counted from here"
        yield f"  {_clock(run['began_at'])}  decided, {run['suspected_for_s'] * 1000:.1f} ms later"
    else:
        yield f"  {_clock(run['began_at'])}  begun: times are counted from here"


def _steps(steps: list[dict[str, Any]]) -> Table:
    table = _table("after", "took", "", "step", "")
    for step in steps:
        after = "-" if step["after_s"] is None else f"{step['after_s'] * 1000:.1f} ms"
        told = (step["outcome"], Text(step["step"]), Text(printable(step["details"])))
        table.add_row(after, f"{step['took_s'] * 1000:.1f} ms", *told)
    return table


def _table(*heads: str) -> Table:
    """Texts stand in the last column, and only that is broken into lines."""
    table = Table(box=None, pad_edge=False)
    for head in heads[:-1]:
        table.add_column(head, justify="right" if head in _NUMBERS else "left", no_wrap=True)
    table.add_column(heads[-1])
    return table


def _clock(at: str) -> str:
    """The date in UTC, with milliseconds, as the log has it."""
    return dt.datetime.fromisoformat(at).isoformat(" ", "milliseconds").partition("+")[0]


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(Text(printable(sentence)))
