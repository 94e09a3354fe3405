"""Read-only names follow lag: a replica beyond its lag_limit gets no new readers until it is fit again, and nobody is cut off for it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Cluster, Member
from handyrep.model.result import Result
from handyrep.model.status import Health
from handyrep.plugins._bouncer_places import readers
from tests.adapters.postgresql import running_postgresql
from tests.factories import make_member, make_server
from tests.plugins.bouncers import Bouncer, Pair, bouncer, cluster_of, managed, port_seen, postgres_server

SUCCESS, FAIL = Outcome.SUCCESS, Outcome.FAIL
HEALTHY, LAGGED, UNAVAILABLE = Health.HEALTHY, Health.LAGGED, Health.UNAVAILABLE


@dataclasses.dataclass
class Trio(Pair):
    """And another replica."""

    other: int = 1
    """Nobody listens there."""


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with running_postgresql() as one, running_postgresql() as two:
        yield Trio(one, two)


@pytest.fixture(params=["session", "transaction"])
def one(trio: Trio, request: pytest.FixtureRequest) -> Iterator[Bouncer]:
    with bouncer(trio.master.port, pool_mode=request.param) as made:
        yield made


def cluster_in(
    trio: Trio, it: Bouncer, r1: Health, r2: Health = UNAVAILABLE, in_recovery: Answer = Answer.YES
) -> Cluster:
    """r1 is first in order, and answers. `in_recovery`: what is known of r1."""

    def replica(name: str, port: int, health: Health) -> Member:
        server = postgres_server(trio.replica, name, "replica", port=port)
        return dataclasses.replace(make_member(server, health), in_recovery=in_recovery)

    master = postgres_server(trio.master, "m1", "master")
    return cluster_of(master, replica("r1", trio.replica.port, r1), replica("r2", trio.other, r2), it.server())


@dataclasses.dataclass
class Led:
    """A pgbouncer, and the plugin in whatever state the cluster is."""

    trio: Trio
    it: Bouncer
    templates: Path
    options: dict[str, str]

    async def call(self, method: str, r1: Health, r2: Health = UNAVAILABLE, in_recovery: Answer = Answer.YES) -> Result:
        cluster = cluster_in(self.trio, self.it, r1, r2, in_recovery)
        async with managed(cluster, self.it.ini, self.templates, **self.options) as plugin:
            return await plugin.call(method)

    def readers(self) -> dict[str, int]:
        return {name: port for name, port in self.it.leads().items() if name.startswith("postgres_ro")}


def led(trio: Trio, it: Bouncer, templates: Path, **options: str) -> Led:
    return Led(trio, it, templates, options)


async def test_a_replica_leaves_the_name_when_it_lags_and_comes_back_when_it_is_fit(
    trio: Trio, one: Bouncer, tmp_path: Path
) -> None:
    it = led(trio, one, tmp_path)
    for r1, r2, port in (
        (HEALTHY, HEALTHY, trio.replica.port),
        (LAGGED, HEALTHY, trio.other),
        (LAGGED, LAGGED, trio.master.port),
        (UNAVAILABLE, UNAVAILABLE, trio.master.port),
        (HEALTHY, LAGGED, trio.replica.port),
    ):
        assert (await it.call("run", r1, r2)).outcome is SUCCESS
        assert it.readers() == {"postgres_ro": port}
        assert (await it.call("leads", r1, r2)).outcome is SUCCESS


@pytest.mark.parametrize(("last_well", "stays"), [(HEALTHY, True), (LAGGED, False), (None, False)])
def test_a_warning_about_its_host_moves_no_reader(last_well: Health | None, stays: bool) -> None:
    warned = make_member(make_server("r1", "replica"), Health.WARNING, last_well=last_well)
    assert (readers(cluster_of(make_server("m1", "master"), warned), "m1") != ()) is stays


async def test_with_all_replicas_those_that_lag_have_no_number(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    it = led(trio, one, tmp_path, all_replicas="True")
    await it.call("run", HEALTHY, HEALTHY)
    assert it.readers() == {"postgres_ro1": trio.replica.port, "postgres_ro2": trio.other}
    found = await it.call("leads", LAGGED, HEALTHY)
    assert found.extra["behind"] == {"b1": "postgres_ro1, postgres_ro2 should not lead where they do"}
    assert (await it.call("run", LAGGED, HEALTHY)).outcome is SUCCESS
    assert it.readers() == {"postgres_ro1": trio.other}
    await it.call("run", LAGGED, LAGGED)
    assert it.readers() == {"postgres_ro1": trio.master.port}


async def test_a_reader_at_work_on_a_replica_that_lags_is_not_cut_off(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    it = led(trio, one, tmp_path)
    await it.call("run", HEALTHY)
    with one.connect("postgres_ro") as reader:
        reader.execute("begin")
        assert port_seen(reader) == trio.replica.port
        moved = await it.call("run", LAGGED)
        assert moved.outcome is SUCCESS, moved
        assert "sessions of postgres_ro stay at the old place" in moved.details
        assert port_seen(reader) == trio.replica.port
        with one.connect("postgres_ro") as new:
            assert port_seen(new) == trio.master.port
        reader.execute("commit")
    with one.connect("postgres_ro") as new:
        assert port_seen(new) == trio.master.port


@pytest.mark.parametrize("in_recovery", [Answer.NO, Answer.UNKNOWN])
async def test_one_at_a_server_that_may_take_writes_is(
    trio: Trio, one: Bouncer, tmp_path: Path, in_recovery: Answer
) -> None:
    it = led(trio, one, tmp_path)
    await it.call("run", HEALTHY)
    with one.connect("postgres_ro") as reader:
        reader.execute("begin")
        port_seen(reader)
        assert (await it.call("run", LAGGED, in_recovery=in_recovery)).outcome is SUCCESS
        with pytest.raises(psycopg.Error):
            port_seen(reader)


async def test_a_writer_at_a_replica_is_cut_off_always(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    it = led(trio, one, tmp_path)
    async with managed(cluster_in(trio, one, HEALTHY), one.ini, tmp_path) as plugin:
        await plugin.call("run", newmaster="r1")
    with one.connect() as writer:
        writer.execute("begin")
        assert port_seen(writer) == trio.replica.port
        assert (await it.call("run", HEALTHY)).outcome is SUCCESS
        with pytest.raises(psycopg.Error):
            port_seen(writer)


async def test_a_deposed_master_keeps_no_reader(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    it = led(trio, one, tmp_path)
    await it.call("run", HEALTHY)
    with one.connect("postgres_ro") as reader:
        reader.execute("begin")
        port_seen(reader)
        cluster = dataclasses.replace(cluster_in(trio, one, LAGGED), deposed=("r1",))
        async with managed(cluster, one.ini, tmp_path) as plugin:
            assert (await plugin.call("run")).outcome is SUCCESS
        with pytest.raises(psycopg.Error):
            port_seen(reader)


async def test_one_that_comes_back_with_an_old_file_is_found(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    async with managed(cluster_in(trio, one, HEALTHY), one.ini, tmp_path) as plugin:
        assert (await plugin.call("leads")).outcome is SUCCESS, (
            "a file that HandyRep never wrote, and it leads to the master"
        )
        await plugin.call("run", newmaster="r1")
        found = await plugin.call("leads")
        assert (found.outcome, set(found.extra["behind"])) == (FAIL, {"b1"})
        assert (await plugin.call("block")).outcome is SUCCESS
        assert "behind" not in (await plugin.call("leads")).extra, "clients that are held back are led nowhere"
        one.stop()
        assert "behind" not in (await plugin.call("leads")).extra


async def test_a_file_that_handyrep_never_wrote_is_left_alone_unless_writers_are_led_astray(
    trio: Trio, one: Bouncer, tmp_path: Path
) -> None:
    one.stop()
    one.configure(trio.replica.port)
    one.start()
    async with managed(cluster_in(trio, one, HEALTHY), one.ini, tmp_path) as plugin:
        found = await plugin.call("leads")
    assert found.extra["behind"] == {"b1": "postgres should not lead where they do"}


async def test_a_new_template_is_no_reason_to_push_it(trio: Trio, one: Bouncer, tmp_path: Path) -> None:
    it = led(trio, one, tmp_path)
    await it.call("run", HEALTHY)
    it.options["extra_connect_param"] = "pool_size=3"
    assert (await it.call("leads", HEALTHY)).outcome is SUCCESS
