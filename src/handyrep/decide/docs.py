"""The page of safety, made from the tables that decide: what is printed is what is done."""

from collections.abc import Iterable

from handyrep.decide.failover import RULES
from handyrep.decide.progress import Question
from handyrep.decide.stages import ADOPTION, FAILOVER, SWITCHOVER, UNDO, Stage

_HEAD = """\
# When HandyRep fails over, and when it does nothing

Made by `make docs` from the tables in `src/handyrep/decide/`. Do not edit it by hand.

At three in the morning:

```
handyrep status                          # one glance
handyrep explain                         # why it did something, or did not
handyrep what-if "m1 host dies"          # what would happen; nothing is changed
handyrep manual-failover                 # change the master: a switchover while it lives, else a failover with a proof
handyrep confirmed-failover CLUSTER WHY  # the old master is off, you made sure yourself, and no fence can prove it
```

HandyRep needs two proofs before it promotes. **The old master can acknowledge no commit any more**: a fence gives that proof, in this very
failover. **Nothing acknowledged is lost**: enough synchronous replicas were read, or the end of the old master's WAL was read on its
own disk. "No answer" proves neither. Without a proof HandyRep does nothing, and says which one was missing.

## Which faults need which fence

| the master | `fence_stop` (SSH) | `fence_command` (power switch) | `fence_starve` (the replicas) | `fence_lease` (its own host) | `confirmed-failover` (you) |
|---|---|---|---|---|---|
| PostgreSQL crashed, stopped or hangs, its host answers | proves it | proves it | not needed | not needed | not needed |
| its host is off, or cut off from everybody | proves nothing: refused | proves it | proves it where commits wait for replicas by name | proves it after its time, if every replica answers | works, on your word |
| it lets clients in and ends no commit: its storage hangs | proves nothing while it hangs, and does nothing: not even SIGKILL ends a process that waits for it | proves it | not used: the master still answers | not used | refused until it is off: turn it off first |
| only HandyRep does not reach it | nothing is done: the replicas still see it | nothing is done | nothing is done | nothing is done | refused: it is not off |

With the host off, an asynchronous cluster cannot tell what is lost: only `confirmed-failover --accept-loss` goes on. A strictly
synchronous one (`ANY k (names)` or `FIRST k (names)` with more replicas read than may be without a commit) loses nothing.

What is not promised: commits that did not wait (`synchronous_commit` below `on`), and what a client read from a master that was cut off.
"""


def page() -> str:
    """docs/safety.md."""
    sections = (
        _HEAD,
        _table("The rules", "The first row that holds gives the verdict.", ("rule", "verdict", "sentence"), _rules()),
        _stages("A failover, step by step", "Each step is written down before it is done and after.", FAILOVER),
        _stages("A switchover, step by step", "The master lives; it is stopped only once a replica is ready.", SWITCHOVER),
        _stages("An adoption, step by step", "A person promoted a replica by hand, and says so (handyrep adopt).", ADOPTION),
        _stages("Taking it back", "Until the promote is sent, a failover that cannot go on is undone. After it, never.", UNDO),
        _questions(),
    )  # fmt: skip
    return "\n".join(sections)


def _rules() -> Iterable[tuple[str, ...]]:
    return ((rule.id, rule.move.value, rule.sentence.replace("{", "*").replace("}", "*")) for rule in RULES)


def _stages(title: str, text: str, plan: tuple[Stage, ...]) -> str:
    rows = ((s.id, _shown(s), s.fail.value, s.uncertain.value) for s in plan)
    return _table(title, text, ("step", "what is done", "when it fails", "when no answer comes"), rows)


def _shown(stage: Stage) -> str:
    return stage.sentence.format(subject="*subject*", old="the old master", new="the new master")


def _questions() -> str:
    listed = "\n".join(f"- {question.value}" for question in Question)
    return f"## What it may ask\n\nIn the middle of a failover HandyRep asks nothing else than this. `handyrep answer` answers.\n\n{listed}\n"


def _table(title: str, text: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    return f"## {title}\n\n{text}\n\n" + "\n".join(lines) + "\n"
