"""A handyrep.conf of 2014: what has another name today, and what no longer means anything. Each is told as a warning."""

from typing import Any

_RENAMED = {
    ("archive", "archive_script_path"): None,
    ("archive", "archive_script_template"): None,
    ("archive", "archive_bin"): None,
    ("handyrep", "pid_file"): None,
    ("handyrep", "handyrep_script_dir"): None,
    ("failover", "connection_failover"): None,
    ("failover", "recovery_retry_interval"): None,
    ("server_defaults", "failover_priority_default"): None,
    ("server_defaults", "restart_command"): None,
    ("passwords", "handyrep_db_password"): ("passwords", "handyrep_db_pass"),
    ("passwords", "superuser_password"): ("passwords", "superuser_pass"),
    ("passwords", "replication_password"): ("passwords", "replication_pass"),
    ("failover", "max_fail_retries"): ("failover", "fail_retries"),
    ("failover", "select_replica_method"): ("failover", "selection_method"),
}
_PLUGINS_NEVER_THERE = {"select_by_priority": "select_replica_priority", "handyrep_oneserver": "one_hr_master"}


def modernized(parsed: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """The same configuration in today's words. Every change is added to `warnings`."""
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in parsed.items()}
    for (section, key), today in _RENAMED.items():
        given = result.get(section)
        if isinstance(given, dict) and key in given:
            _rename(result, section, key, today, warnings)
    for section, values in result.items():
        if isinstance(values, dict):
            _name_plugins(section, values, warnings)
    return result


def _rename(
    result: dict[str, Any], section: str, key: str, today: tuple[str, str] | None, warnings: list[str]
) -> None:
    value = result[section].pop(key)
    if today is None:
        warnings.append(f"[{section}] {key} means nothing any more and is ignored")
        return
    warnings.append(f"[{section}] {key} is called {today[1]} in [{today[0]}] today")
    result.setdefault(today[0], {}).setdefault(today[1], value)


def _name_plugins(section: str, values: dict[str, Any], warnings: list[str]) -> None:
    for key, value in values.items():
        meant = _PLUGINS_NEVER_THERE.get(value) if isinstance(value, str) else None
        if meant is not None:
            warnings.append(f"[{section}] {key} = {value}: there never was such a plugin; {meant} is used")
            values[key] = meant
