"""The handyrep table on a real PostgreSQL: made once, written without waiting for replicas, without passwords."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handyrep.adapters.libpq import Account
from handyrep.adapters.postgres import RealDatabases
from handyrep.adapters.status_table import StatusTable
from handyrep.config.settings import PasswordSettings, Settings
from handyrep.directives import Secret
from handyrep.errors import DatabaseError
from handyrep.ports import Login
from tests.adapters.postgresql import PASSWORD, PostgreSQL, databases
from tests.adapters.test_quoting import NASTY, touched
from tests.factories import make_cluster, make_settings

DEADLINE_S = 5.0
STATE = {"servers": {"m1": {"role": "master", "odd": "é'\"\\"}}, "epoch": 3}


@pytest.fixture
async def db() -> AsyncIterator[RealDatabases]:
    """The adapter."""
    made = databases()
    yield made
    await made.close()


def settings(schema: str = "", table: str = "handyrep") -> Settings:
    """With passwords that must not show up."""
    secrets = PasswordSettings(handyrep_db_pass=Secret(PASSWORD), admin_password=Secret("canary-admin"))
    return make_settings(handyrep={"handyrep_schema": schema, "handyrep_table": table}, passwords=secrets)


async def do(db: RealDatabases, postgresql: PostgreSQL, *statements: str) -> tuple[Any, ...]:
    """Run them, return the rows of the last."""
    rows: tuple[Any, ...] = ()
    for statement in statements:
        rows = await db.query(postgresql.server(), statement, deadline_s=DEADLINE_S)
    return rows


async def test_the_row_is_made_once_written_and_read(db: RealDatabases, postgresql: PostgreSQL) -> None:
    table, server = StatusTable(db, settings("ha"), DEADLINE_S), postgresql.server()
    for _ in range(2):
        await table.create(server)
        await table.write(server, make_cluster(), STATE)
    row = await table.read(server)
    assert row is not None
    assert row["servers"] == STATE
    assert row["status"] == make_cluster().status.as_dict()
    assert row["config"]["handyrep.handyrep_schema"] == "ha"
    assert (await do(db, postgresql, "select count(*) as n from ha.handyrep"))[0]["n"] == 1


async def test_no_password_is_in_it(db: RealDatabases, postgresql: PostgreSQL) -> None:
    table, server = StatusTable(db, settings("secretless"), DEADLINE_S), postgresql.server()
    await table.create(server)
    await table.write(server, make_cluster(), STATE)
    row = await table.read(server)
    assert row is not None
    assert "canary" not in json.dumps(row, default=str)


async def test_missing_synchronous_replicas_do_not_hang_it(db: RealDatabases, postgresql: PostgreSQL) -> None:
    table, server = StatusTable(db, settings("hanging"), DEADLINE_S), postgresql.server()
    waiting = "alter system set synchronous_standby_names = 'nobody_of_that_name'"
    await do(db, postgresql, waiting, "select pg_reload_conf()", "select pg_sleep(0.3)")
    try:
        assert (await do(db, postgresql, "show synchronous_standby_names"))[0]["synchronous_standby_names"] != ""
        await table.create(server)
        await table.write(server, make_cluster(), STATE)
        row = await table.read(server)
    finally:
        await do(db, postgresql, "alter system reset synchronous_standby_names", "select pg_reload_conf()")
    assert row is not None
    assert row["servers"] == STATE
    (setting,) = await do(db, postgresql, "show synchronous_commit")
    assert setting["synchronous_commit"] == "on", "only this statement may be local"


@pytest.mark.parametrize("name", [word for word in NASTY if word and "\udcff" not in word and len(word.encode()) < 60])
async def test_any_schema_and_table_name_is_only_a_name(db: RealDatabases, postgresql: PostgreSQL, name: str) -> None:
    table, server = StatusTable(db, settings(name, name), DEADLINE_S), postgresql.server()
    await table.create(server)
    await table.write(server, make_cluster(), STATE)
    row = await table.read(server)
    assert row is not None
    assert row["servers"] == STATE
    found = await db.query(
        server,
        "select schemaname as s from pg_tables where tablename = %s and schemaname = %s",
        (name, name),
        deadline_s=DEADLINE_S,
    )
    assert len(found) == 1
    assert not touched()


async def test_e8_a_role_without_rights_to_create_may_still_use_it(db: RealDatabases, postgresql: PostgreSQL) -> None:
    server, all_settings = postgresql.server(), settings("granted")
    await StatusTable(db, all_settings, DEADLINE_S).create(server)
    await do(
        db,
        postgresql,
        "create role little login password 'little'",
        "grant usage on schema granted to little",
        "grant select, insert, update on granted.handyrep to little",
    )
    little = RealDatabases({Login.HANDYREP: Account("little", Secret("little"))}, "postgres")
    try:
        table = StatusTable(little, all_settings, DEADLINE_S)
        await table.create(server)
        await table.write(server, make_cluster(), STATE)
        with pytest.raises(DatabaseError, match="permission denied"):
            await StatusTable(little, settings("denied"), DEADLINE_S).create(server)
    finally:
        await little.close()
