"""What stands in a pgbouncer.ini: which database leads where, rendered from a template and read back before anybody gets it.

Pure. A name or value that pgbouncer's own rules cannot carry is refused, never mangled.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from handyrep.errors import PluginError
from handyrep.plugins._templates import rendered

MARK = "handyrep_file"
"""A database that leads nowhere, at the very end of the file: when pgbouncer knows it, it has read all of this very file."""
MARK_PLACE = ("127.0.0.1", 1)
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,63}")
"""All that pgbouncer takes as a database's name: its parser of pgbouncer.ini knows no quotes before the '='."""
_ADMIN_NAME = "pgbouncer"
_KEY = re.compile(r"([A-Za-z0-9_.*\-]+)[ \t]*=[ \t]*(.*)")
_PAIR = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^']|'')*)'|([^\s']+))(?=\s|$)")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_COMMENTS = (";", "#")

Place = tuple[str, int]
"""A host (blank: the Unix socket beside pgbouncer) and a port."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where one name of a pgbouncer leads."""

    host: str
    port: int
    dbname: str

    @property
    def place(self) -> Place:
        """The server."""
        return self.host, self.port

    @property
    def hosts(self) -> tuple[str, ...]:
        """Each host of a list: sessions go to any of them."""
        return tuple(host.strip() for host in self.host.split(","))


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A pgbouncer.ini to be, and what pgbouncer must say of its databases once it has read it. `logfile`: '' for none."""

    text: str
    databases: Mapping[str, Target]
    logfile: str = ""


def targets(
    databases: Iterable[str], master: Place, replicas: tuple[Place, ...], *, suffix: str, all_replicas: bool
) -> dict[str, Target]:
    """Every name that clients may ask for: each database at the master, and with the suffix at a replica (or the master).

    Raises PluginError for a name that pgbouncer cannot have, and for one that would stand for two.
    """
    readers = replicas or (master,)
    found: dict[str, Target] = {}
    for name in dict.fromkeys(databases):
        leads = {name: Target(*master, name)}
        for number, place in enumerate(readers, 1):
            leads |= {f"{name}{suffix}{number}": Target(*place, name)} if all_replicas else {}
        leads |= {} if all_replicas else {f"{name}{suffix}": Target(*readers[0], name)}
        for one in leads:
            refuse_name(one)
            if one in found:
                raise PluginError(f"the name {one!r} would stand for two databases: change readonly_suffix")
        found |= leads
    return found


def render(
    template: str, wanted: Mapping[str, Target], extra: str, values: Mapping[str, object], ours: frozenset[Place]
) -> File:
    """The file. `ours` are the places of the cluster's servers: nothing but what is wanted may lead there.

    Raises PluginError when the template fails, or when what came out would not lead where it is meant to.
    """
    lines = {name: _connection(target, extra) for name, target in wanted.items()}
    text = rendered(template, {"databases": lines, **values})
    found = parse_databases(text)
    _refuse_other_targets(found, wanted, ours)
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    foot = f"\n[databases]\n{MARK} = host={MARK_PLACE[0]} port={MARK_PLACE[1]} dbname={mark}\n"
    logs = [value for _, section, key, value in _entries(text) if (section, key) == ("pgbouncer", "logfile")]
    return File(text.rstrip("\n") + "\n" + foot, {**wanted, MARK: Target(*MARK_PLACE, mark)}, "".join(logs[-1:]))


def _refuse_other_targets(found: Mapping[str, Target], wanted: Mapping[str, Target], ours: frozenset[Place]) -> None:
    if "*" in found:
        raise PluginError("the template has a database '*', which no KILL holds back: name the databases instead")
    wrong = sorted(name for name, target in wanted.items() if found.get(name) != target)
    if wrong:
        raise PluginError(f"what the template gives does not lead where it should for {', '.join(wrong)}")
    for name in found.keys() - wanted.keys():
        if found[name].place in ours:
            raise PluginError(
                f"the template's database {name!r} leads to a server of the cluster, and would still do so after a failover:"
                " put it into database_list instead"
            )


def parse_databases(text: str) -> dict[str, Target]:
    """The [databases] of a pgbouncer.ini, as pgbouncer reads them. Raises PluginError for a line that it would refuse."""
    found: dict[str, Target] = {}
    for number, section, key, value in _entries(text):
        if section == "databases":
            found[key] = _target(key, value, number)
    return found


def template_from(text: str) -> str:
    """A template made from a pgbouncer.ini that is there: everything stays, only [databases] becomes HandyRep's."""
    kept: list[str] = []
    section = ""
    for line in text.splitlines():
        header = _header(line)
        if header == "databases":
            kept += [
                "[databases]",
                "{% for name, connection in databases.items() %}",
                "{{ name }} = {{ connection }}",
                "{% endfor %}",
            ]
        section = section if header is None else header
        if section != "databases" or not line.strip() or line.lstrip().startswith(_COMMENTS):
            kept.append(line.replace("{", "{{ '{' }}") if "{" in line else line)
    return "\n".join(kept) + "\n"


def _header(line: str) -> str | None:
    stripped = line.strip()
    return stripped[1:-1].strip() if stripped.startswith("[") and stripped.endswith("]") else None


def _entries(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line number, section, key, value) of every setting. %include is the template's own affair."""
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith(_COMMENTS) or re.match(r"%include[ \t]", line):
            continue
        header = _header(line)
        if header is not None:
            section = header
            continue
        match = _KEY.fullmatch(line)
        if match is None or not section:
            raise PluginError(f"pgbouncer would not understand line {number} of its file: {line[:60]!r}")
        yield number, section, match[1], match[2]


def _target(name: str, text: str, number: int) -> Target:
    values: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip()):
        pair = _PAIR.match(text, position)
        if pair is None or pair[2] == "":
            raise PluginError(f"pgbouncer would not understand what stands for the database {name!r} in line {number}")
        values[pair[1]] = pair[3] if pair[2] is None else pair[2].replace("''", "'")
        position = pair.end()
    port = values.get("port", "5432")
    return Target(values.get("host", ""), int(port) if port.isdecimal() else 0, values.get("dbname", name))


def refuse_name(name: str) -> None:
    """Raises PluginError for a name that pgbouncer cannot have, or that stands for something else."""
    if not _NAME.fullmatch(name) or name in (_ADMIN_NAME, MARK):
        raise PluginError(
            f"{name!r} cannot be the name of a database in pgbouncer: it takes letters, digits, '_', '-' and '.', at most 63"
            f" of them, and {_ADMIN_NAME} and {MARK} are taken"
        )


def _connection(target: Target, extra: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in extra + target.host):
        raise PluginError("a connection string with control characters cannot stand in pgbouncer.ini")
    pairs = (("host", target.host), ("port", str(target.port)), ("dbname", target.dbname))
    return " ".join([f"{key}={_value(value)}" for key, value in pairs] + ([extra.strip()] if extra.strip() else []))


def _value(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "''") + "'"
