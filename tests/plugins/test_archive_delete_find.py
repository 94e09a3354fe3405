"""archive_delete_find: what is old and needed by nobody goes, on a real archive beside a real master and replica."""

import contextlib
import os
import string
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.hosts import RealHosts
from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from handyrep.plugins._wal_archive import before, first_of_backup, position
from handyrep.ports import Row
from tests.adapters.ports import free_port
from tests.adapters.postgresql import PASSWORD, PostgreSQL, databases, running_postgresql, short_folder
from tests.factories import make_settings
from tests.plugins.bouncers import cluster_of, owner
from tests.plugins.replica import replica_of

OLD_S = 100 * 3600
Needs = dict[str, tuple[str, str | None]]


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


class Saying:
    """Servers that say which segments they need; one that is left out does not answer."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    async def query(self, server: Server, statement: str, *_: Any, **__: Any) -> tuple[Row, ...]:
        if server.name not in self.needs:
            raise NoAnswerError("gone", server=server.name)
        redo, slot = self.needs[server.name]
        return ({"redo": redo, "slot": slot},)


@pytest.fixture
def archive() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def fill(archive: Path, *names: str, age_s: float = OLD_S) -> None:
    for name in names:
        (archive / name).write_text("")
        os.utime(archive / name, times=(time.time() - age_s,) * 2)


@contextlib.contextmanager
def read_only(archive: Path) -> Iterator[None]:
    archive.chmod(0o555)
    try:
        yield
    finally:
        archive.chmod(0o755)


def left(archive: Path) -> set[str]:
    return {path.name for path in archive.iterdir()}


def a_cluster(folder: Path, **changes: Any) -> Cluster:
    here = {"control": "local", "postgres_os_user": owner(), "hostname": "127.0.0.1"}
    roles = {"m1": "master", "r1": "replica", "r2": "replica", "a1": "archive"}
    return cluster_of(*(Server(**{"name": name, "role": role, **here, **changes}) for name, role in roles.items()))


class Cleaner:
    """The plugin, called with what it remembers."""

    def __init__(self, archive: Path | str, needs: Any, cluster: Cluster | None = None, **options: str) -> None:
        self.hosts = RealHosts()
        self.cluster = cluster or a_cluster(Path(archive))
        settings = make_settings(
            servers=self.cluster.servers,
            archive={"archive_server": "a1", "archive_directory": str(archive)},
            plugins={"archive_delete_find": options},
        )
        world = World(settings, self.hosts, needs if hasattr(needs, "query") else Saying(needs), SystemClock())
        self.caller = Caller(Registry(), world)

    async def call(self, method: str = "run") -> Result:
        return await self.caller.call(
            Kind.ARCHIVE_DELETE, "archive_delete_find", method, cluster=self.cluster, deadline_s=20
        )


ALL_NEED_5: Needs = {name: (segment(5), None) for name in ("m1", "r1", "r2")}


async def test_h5_only_wal_goes_that_is_old_and_needed_by_nobody(archive: Path) -> None:
    odd = (
        "00000002.history", f"{segment(1)}.partial", f"{segment(1)}.history", segment(1).lower()[:-1] + "a", segment(1)[:-1],
        segment(1) + "0", f"x{segment(1)}", f"{segment(1)}.txt", f"{segment(1)} ", f"{segment(1)}\n", "-rf", "core", f".{segment(1)}",
    )  # fmt: skip
    fill(archive, *(segment(n) for n in range(8)), f"{segment(2)}.gz", segment(3, timeline=2), *odd)
    fill(archive, segment(0, timeline=3), age_s=60)
    (archive / segment(4, timeline=4)).mkdir()
    (archive / segment(4, timeline=5)).symlink_to("/etc/passwd")
    (archive / "folder").mkdir()
    fill(archive / "folder", segment(1))
    result = await Cleaner(archive, ALL_NEED_5).call()
    assert (result.outcome, result.extra["deleted"], result.extra["needed"]) == (Outcome.SUCCESS, 7, segment(5))
    kept = {segment(5), segment(6), segment(7), segment(0, timeline=3), segment(4, timeline=4), segment(4, timeline=5)}
    assert left(archive) == {*kept, *odd, "folder"}
    assert left(archive / "folder") == {segment(1)}


@pytest.mark.parametrize(
    ("needs", "needed"),
    [
        ({"r2": (segment(2), None)}, 2),
        ({"m1": (segment(5), segment(3))}, 3),
        ({"m1": (segment(3), segment(5))}, 3),
        ({"r1": (segment(1, timeline=9), None)}, 1),
        ({"r1": (segment(0), None)}, 0),
    ],
)
async def test_h5_what_the_neediest_needs_stays(archive: Path, needs: Needs, needed: int) -> None:
    fill(archive, *(segment(n) for n in range(8)))
    assert (await Cleaner(archive, ALL_NEED_5 | needs).call()).outcome is Outcome.SUCCESS
    assert left(archive) == {segment(n) for n in range(needed, 8)}


async def test_what_a_kept_base_backup_needs_stays_and_a_clone_is_none(archive: Path) -> None:
    labels = {3: "nightly", 4: "nightly", 1: "HandyRep clone"}
    fill(archive, *(segment(n) for n in range(8)), "not-a-segment.backup")
    for number, label in labels.items():
        (archive / f"{segment(number)}.00000028.backup").write_text(f"START WAL LOCATION: 0/1\nLABEL: {label}\n")
    cleaner = Cleaner(archive, ALL_NEED_5)
    assert (await cleaner.call()).extra["needed"] == segment(3)
    for keep, needed in (("1", 4), ("0", 5)):
        assert (await Cleaner(archive, ALL_NEED_5, keep_backups=keep).call()).extra["needed"] == segment(needed)
    assert len([name for name in left(archive) if name.endswith(".backup")]) == 4


async def test_a_silent_replica_counts_with_what_it_last_needed_and_is_named(archive: Path) -> None:
    fill(archive, *(segment(n) for n in range(8)))
    needs = ALL_NEED_5 | {"r2": (segment(2), None)}
    cleaner = Cleaner(archive, needs)
    await cleaner.call()
    needs |= {name: (segment(7), None) for name in ("m1", "r1")}
    del needs["r2"]
    result = await cleaner.call()
    assert result.outcome is Outcome.SUCCESS
    assert "r2 did not answer" in result.details
    assert left(archive) == {segment(n) for n in range(2, 8)}


@pytest.mark.parametrize("needs", [{}, {"m1": (segment(5), None), "r1": (segment(5), None)}])
async def test_h5_without_knowing_what_is_needed_nothing_is_deleted(archive: Path, needs: Needs) -> None:
    fill(archive, segment(1))
    for method in ("run", "test"):
        result = await Cleaner(archive, needs).call(method)
        assert result.outcome is Outcome.FAIL
        assert "r2 (gone)" in result.details
    assert left(archive) == {segment(1)}


@pytest.mark.parametrize("odd", ["", "x", "00000001", segment(5).lower() + "f"])
async def test_an_answer_that_is_no_segment_deletes_nothing(archive: Path, odd: str) -> None:
    fill(archive, segment(1))
    result = await Cleaner(archive, ALL_NEED_5 | {"r1": (odd, None)}).call()
    assert result.outcome is Outcome.FAIL
    assert left(archive) == {segment(1)}


@pytest.mark.parametrize("inside", ["archive_status", "PG_VERSION"])
async def test_the_directory_of_a_postgresql_is_no_archive(archive: Path, inside: str) -> None:
    fill(archive, segment(1))
    (archive / inside).mkdir()
    for method in ("run", "test"):
        result = await Cleaner(archive, ALL_NEED_5).call(method)
        assert result.outcome is Outcome.FAIL
        assert "it is no archive" in result.details
    assert segment(1) in left(archive)


@pytest.mark.parametrize("folder", ["", "/", "///", "/nonexistent/archive"])
async def test_a_folder_that_is_none_is_refused(folder: str) -> None:
    for method in ("run", "test"):
        result = await Cleaner(folder, ALL_NEED_5, cluster=a_cluster(Path("/"))).call(method)
        assert result.outcome is Outcome.FAIL


async def test_a_folder_with_an_odd_name_is_only_a_folder(archive: Path) -> None:
    odd = archive / "a b; $(touch canary) 'x' -delete"
    odd.mkdir()
    odd.chmod(0o777)
    fill(odd, segment(1))
    assert (await Cleaner(odd, ALL_NEED_5).call()).outcome is Outcome.SUCCESS
    assert left(odd) == set()
    assert left(archive) == {odd.name}


async def test_a_file_that_cannot_be_deleted_is_told(archive: Path) -> None:
    fill(archive, segment(1))
    with read_only(archive):
        result = await Cleaner(archive, ALL_NEED_5).call()
    assert result.outcome is Outcome.FAIL
    assert "could be deleted" in result.details


async def test_thousands_of_files_go_at_once(archive: Path) -> None:
    fill(archive, *(segment(n) for n in range(5000)))
    needs: Needs = {name: (segment(4990), None) for name in ("m1", "r1", "r2")}
    assert (await Cleaner(archive, needs).call()).extra["deleted"] == 4990


NUMBERS = st.integers(0, 2**20)


@given(st.lists(st.tuples(NUMBERS, st.integers(1, 2**32 - 1)), max_size=20), NUMBERS)
def test_only_what_lies_before_is_named(names: list[tuple[int, int]], needed: int) -> None:
    files = [segment(number, timeline) for number, timeline in names]
    assert set(before(files, segment(needed))) == {f for (n, _), f in zip(names, files, strict=True) if n < needed}


@given(st.text(string.hexdigits + ".gzbackuphistory- /\n", max_size=45))
def test_any_other_name_stays(name: str) -> None:
    gone = before([name], "F" * 24)
    assert gone == ([name] if name[:24].upper() == name[:24] and len(name) in (24, 27, 28) and gone else [])
    assert all(character in string.hexdigits for name in gone for character in name[:24])


def test_the_name_of_a_label_tells_where_its_backup_begins() -> None:
    assert first_of_backup(f"{segment(3)}.00000028.backup") == segment(3)
    assert first_of_backup(f"{segment(3)}.00000028.backup.gz") == segment(3)
    assert first_of_backup("old.backup") == ""
    assert position(segment(3, timeline=7)) == position(segment(3))


@pytest.fixture(scope="module")
def master() -> Iterator[PostgreSQL]:
    with running_postgresql() as running:
        yield running


@contextlib.asynccontextmanager
async def real(archive: Path, master: PostgreSQL, replica: PostgreSQL) -> AsyncIterator[Cleaner]:
    db = databases()
    here = {"control": "local", "postgres_os_user": owner()}
    cluster = cluster_of(
        master.server("m1", role="master"),
        replica.server("r1", role="replica"),
        Server(name="a1", role="archive", hostname="127.0.0.1", port=free_port(), **here),  # type: ignore[arg-type]
    )
    try:
        yield Cleaner(archive, db, cluster)
    finally:
        await db.close()


async def test_real_servers_say_what_they_need(archive: Path, master: PostgreSQL) -> None:
    with (
        replica_of(master) as replica,
        psycopg.connect(
            host="127.0.0.1", port=master.port, user="postgres", password=PASSWORD, dbname="postgres", autocommit=True
        ) as sql,
    ):
        sql.execute("select pg_create_physical_replication_slot('kept', true)")
        for _ in range(3):
            sql.execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
        sql.execute("checkpoint")
        slot = sql.execute("select pg_walfile_name(restart_lsn) from pg_replication_slots").fetchone()
        now = sql.execute("select pg_walfile_name(pg_current_wal_lsn())").fetchone()
        assert slot is not None
        assert now is not None
        assert slot[0] < now[0]
        async with real(archive, master, replica) as cleaner:
            assert (await cleaner.call("test")).outcome is Outcome.SUCCESS
            fill(archive, segment(0), slot[0], now[0])
            result = await cleaner.call()
            assert result.outcome is Outcome.SUCCESS, result
            assert result.extra["needed"] <= slot[0]
            assert left(archive) >= {slot[0], now[0]}
            assert segment(0) not in left(archive)
            replica.stop()
            result = await cleaner.call()
            assert result.outcome is Outcome.SUCCESS
            assert "r1 did not answer" in result.details
            replica.start()
