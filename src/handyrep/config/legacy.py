"""A handyrep.conf of 2014: what has another name today, and what no longer means anything. Each is told as a warning.

Owns the words of 2014. Must never change what a directive that still exists means.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from handyrep.config.findings import Findings, Place, shown_place
from handyrep.config.lines import Line, Section

Sections = dict[Place, Section]
Directive = tuple[str, str]

RENAMED: Mapping[Directive, Directive] = MappingProxyType(
    {
        ("handyrep", "admin_password"): ("passwords", "admin_password"),
        ("handyrep", "read_password"): ("passwords", "read_password"),
        ("failover", "fail_retry"): ("failover", "fail_retries"),
        ("failover", "connection_failover"): ("failover", "connection_failover_method"),
        ("failover", "select_method"): ("failover", "selection_method"),
        ("archive", "archive_host"): ("archive", "archive_server"),
        ("server_defaults", "pgpass"): ("server_defaults", "passfile"),
        ("servers", "pgpass"): ("servers", "passfile"),
    }
)
"""(section, name of 2014): (section, name of today). 'servers' stands for every [[server]]."""

_SERVER_WORDS = MappingProxyType(
    {
        "restart_parameters": "options of a plugin stand in its own [plugins] section",
        "promotion_parameters": "options of a plugin stand in its own [plugins] section",
        "clone_parameters": "options of a plugin stand in its own [plugins] section",
        "archive_mode": "HandyRep reads it from the server",
        "streaming": "every replica streams",
    }
)
GONE: Mapping[Directive, str] = MappingProxyType(
    {
        ("handyrep", "last_updated"): "HandyRep knows it from the file",
        ("handyrep", "postgresql_version"): "each server is asked for its own version",
        ("handyrep", "push_alert_parameters"): "options of a plugin stand in its own [plugins] section",
        ("failover", "recovery_wait"): "recovery_retries says how long HandyRep waits",
        ("failover", "max_replay_lag"): "lag_limit of a server says when it is lagged, max_lost_wal what may be lost",
        ("archive", "archive_template"): "it is an option of the plugin in archive_script_method",
        ("archive", "archive_script_template"): "it is an option of the plugin in archive_script_method",
        ("archive", "archive_script_path"): "it is an option of the plugin in archive_script_method",
        ("archive", "archive_delete_hours"): "it is an option of the plugin in archive_delete_method",
        ("extra_failover_commands", "run_as"): "a plugin decides itself whom it works as",
        ("extra_failover_commands", "run_on"): "a plugin decides itself where it works",
        ("servers", "name"): "a server's name is its [[heading]]",
        **{("server_defaults", key): why for key, why in _SERVER_WORDS.items()},
        **{("servers", key): why for key, why in _SERVER_WORDS.items()},
    }
)
"""(section, name of 2014): why it means nothing any more."""

NEVER_THERE: Mapping[str, str] = MappingProxyType(
    {"select_by_priority": "select_replica_priority", "handyrep_oneserver": "one_hr_master"}
)
"""Plugins that the program of 2014 named as its defaults but did not have, and what was meant."""

_YES_OR_NO = frozenset({"true", "false", "yes", "no", "on", "off"})
"""What connection_failover said before it became the name of a plugin."""


def modernized(sections: Sections, findings: Findings) -> Sections:
    """The same sections in today's words. Every change is a warning."""
    result = {place: dataclasses.replace(section, lines=dict(section.lines)) for place, section in sections.items()}
    for place, section in sections.items():
        for line in section.lines.values():
            _modernize(result, place, line, findings)
    return result


def _modernize(result: Sections, place: Place, line: Line, findings: Findings) -> None:
    directive = (place[0] if place else "", line.key)
    if directive in GONE:
        del result[place].lines[line.key]
        _warn(findings, place, line, f"means nothing any more and is ignored: {GONE[directive]}")
    elif line.key == "connection_failover" and _bare(line).lower() in _YES_OR_NO:
        del result[place].lines[line.key]
        _warn(findings, place, line, "means nothing any more and is ignored: connection_failover_method says it")
    elif directive in RENAMED:
        _move(result, place, line, RENAMED[directive], findings)
    elif _speaks_of_recovery_conf(line):
        result[place].lines[line.key] = dataclasses.replace(line, text="")
        _warn(
            findings,
            place,
            line,
            "is ignored: PostgreSQL 12 and later have no recovery.conf, and refuse to start with one",
        )
    elif _bare(line) in NEVER_THERE and line.key.endswith(("_method", "_methods", "command")):
        meant = NEVER_THERE[_bare(line)]
        result[place].lines[line.key] = dataclasses.replace(line, text=meant, said=_bare(line))
        _warn(findings, place, line, f"names {_bare(line)}, a plugin that never existed: {meant} is used")


def _move(result: Sections, place: Place, line: Line, today: Directive, findings: Findings) -> None:
    section, key = today
    target = (section, *place[1:])
    named = key if target == place else f"{' '.join(shown_place(target))} {key}"
    del result[place].lines[line.key]
    there = result.setdefault(target, Section(line.number, {})).lines
    if key in there:
        _warn(findings, place, line, f"is called {named} today, which is set too: this one is ignored")
    else:
        _warn(findings, place, line, f"is called {named} today")
        there[key] = dataclasses.replace(line, key=key, said=line.key)


def _speaks_of_recovery_conf(line: Line) -> bool:
    if line.key == "recovery_template":
        return bool(_bare(line))
    return line.key == "replica_conf" and _bare(line).endswith("recovery.conf")


def _bare(line: Line) -> str:
    return line.text.strip("'\"")


def _warn(findings: Findings, place: Place, line: Line, what: str) -> None:
    findings.warning(place, line.key, what, line.number)
