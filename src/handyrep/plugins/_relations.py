"""Names for the files that WAL speaks of, asked of a server that has the same ones. Looks only."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.plugins._wal_report import Report, named
from handyrep.ports import Login

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

_DATABASES = "select oid::text as oid, datname as name from pg_database where datallowconn and oid = any(%s::oid[])"
_NAMES = """
select f.space::text || '/' || d.oid::text || '/' || f.file::text as relation,
       d.datname || '.' || n.nspname || '.' || c.relname as name,
       c.relkind in ('r', 'm', 'p') and n.nspname not in ('pg_catalog', 'information_schema') as counts
from unnest(%s::oid[], %s::oid[]) as f(space, file)
join pg_class c on c.oid = pg_filenode_relation(f.space, f.file)
join pg_namespace n on n.oid = c.relnamespace, pg_database d
where d.datname = current_database()
"""
Names = dict[str, tuple[str, bool]]


async def with_names(plugin: "handyrepplugin", report: Report, newmaster: str) -> Report:
    """The report with the names that the new master knows; where it knows none, or does not answer, the numbers must do."""
    for login in (Login.SUPERUSER, Login.HANDYREP):
        try:
            return named(report, await _names(plugin, report, newmaster, login))
        except (DatabaseError, NoAnswerError):
            continue
    return report


async def _names(plugin: "handyrepplugin", report: Report, server: str, login: Login) -> Names:
    relations = tuple((*table.relation.split("/"),) for table in report.tables)
    names: Names = {}
    databases = await plugin.query(server, _DATABASES, _array(r[1] for r in relations), login=login)
    for database in databases:
        here = [relation for relation in relations if relation[1] == database["oid"]]
        spaces, files = (_array(relation[part] for relation in here) for part in (0, 2))
        rows = await plugin.query(server, _NAMES, spaces, files, login=login, database=database["name"], fresh=True)
        names |= {row["relation"]: (row["name"], row["counts"]) for row in rows}
    return names


def _array(numbers: Iterable[str]) -> str:
    return f"{{{','.join(numbers)}}}"
