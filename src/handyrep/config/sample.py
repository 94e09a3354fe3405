"""Writes examples/handyrep.conf: every directive with its help and default, ready to be uncommented.

Run as `python -m handyrep.config.sample`. Owns nothing: what it says comes from the directives.
"""

import sys
import textwrap
from collections.abc import Iterator

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

_SET = {
    "handyrep": {"cluster_name": "example"},
    "passwords": {"handyrep_db_pass": "", "superuser_pass": "", "replication_pass": ""},
    "failover": {"auto_failover": "False"},
    "archive": {},
    "server_defaults": {"pgdata": "/var/lib/postgresql/15/main", "pgconf": "/etc/postgresql/15/main"},
}
"""What the sample sets itself; everything else is commented out."""

_INTRODUCTIONS = {
    "passwords": "Better than a password: handyrep_db_pass = env:NAME or file:/path. Otherwise: chmod 600 this file.",
    "server_defaults": "What holds for every server that does not say otherwise in its own section.",
}

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
    parts = [_HEADER]
    for name in ("handyrep", "passwords", "failover"):
        parts.append(_section(name))
    parts.append(_EXTRA.format(directives=_listed(ExtraCommand, "")))
    parts.extend(_section(name) for name in ("archive", "server_defaults"))
    parts.append(_SERVERS.format(directives=_listed(Server, ServerDefaults)))
    parts.append(_PLUGINS)
    return "\n".join(parts)


def _section(name: str) -> str:
    lines = [*_comment(_INTRODUCTIONS.get(name, SECTIONS[name].__doc__ or "")), f"[{name}]"]
    if name == "handyrep":
        promises = [f"profile {profile}: {timings.sentence}" for profile, timings in PROFILES.items()]
        lines = [*(line for promise in promises for line in _comment(promise)), *lines]
    for key, directive in directives_of(SECTIONS[name]).items():
        lines += ["", *_comment(directive.help), *_setting(name, key, directive)]
    return "\n".join(lines) + "\n"
