"""replication_mb_lag_93: the lag of real replicas in MB, nothing where nothing is known, and never another's lag."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import babbling
from handyrep.plugin_api.testing import try_plugin
from tests.adapters.postgresql import account
from tests.plugins.pair import REPLICATION, SUPER, Estate, Node, eventually, plugins, programs

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
NAME = "replication_mb_lag_93"
MB = 1048576
IDLE_MB = 0.1
"""More than an idle master writes between two looks: it logs a snapshot from time to time."""


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    return house.master()


@pytest.fixture(scope="module")
def r1(house: Estate, m1: Node) -> Node:
    return house.replica("r1", m1)


async def look(master: Node, *replicas: Node, method: str = "run", of: str = "r1", at: str = "127.0.0.1") -> Result:
    """`at`: how the master is called, so that its address need not be the replica's."""
    known = [replica.server("replica") for replica in replicas]
    async with plugins(master.server("master", hostname=at), *known) as called:
        arguments = {"replicaserver": of} if method == "run" else {}
        return await called.call(Kind.REPLICATION_STATUS, NAME, method, **arguments)


def write_mb(node: Node, megabytes: int) -> None:
    node.sql(f"select pg_logical_emit_message(true, 'lag', repeat('x', {megabytes * MB}))")


async def caught_up(master: Node, replica: Node) -> None:
    end = master.value("pg_current_wal_lsn()::text")
    await eventually(
        lambda: master.sql(
            f"select 1 from pg_stat_replication where application_name = '{replica.name}' and replay_lsn >= '{end}'"
        )
    )


async def test_one_that_has_replayed_all_has_none(m1: Node, r1: Node) -> None:
    await caught_up(m1, r1)
    seen = await look(m1, r1)
    assert (seen.outcome, seen.extra["replicating"]) == (SUCCESS, True)
    assert 0 <= float(str(seen.extra["lag"])) < IDLE_MB


async def test_one_whose_replay_is_paused_lags_by_what_was_written_since_and_still_replicates(
    m1: Node, r1: Node
) -> None:
    await caught_up(m1, r1)
    r1.sql("select pg_wal_replay_pause()")
    try:
        await eventually(lambda: r1.value("pg_get_wal_replay_pause_state()") == "paused")
        write_mb(m1, 3)
        first = await look(m1, r1)
        write_mb(m1, 2)
        second = await look(m1, r1)
    finally:
        r1.sql("select pg_wal_replay_resume()")
    assert [seen.extra["replicating"] for seen in (first, second)] == [True, True]
    lags = [float(str(seen.extra["lag"])) for seen in (first, second)]
    assert 3.0 <= lags[0] < 3.5
    assert 5.0 <= lags[1] < 5.5
    await caught_up(m1, r1)
    assert float(str((await look(m1, r1)).extra["lag"])) < IDLE_MB


def write_many(master: Node) -> None:
    for _ in range(60):
        write_mb(master, 1)


async def test_on_a_busy_master_the_lag_lies_between_what_was_replayed_before_and_what_was_written_after(
    m1: Node, r1: Node
) -> None:
    busy = asyncio.create_task(asyncio.to_thread(write_many, m1))
    lags = []
    while not busy.done():
        replayed = m1.value("(select replay_lsn from pg_stat_replication where application_name = 'r1')")
        seen = await look(m1, r1)
        most = float(m1.value(f"pg_wal_lsn_diff(pg_current_wal_lsn(), '{replayed}')")) / MB
        lags.append(float(str(seen.extra["lag"])))
        assert 0 <= lags[-1] <= most + 0.001
    await busy
    assert max(lags) > 0


async def test_of_one_that_the_master_does_not_see_there_is_no_lag_and_it_does_not_replicate(m1: Node) -> None:
    seen = await look(m1, Node("r9", m1.folder, 1), of="r9")
    assert (seen.outcome, dict(seen.extra)) == (SUCCESS, {"lag": None, "replicating": False})
    assert "does not see it" in seen.details


async def test_when_it_is_stopped_it_does_not_replicate(house: Estate, m1: Node) -> None:
    replica = house.replica("r2", m1)
    await caught_up(m1, replica)
    assert (await look(m1, replica, of="r2")).extra["replicating"] is True
    replica.stop()
    seen = await look(m1, replica, of="r2")
    assert (seen.outcome, dict(seen.extra)) == (SUCCESS, {"lag": None, "replicating": False})


@pytest.mark.parametrize("at", ["127.0.0.1", "localhost"])
async def test_another_replica_on_the_same_address_is_not_taken_for_it(m1: Node, r1: Node, at: str) -> None:
    await caught_up(m1, r1)
    seen = await look(m1, r1, Node("r9", m1.folder, 1), of="r9", at=at)
    assert dict(seen.extra) == {"lag": None, "replicating": False}


async def test_a_known_replica_that_comes_from_its_address_is_not_taken_for_it(m1: Node, r1: Node) -> None:
    await caught_up(m1, r1)
    moved = r1.server("replica", hostname="localhost")
    async with plugins(
        m1.server("master", hostname="localhost"), moved, Node("r9", m1.folder, 1).server("replica")
    ) as known:
        seen = await known.call(Kind.REPLICATION_STATUS, NAME, replicaserver="r9")
    assert dict(seen.extra) == {"lag": None, "replicating": False}


async def test_one_under_another_name_is_found_by_its_address(house: Estate) -> None:
    master = house.master("m2")
    replica = house.replica("walreceiver", master)
    await caught_up(master, replica)
    seen = await look(master, Node("r1", replica.folder, replica.port), at="localhost")
    assert seen.extra["replicating"] is True
    assert float(str(seen.extra["lag"])) < IDLE_MB


@contextlib.contextmanager
def fetching(program: str, *arguments: str) -> Iterator[None]:
    """While it runs."""
    with subprocess.Popen(
        [str(programs() / program), *arguments],
        user=account(), env={"PGPASSWORD": REPLICATION}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize("who", ["pg_receivewal", "pg_basebackup"])
async def test_who_only_fetches_wal_from_its_address_is_not_taken_for_it(house: Estate, who: str, m1: Node) -> None:
    """While a replica is being cloned, the copy itself receives from its address, and replays nothing."""
    master = house.master(f"m-{who}")
    folder = house.node("archive").folder / "wal"
    where = ["-h", "127.0.0.1", "-p", str(master.port), "-U", "replication", "-D", str(folder)]
    argv = {
        "pg_receivewal": ["pg_receivewal", *where],
        "pg_basebackup": ["pg_basebackup", "-X", "stream", "-c", "fast", "--max-rate=1024", *where],
    }[who]
    folder.mkdir()
    folder.chmod(0o777)
    with fetching(*argv):
        await eventually(lambda: master.sql("select 1 from pg_stat_replication where state = 'streaming'"))
        seen = await look(master, Node("r1", master.folder, 1), at="localhost")
    assert (seen.outcome, dict(seen.extra)) == (SUCCESS, {"lag": None, "replicating": False})


def row(**known: object) -> dict[str, object]:
    usual = {"application_name": "r1", "client_addr": "10.0.0.1", "state": "streaming", "lag_mb": 0.0, "may_look": True}
    return {**usual, **known}


@pytest.mark.parametrize(
    ("seen", "lag", "replicating"),
    [
        (row(lag_mb=None), None, True),
        (row(lag_mb=0.0004), 0.0, True),
        (row(lag_mb=1.23456), 1.235, True),
        (row(state="catchup", lag_mb=5.0), None, False),
        (row(state="startup", lag_mb=None), None, False),
        (row(state="backup", lag_mb=None), None, False),
        (row(state=None, lag_mb=None), None, False),
    ],
)
def test_only_one_that_streams_replicates_and_what_is_not_told_is_not_zero(
    seen: dict[str, object], lag: float | None, replicating: bool
) -> None:
    result = try_plugin(NAME, Kind.REPLICATION_STATUS, arguments={"replicaserver": "r1"}, world=babbling(seen))
    assert isinstance(result, Result)
    assert (result.outcome, dict(result.extra)) == (SUCCESS, {"lag": lag, "replicating": replicating})


def test_of_two_connections_under_its_name_the_one_that_streams_counts() -> None:
    rows = (row(state="startup", lag_mb=None), row(lag_mb=2.0))
    result = try_plugin(NAME, Kind.REPLICATION_STATUS, arguments={"replicaserver": "r1"}, world=babbling(*rows))
    assert isinstance(result, Result)
    assert dict(result.extra) == {"lag": 2.0, "replicating": True}


async def test_while_the_master_is_away_nothing_is_said_of_the_replica(house: Estate, r1: Node) -> None:
    seen = await look(house.node("away"), r1)
    assert (seen.outcome, dict(seen.extra)) == (FAIL, {})
    assert "nothing is known" in seen.details


async def test_a_recorded_master_that_is_in_recovery_tells_nothing(r1: Node, m1: Node) -> None:
    seen = await look(Node("m1", r1.folder, r1.port), r1)
    assert (seen.outcome, dict(seen.extra)) == (FAIL, {})
    assert "recovery is in progress" in seen.details


async def test_a_role_that_may_not_look_is_told_so_and_not_that_nobody_replicates(house: Estate) -> None:
    master = house.master("m3")
    replica = house.replica("r1", master)
    await caught_up(master, replica)
    master.sql("revoke pg_monitor from handyrep")
    for method in ("run", "test"):
        seen = await look(master, replica, method=method)
        assert (seen.outcome, dict(seen.extra)) == (FAIL, {})
        assert "GRANT pg_monitor" in seen.details
        assert SUPER not in seen.details
    master.sql("grant pg_read_all_stats to handyrep")
    assert (await look(master, replica)).extra["replicating"] is True


async def test_its_test_looks(m1: Node, r1: Node) -> None:
    assert (await look(m1, r1, method="test")).outcome is SUCCESS
    assert (await look(m1, method="test")).outcome is SUCCESS
