"""Writes docs/configuration.md: a table for each section of handyrep.conf, made from the directives themselves.

Run as `python -m handyrep.config.reference`. Owns nothing: what it says comes from the directives.
"""

import dataclasses
import sys
from collections.abc import Iterable

from handyrep.config.legacy import GONE, NEVER_THERE, RENAMED
from handyrep.config.profiles import PROFILES, TIMINGS
from handyrep.config.sample import default_text
from handyrep.config.settings import SECTIONS, ExtraCommand
from handyrep.directives import directives_of, interval_text
from handyrep.model.server import Server, ServerDefaults

_INTRODUCTION = """\
# handyrep.conf

Everything that may stand in `handyrep.conf`. [examples/handyrep.conf](../examples/handyrep.conf) is a sample to start from.

- `handyrep config check FILE` names every mistake at once, with its line and what would be right. Nothing starts with a mistake in it.
- `handyrep config show FILE` tells every effective value and where it came from. Passwords are never shown.

`[section]`, `[[subsection]]` and `key = value`, in UTF-8. A line that begins with `#` is a comment. A value that contains a comma or
a `#` needs quotes; lists are separated by commas. **A blank value means the default**; `key = ,` is an empty list. Times take decimals
and units: `0.5`, `200 ms`, `2 s`, `1 minute`, `3 hours`, `1 day`. An unknown section or key is an error; so is a key that stands twice.

Each password is the word itself, `env:NAME` (an environment variable) or `file:/path` (a file of one line).
"""

_PROFILES = """\
## Profiles

`profile` in `[handyrep]` sets four directives of `[failover]`; each that is set there wins over the profile. For settings of your
own: an interruption shorter than `fail_retries` times `fail_retry_interval` never causes a failover; add `poll_interval` for the time
within which a lost master is suspected, and (`fail_retries` + 1) times `call_timeout` more when it does not answer at all.
"""

_LEGACY = """\
## A handyrep.conf of 2014

It loads. Each directive that has another name today, or means nothing any more, is told as a warning.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for name in ("handyrep", "passwords", "failover"):
        parts.append(_section(f"[{name}]", SECTIONS[name], SECTIONS[name].__doc__ or ""))
        if name == "failover":
            parts.append(_profiles())
    parts.append(_section("[extra_failover_commands] [[name]]", ExtraCommand, ExtraCommand.__doc__ or ""))
    parts.append(_section("[archive]", SECTIONS["archive"], SECTIONS["archive"].__doc__ or ""))
    parts.append(
        _section("[server_defaults]", ServerDefaults, "What holds for every server that does not say otherwise.")
    )
    parts.append(_section("[servers] [[name]]", Server, _SERVER, without=directives_of(ServerDefaults)))
    parts.append("## [plugins] [[name]]\n\nOptions of the plugin of that name: see [plugins.md](plugins.md).\n")
    parts.append(_legacy())
    return "\n".join(parts)


_SERVER = (
    "The name is that of the server, and the application_name of its replication. Any directive of [server_defaults] may be set "
    "here too. `hostname` is required, and `pgdata` (here or in [server_defaults]) for master and replicas."
)


def _section(heading: str, declared: type, text: str, without: Iterable[str] = ()) -> str:
    rows = [
        (f"`{key}`", _code(default_text(directive)), directive.help)
        for key, directive in directives_of(declared).items()
        if key not in without
    ]
    return f"## {heading}\n\n{' '.join(text.split())}\n\n{_table(('directive', 'default', 'what it is'), rows)}"


def _profiles() -> str:
    head = ("profile", *(f"`{name}`" for name in TIMINGS), "what it promises")
    rows = []
    for name, timings in PROFILES.items():
        values = dataclasses.asdict(timings)
        shown = (str(value) if isinstance(value, int) else interval_text(value) for value in values.values())
        rows.append((f"`{name}`", *shown, timings.sentence))
    return f"{_PROFILES}\n{_table(head, rows)}"


def _legacy() -> str:
    renamed = [(_at(old), f"is `{new[1]}` in `[{new[0]}]`") for old, new in RENAMED.items()]
    gone = [(_at(old), f"ignored: {why}") for old, why in GONE.items()]
    plugins = [
        (f"`{old}` as the name of a plugin", f"never existed; `{new}` is used") for old, new in NEVER_THERE.items()
    ]
    return f"{_LEGACY}\n{_table(('in 2014', 'today'), [*renamed, *gone, *plugins])}"


def _at(directive: tuple[str, str]) -> str:
    return f"`[{directive[0]}] {directive[1]}`"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(reference())
