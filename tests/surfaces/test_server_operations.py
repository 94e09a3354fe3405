"""add-server and alter-server-def refuse what a configuration file would be refused for, and change nothing then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from handyrep.app import running
from handyrep.engine.check import new_run
from handyrep.model.run import RunKind
from handyrep.operations.declare import Running, invoke
from tests.surfaces.test_cli import GOOD


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Running]:
    conf = tmp_path / "handyrep.conf"
    conf.write_text(GOOD.format(state=tmp_path / "state"))
    async with running(conf) as made:
        yield made


async def call(on: Running, operation: str, server: str, definition: str) -> dict[str, Any]:
    return await invoke(on, operation, {"server": server, "definition": definition})


WELL = "hostname=127.0.0.2,port=10,pgdata=/nowhere/other"


async def test_a_new_server_is_known_disabled_and_a_replica(on: Running) -> None:
    assert (await call(on, "add_server", "r1", WELL))["result"] == "SUCCESS"
    server = on.engine.cluster.members["r1"].server
    assert (server.enabled, server.role, server.port) == (False, "replica", 10)


@pytest.mark.parametrize("name", ["", "-r", ".r", "r 1", "r/1", "a" * 64, "r\n", "ö"])
async def test_a_name_that_the_file_could_not_hold_is_refused(on: Running, name: str) -> None:
    answer = await call(on, "add_server", name, WELL)
    assert (answer["result"], "is not a server's name" in answer["details"]) == ("FAIL", True)
    assert set(on.engine.cluster.members) == {"m1"}


@pytest.mark.parametrize("name", ["1", "_r", "r.1-x", "a" * 63])
async def test_a_name_that_the_file_could_hold_is_taken(on: Running, name: str) -> None:
    assert (await call(on, "add_server", name, WELL))["result"] == "SUCCESS"


@pytest.mark.parametrize(
    ("name", "definition", "why"),
    [
        ("r1", "port=10,pgdata=/x", "hostname is required"),
        ("r1", "hostname=h,port=10,pgdata=", "pgdata is required"),
        ("r1", "hostname=127.0.0.1,port=9,pgdata=/x", "the same as those of [[m1]]"),
        ("r1", "hostname=[127.0.0.1],port=9,pgdata=/x", "the same as those of [[m1]]"),
        ("r1", "hostname=h,pgdata=/nowhere/data/", "is on the same host the same as that of [[m1]]"),
        ("r1", "hostname=h,pgdata=//", "root of the file system"),
        ("M1", WELL, "differs only in capital letters from [[m1]]"),
        ("r1", "hostname=h,colour=blue", "not key=value"),
        ("r1", "hostname=h,port=many", "port"),
    ],
)
async def test_what_contradicts_the_rest_is_refused(on: Running, name: str, definition: str, why: str) -> None:
    answer = await call(on, "add_server", name, definition)
    assert (answer["result"], why in answer["details"]) == ("FAIL", True), answer["details"]
    assert set(on.engine.cluster.members) == {"m1"}


async def test_a_change_is_held_to_the_same(on: Running) -> None:
    await call(on, "add_server", "r1", WELL)
    before = on.engine.cluster.members["r1"].server
    answer = await call(on, "alter_server_def", "r1", "hostname=127.0.0.1,port=9")
    assert (answer["result"], "[[m1]]" in answer["details"]) == ("FAIL", True)
    assert on.engine.cluster.members["r1"].server == before
    assert (await call(on, "alter_server_def", "r1", "port=11"))["result"] == "SUCCESS"
    assert on.engine.cluster.members["r1"].server.port == 11


@pytest.mark.parametrize("operation", ["remove", "disable", "alter_server_def", "add_server", "enable"])
async def test_e19_while_a_failover_stands_open_the_list_of_servers_stays_as_it_is(on: Running, operation: str) -> None:
    await call(on, "add_server", "r1", WELL)
    before = dict(on.engine.cluster.members)
    on.engine.journal.open(new_run(on.engine, RunKind.FAILOVER, "it counts on r1"))
    arguments = {"server": "r2" if operation == "add_server" else "r1"}
    if "server" in operation:
        arguments["definition"] = "hostname=127.0.0.3,port=11,pgdata=/nowhere/third"
    answer = await invoke(on, operation, arguments)
    assert (answer["result"], "failover 1 stands open" in answer["details"]) == ("FAIL", True), answer
    assert dict(on.engine.cluster.members) == before
