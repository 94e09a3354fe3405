"""The handyrep table: one row with a copy of the state, so that a fresh HandyRep can start from the database alone.

Never holds a password. Written with synchronous_commit = local, so that missing synchronous replicas cannot hang HandyRep.
last_ip, last_holder and last_sync belong to the plugin that tells which HandyRep may act; they are made here, not written.
"""

import json
from typing import Any

from psycopg import sql

from handyrep.config.settings import Settings
from handyrep.config.show import rows
from handyrep.model.cluster import Cluster
from handyrep.model.server import Server
from handyrep.ports import Databases

_COLUMNS = """
    only_row boolean primary key default true check (only_row),
    updated timestamptz not null default clock_timestamp(),
    config json not null default '{}',
    servers json not null default '{}',
    status json not null default '{}',
    last_ip text,
    last_holder text,
    last_sync timestamptz
"""
_LOCAL = sql.SQL("with local as (select set_config('synchronous_commit', 'local', true)) ")
"""For this statement's transaction alone. The statement must use it (`from local`), or PostgreSQL does not run it."""


def table_name(settings: Settings) -> sql.Composed:
    """The configured table, quoted."""
    names = [name for name in (settings.handyrep.handyrep_schema, settings.handyrep.handyrep_table) if name]
    return sql.SQL(".").join(sql.Identifier(name) for name in names)


def _beside_values(name: sql.Composed) -> sql.SQL:
    """The same name in a statement that has values: there a % in a name would be taken for a place of one."""
    return sql.SQL(name.as_string(None).replace("%", "%%"))


class StatusTable:
    """Creates, writes and reads the table on a given server, which should be the proven master."""

    def __init__(self, databases: Databases, settings: Settings, deadline_s: float) -> None:
        self._databases = databases
        self._settings = settings
        self._deadline_s = deadline_s
        self._table = table_name(settings)

    async def create(self, master: Server) -> None:
        """Make schema, table and row where they are missing, in one step. Raises DatabaseError, NoAnswerError.

        Looks first: CREATE … IF NOT EXISTS asks for rights that nobody needs to leave a table alone.
        """
        body = sql.SQL(
            "begin perform set_config('synchronous_commit', 'local', true); {schema} "
            "if to_regclass({name}) is null then create table {table} ({columns}); end if; "
            "insert into {table} default values on conflict do nothing; end"
        ).format(
            schema=self._create_schema(),
            name=sql.Literal(self._table.as_string(None)),
            table=self._table,
            columns=sql.SQL(_COLUMNS),
        )
        await self._do(master, sql.SQL("do {}").format(sql.Literal(body.as_string(None))))

    async def write(self, master: Server, cluster: Cluster, state: dict[str, Any]) -> None:
        """Put the present state into the row. Raises DatabaseError, NoAnswerError."""
        shown = {
            f"{row.section}.{row.key}": row.value for row in rows(self._settings, {}) if row.section != "passwords"
        }
        change = sql.SQL("update {} set updated = clock_timestamp(), config = %s, servers = %s, status = %s from local")
        values = (json.dumps(shown), json.dumps(state), json.dumps(cluster.status.as_dict()))
        await self._do(master, _LOCAL + change.format(_beside_values(self._table)), *values)

    async def read(self, server: Server) -> dict[str, Any] | None:
        """The row as a dictionary; None when there is none. Raises DatabaseError, NoAnswerError."""
        statement = sql.SQL("select * from {}").format(self._table)
        found = await self._databases.query(server, statement.as_string(None), deadline_s=self._deadline_s)
        return dict(found[0]) if found else None

    def _create_schema(self) -> sql.Composable:
        schema = self._settings.handyrep.handyrep_schema
        if not schema:
            return sql.SQL("")
        return sql.SQL("if to_regnamespace({name}) is null then create schema {schema}; end if;").format(
            name=sql.Literal(sql.Identifier(schema).as_string(None)), schema=sql.Identifier(schema)
        )

    async def _do(self, master: Server, statement: sql.Composed, *values: str) -> None:
        await self._databases.query(master, statement.as_string(None), values, deadline_s=self._deadline_s)
