"""What stands in a pgbouncer.ini: which database leads where, rendered from a template and read back before anybody gets it.

Pure. A name or value that pgbouncer's own rules cannot carry is refused, never mangled.
"""

import dataclasses
import re
from collections.abc import Mapping

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from handyrep.errors import PluginError

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_PAIR = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^']|'')*)'|([^\s']*))")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where one name of a pgbouncer leads."""

    host: str
    port: int
    dbname: str


def targets(
    databases: tuple[str, ...],
    master: tuple[str, int],
    replicas: tuple[tuple[str, int], ...],
    *,
    suffix: str,
    all_replicas: bool,
) -> dict[str, Target]:
    """Every name that clients may ask for: the databases at the master, and with the suffix at a replica (or the master)."""
    found = {name: Target(*master, name) for name in databases}
    readers = replicas or (master,)
    for name in databases if suffix else ():
        if all_replicas:
            found |= {f"{name}{suffix}{number}": Target(*place, name) for number, place in enumerate(readers, 1)}
        else:
            found[f"{name}{suffix}"] = Target(*readers[0], name)
    return found


def render(template: str, wanted: Mapping[str, Target], extra: str, values: Mapping[str, object]) -> str:
    """The file's text. Raises PluginError when the template fails, or when what came out does not say what was meant."""
    lines = {_name(name): _connection(target, extra) for name, target in wanted.items()}
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        text = environment.from_string(template).render(databases=lines, **values)
    except (TemplateError, TypeError, ValueError) as error:
        raise PluginError(f"the template cannot be rendered: {error}") from None
    meant, found = dict(wanted), parse_databases(text)
    if "*" in found:
        raise PluginError("the template has a '*' database, which would lead clients past every switch HandyRep makes")
    if found != meant:
        missing = ", ".join(sorted(meant.keys() - found.keys())) or "other targets than meant"
        raise PluginError(f"what the template gives does not lead where it should: {missing}")
    return text


def parse_databases(text: str) -> dict[str, Target]:
    """The [databases] of a pgbouncer.ini, as pgbouncer reads them. Raises PluginError for a line it would refuse."""
    found: dict[str, Target] = {}
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
        elif section == "databases" and line and line[0] not in ";#%":
            name, target = _database(line)
            found[name] = target
    return found


def _database(line: str) -> tuple[str, Target]:
    match = re.match(r'(?:"((?:[^"]|"")+)"|([^\s=]+))\s*=\s*(.*)', line)
    if match is None:
        raise PluginError(f"pgbouncer would not understand the line {line[:60]!r}")
    name = match[1].replace('""', '"') if match[1] else match[2]
    values: dict[str, str] = {}
    position, text = 0, match[3]
    while position < len(text.rstrip()):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise PluginError(f"pgbouncer would not understand what stands for the database {name!r}")
        values[pair[1]] = pair[2].replace("''", "'") if pair[2] is not None else pair[3]
        position = pair.end()
    port = values.get("port", "5432")
    return name, Target(values.get("host", ""), int(port) if port.isdigit() else 0, values.get("dbname", name))


def _name(name: str) -> str:
    _refuse_unwritable(name, "database name")
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _connection(target: Target, extra: str) -> str:
    for value in (target.host, target.dbname, extra):
        _refuse_unwritable(value, "connection value")
    pairs = (("host", target.host), ("port", str(target.port)), ("dbname", target.dbname))
    return " ".join([f"{key}={_value(value)}" for key, value in pairs] + ([extra.strip()] if extra.strip() else []))


def _value(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "''") + "'"


def _refuse_unwritable(text: str, what: str) -> None:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise PluginError(f"the {what} {text!r} has control characters, which no pgbouncer.ini can carry")
