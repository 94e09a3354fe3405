"""Writes examples/handyrep.conf: every directive with its help and default, ready to be uncommented.

Run as `python -m handyrep.config.sample`. Owns nothing: what it says comes from the directives.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from handyrep.config.profiles import PROFILES
from handyrep.config.settings import SECTIONS, ExtraCommand
from handyrep.directives import Directive, directives_of
from handyrep.model.server import Server, ServerDefaults

_HEADER = """\
# handyrep.conf: a sample with every directive.
#
# A line that begins with # is a comment; what is commented out shows the default. A blank value means the default too.
# A value with a comma or a # in it needs quotes. Times take decimals and units: 0.5, 200 ms, 2 s, 1 minute, 3 hours, 1 day.
# `handyrep config check` names every mistake in this file; `handyrep config show` tells what it comes to.
"""

_SET: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "handyrep": {"cluster_name": "example"},
        "passwords": {"handyrep_db_pass": "", "superuser_pass": "", "replication_pass": ""},
        "failover": {"auto_failover": "False"},
        "archive": {},
        "server_defaults": {"pgdata": "/var/lib/postgresql/15/main", "pgconf": "/etc/postgresql/15/main"},
    }
)
"""What the sample sets itself; everything else is commented out."""

_INTRODUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "passwords": "Each is the password itself (then chmod 600 this file), or better env:NAME or file:/path. Blank: libpq's "
        "passfile, or none.",
        "server_defaults": "What holds for every server that does not say otherwise in its own section.",
    }
)

_SERVERS = """\
# Each server is a [[subsection]], whose name becomes the application_name of its replication. It may set any directive of
# [server_defaults], and:
{directives}
[servers]

    [[db1]]
        hostname = db1.example.com
        role = master
        failover_priority = 1

    [[db2]]
        hostname = db2.example.com
        role = replica
        failover_priority = 2

    # [[bouncer1]]
    #     hostname = bouncer1.example.com
    #     role = pgbouncer
    #     port = 6432
"""

_EXTRA = """\
# Plugins to run after a failover. Their results are reported; their failure never undoes the failover.
{directives}
[extra_failover_commands]

    # [[tell_the_application]]
    #     command = name_of_a_plugin
    #     parameters = first, "second, with a comma"
"""

_PLUGINS = """\
# Options of plugins: each [[subsection]] carries the plugin's name. `handyrep plugin list` names the plugins, docs/plugins.md
# their options.
[plugins]

    # [[poll_isready]]
    #     isready_path = /usr/bin/pg_isready
"""


def sample() -> str:
    """The whole sample file."""
    return "\n".join(
        (
            _HEADER,
            *(_section(name) for name in ("handyrep", "passwords", "failover")),
            _EXTRA.format(directives=_listed(ExtraCommand, ())),
            *(_section(name) for name in ("archive", "server_defaults")),
            _SERVERS.format(directives=_listed(Server, directives_of(ServerDefaults))),
            _PLUGINS,
        )
    )


def _section(name: str) -> str:
    lines = [*_comment(_INTRODUCTIONS.get(name, SECTIONS[name].__doc__ or "")), f"[{name}]"]
    for key, directive in directives_of(SECTIONS[name]).items():
        lines += ["", *_comment(directive.help), *_promises(key), _setting(name, key, directive)]
    return "\n".join(lines) + "\n"


def _promises(key: str) -> list[str]:
    """What each profile means, beside the directive that names one."""
    if key != "profile":
        return []
    return [line for name, timings in PROFILES.items() for line in _comment(f"{name}: {timings.sentence}", "    ")]


def _setting(section: str, key: str, directive: Directive[Any]) -> str:
    if key in _SET[section]:
        return f"{key} = {_SET[section][key]}".rstrip()
    return f"# {key} = {default_text(directive)}".rstrip()


def default_text(directive: Directive[Any]) -> str:
    """The default as it would be written in handyrep.conf; '' for a blank one."""
    return "" if directive.default is None else directive.type.show(directive.default)


def _listed(declared: type, known: Iterable[str]) -> str:
    own = {key: directive for key, directive in directives_of(declared).items() if key not in known}
    return "\n".join(
        line
        for key, directive in own.items()
        for line in _comment(f"{key}: {directive.help}" + _in_brackets(directive), "    ")
    )


def _in_brackets(directive: Directive[Any]) -> str:
    default = default_text(directive)
    return f" [{default}]" if default else ""


def _comment(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        120,
        initial_indent=f"# {indent}",
        subsequent_indent=f"# {indent}",
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.stdout.write(sample())
