"""A client's session on real servers: what counts as acknowledged, refused, in doubt; and the file in which it is written down."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from soak.history import Ack, Answer, Doubt, Reader, Refused, to_line
from soak.session import Door, Session, SilentError, opened

from tests.plugins.pair import OURS, Node, estate, until

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def master() -> Iterator[Node]:
    with estate() as house:
        made = house.master("m1")
        made.sql("create table written (n bigint primary key)")
        made.sql("grant select, insert on written to public")
        yield made


@contextlib.contextmanager
def session(node: Node) -> Iterator[Session]:
    with opened(Door("127.0.0.1", node.port, "handyrep", OURS), PATIENCE_S) as made:
        yield made


def test_what_is_committed_is_acknowledged_with_server_timeline_and_times(master: Node) -> None:
    before = time.monotonic()
    with session(master) as client:
        told = client.insert(1, PATIENCE_S)
        busy = client.insert(2, PATIENCE_S, busy=True)
    assert isinstance(told, Ack)
    assert (told.row, told.server, told.timeline) == (1, "127.0.0.1", 1)
    assert before < told.sent < told.heard < time.monotonic()
    assert isinstance(busy, Ack)
    assert busy.heard - busy.sent > told.heard - told.sent
    assert master.value("(select count(*) from written where n in (1, 2))") == 2


def test_an_error_in_which_the_session_goes_on_is_a_refusal(master: Node) -> None:
    with session(master) as client:
        client.insert(10, PATIENCE_S)
        assert client.insert(10, PATIENCE_S) == Refused(10)
        assert isinstance(client.insert(11, PATIENCE_S), Ack)


@pytest.mark.parametrize("ended", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_row_that_is_committed_locally_only_is_in_doubt(master: Node, ended: str) -> None:
    answers: list[Answer] = []
    row = 20 + len(ended)
    with waiting_for_nobody(master), session(master) as client:
        thread = threading.Thread(target=lambda: answers.append(client.insert(row, PATIENCE_S)))
        thread.start()
        waits = "from pg_stat_activity where wait_event = 'SyncRep'"
        until(lambda: master.value(f"(select count(*) {waits})") == 1, master)
        master.sql(f"select {ended}(pid) {waits}")
        thread.join()
    assert [(type(answer), answer.row) for answer in answers] == [(Doubt, row)]
    assert master.value(f"(select count(*) from written where n = {row})") == 1, (
        "it is there, and nobody was promised it"
    )


def test_no_answer_in_time_is_doubt_and_the_end_of_the_session(master: Node) -> None:
    with waiting_for_nobody(master), session(master) as client:
        told = client.insert(50, 0.3)
        assert isinstance(told, Doubt)
        assert client.is_over


def test_who_takes_the_connection_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        door = Door("127.0.0.1", silent.getsockname()[1], "handyrep", "x")
        with pytest.raises(SilentError), opened(door, 0.2):
            raise AssertionError("nobody is there")


def test_a_history_is_read_as_it_grows_and_a_half_written_line_is_left(tmp_path: Path) -> None:
    file = tmp_path / "history"
    told, doubt = Ack(1, "10.0.0.1", 2, 3.5, 4.5), Doubt(2, 5.5)
    first, second = to_line(told, "a"), to_line(doubt, "bouncer1")
    file.write_text(first + second[:5])
    reader = Reader(file)
    reader.read()
    assert (reader.acks, reader.doubts) == ([Ack(1, "10.0.0.1", 2, 3.5, 4.5, "a")], [])
    with file.open("a") as more:
        more.write(second[5:])
    reader.read()
    reader.read()
    assert (len(reader.acks), reader.doubts) == (1, [Doubt(2, 5.5, "bouncer1")])


@contextlib.contextmanager
def waiting_for_nobody(node: Node) -> Iterator[None]:
    node.sql("alter system set synchronous_standby_names = 'nobody'")
    node.sql("select pg_reload_conf()")
    until(lambda: node.value("current_setting('synchronous_standby_names')"), node)
    try:
        yield
    finally:
        node.sql("alter system reset synchronous_standby_names")
        node.sql("select pg_reload_conf()")
        until(lambda: not node.value("current_setting('synchronous_standby_names')"), node)
