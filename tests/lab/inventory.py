"""All that is on a host and could be somebody's: files with what stands in them, settings, slots, tables, units, processes.

Seen without HandyRep and without the network. What PostgreSQL and systemd write by themselves all the time is left out, by name.
"""

import hashlib
import os
import re
from pathlib import Path

from tests.lab.cluster import LabCluster
from tests.lab.host import Host

Inventory = dict[str, str]
"""What is there, in the words of a trace's `where`, and a mark of its content."""

_DATABASE = (
    "base",
    "global",
    "pg_.*",
    "postmaster[.].*",
    "postgresql[.]auto[.]conf",
    "backup_label[.]old",
    "PG_VERSION",
)
"""In pgdata: what PostgreSQL owns, or what is looked into otherwise. pg_wal is looked into below."""
_MACHINE = (
    "/var/log/.*", "/var/lib/systemd/.*", "/var/lib/dbus/.*", "/var/cache/.*", "/etc/[.]updated", "/var/[.]updated", "/etc/machine-id", "/root/.*",
    "/run/(systemd|log|udev|dbus|lock|mount|user|host|credentials|console-.*|initctl)(/.*)?", "/run/(utmp|motd.*|sshd.*|blkid.*|agetty.*|postgresql.*)",
    "/(tmp|dev/shm)/(systemd-private-.*|PostgreSQL[.].*|[.].*-unix|[.]s[.]PGSQL.*)", "/var/tmp/systemd-private-.*",
)  # fmt: skip
_NOISE = re.compile("|".join(_MACHINE))
_SETTINGS = """
select lower(name), coalesce(setting, '') from pg_file_settings where sourcefile ~ '/postgresql[.]auto[.]conf$' order by seqno
"""
_SLOTS = "select slot_name::text, slot_type from pg_replication_slots"
_TABLES = r"""
select format('table %s.%s in %s', n.nspname, c.relname, current_database()), c.relkind::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_|^information_schema$'
"""
_RAN_BY = ("handyrep", "handyrep_pg")


def of_all(cluster: LabCluster) -> dict[str, Inventory]:
    """Of each host, by name."""
    return {host.name: _of(cluster, host) for host in cluster.hosts}


def added(before: Inventory, after: Inventory) -> set[str]:
    """What is there now and was not, or not so, before."""
    return {what for what, mark in after.items() if before.get(what) != mark}


def _of(cluster: LabCluster, host: Host) -> Inventory:
    found = {**_on_disk(host, cluster.layout.pgdata), **_in_memory(host), **_units(host), **_processes(host)}
    data = host.root / cluster.layout.pgdata.lstrip("/")
    found[f"mode of {cluster.layout.pgdata}"] = oct(data.stat().st_mode)
    with cluster.connect(host.name) as sql:
        found |= {f"setting {name}": value for name, value in sql.execute(_SETTINGS).fetchall()}
        found |= {f"slot {name}": kind for name, kind in sql.execute(_SLOTS).fetchall()}
    return found | _tables(cluster, host)


def _on_disk(host: Host, pgdata: str) -> Inventory:
    """All that was written since the host was made: what lies above the image and PostgreSQL's layer."""
    upper, found = host.image.folder / host.place.name, Inventory()
    database = re.compile(f"{re.escape(pgdata)}/({'|'.join(_DATABASE)})")
    for folder, folders, files in os.walk(upper):
        place = "/" + str(Path(folder).relative_to(upper)).removeprefix(".")
        place = place.rstrip("/")
        folders[:] = [name for name in folders if not _is_noise(f"{place}/{name}", database)]
        for name in files:
            if not _is_noise(f"{place}/{name}", database):
                found |= _changed(host, f"{place}/{name}", Path(folder, name))
        if not files and not folders and not any(one.is_dir() for one in _below(host, place)):
            found[place] = "empty"
    wal = host.root / pgdata.lstrip("/") / "pg_wal"
    odd = (path.name for path in wal.iterdir() if not re.fullmatch(r"[0-9A-F]{24}(\.partial)?|[0-9A-F]{8}\.history|archive_status|summaries", path.name))  # fmt: skip
    return found | {f"{pgdata}/pg_wal/{name}": "there" for name in odd}


def _changed(host: Host, place: str, file: Path) -> Inventory:
    """Nothing where it says what it said when the host was made: written anew is not changed."""
    original = next((_mark(one) for one in _below(host, place) if one.exists()), "gone")
    return {} if _mark(file) == original else {place: _mark(file)}


def _below(host: Host, place: str) -> list[Path]:
    """Where it would be in each of the layers that the host was made from, the newest first."""
    return [Path(layer, place.lstrip("/")) for layer in (*reversed(host.layers), host.image.layer, Path("/"))]


def _is_noise(place: str, database: re.Pattern[str]) -> bool:
    return bool(_NOISE.fullmatch(place) or database.fullmatch(place))


def _mark(file: Path) -> str:
    """A whiteout stands where something was deleted."""
    if file.is_symlink() or not file.is_file():
        return "gone" if file.is_char_device() else "there"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _in_memory(host: Host) -> Inventory:
    places = host.inside("find", "/run", "/tmp", "/dev/shm", "-xdev", check=False).splitlines()
    return {place: "there" for place in places if not _NOISE.fullmatch(place)}


def _units(host: Host) -> Inventory:
    """Loaded units and unit files: services, timers, drop-ins' owners. Sessions of a login are no units that stay."""
    lines = host.inside(
        "systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,timer,path,socket"
    )
    names = {line.split()[0] for line in lines.splitlines() if line.strip()}
    return {f"unit {name}": "there" for name in names if not name.startswith(("ssh@", "user@", "user-runtime-dir@"))}


def _processes(host: Host) -> Inventory:
    lines = host.inside("ps", "-eo", "user:32=,args=").splitlines()
    told = ((line.split(None, 1)) for line in lines)
    return {
        f"process {args}": "runs"
        for user, args in told
        if "handyrep-" in args or (user in _RAN_BY and "sshd" not in args)
    }


def _tables(cluster: LabCluster, host: Host) -> Inventory:
    found = Inventory()
    databases = [name for (name,) in _rows(cluster, host, "select datname from pg_database where datallowconn")]
    for database in databases:
        found |= {row[0]: row[1] for row in _rows(cluster, host, _TABLES, dbname=database)}
    return found | {f"database {name}": "there" for name in databases}


def _rows(cluster: LabCluster, host: Host, statement: str, **where: str) -> list[tuple[str, ...]]:
    with cluster.connect(host.name, **where) as sql:
        return list(sql.execute(statement.encode()).fetchall())
