"""The Databases port on a real PostgreSQL: answers, errors, silence, and what each says about the server."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handyrep.adapters.libpq import APPLICATION_NAME, _refused
from handyrep.adapters.postgres import RealDatabases
from handyrep.errors import DatabaseError, HandyRepError, NoAnswerError, RefusedError
from handyrep.model.server import Server
from handyrep.ports import Login
from tests.adapters.postgresql import PASSWORD, PostgreSQL, databases, running_postgresql
from tests.adapters.silent import silent_server
from tests.adapters.test_quoting import NASTY

DEADLINE_S = 10.0
PID = "select pg_backend_pid() as pid"


@pytest.fixture
async def db() -> AsyncIterator[RealDatabases]:
    """The adapter."""
    made = databases()
    yield made
    await made.close()


async def pid_of(db: RealDatabases, server: Server, **how: Any) -> int:
    """The backend that answers."""
    (row,) = await db.query(server, PID, deadline_s=DEADLINE_S, **how)
    return int(row["pid"])


async def test_rows_have_their_columns_names(db: RealDatabases, postgresql: PostgreSQL) -> None:
    rows = await db.query(
        postgresql.server(), "select g as n, %s as t from generate_series(1, 2) g", ("x",), deadline_s=DEADLINE_S
    )
    assert rows == ({"n": 1, "t": "x"}, {"n": 2, "t": "x"})


async def test_a_statement_without_rows_gives_none(db: RealDatabases, postgresql: PostgreSQL) -> None:
    assert await db.query(postgresql.server(), "create table if not exists t0 ()", deadline_s=DEADLINE_S) == ()


async def test_the_held_connection_is_used_again_and_a_fresh_one_is_not_kept(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    first = await pid_of(db, postgresql.server())
    fresh = await pid_of(db, postgresql.server(), fresh=True)
    assert fresh != first
    assert await pid_of(db, postgresql.server()) == first
    assert await pid_of(db, postgresql.server(role="master")) == first
    assert await pid_of(db, postgresql.server(), database="template1") != first
    assert await pid_of(db, postgresql.server(), login=Login.SUPERUSER) != first


async def test_it_says_who_it_is(db: RealDatabases, postgresql: PostgreSQL) -> None:
    (row,) = await db.query(postgresql.server(), "show application_name", deadline_s=DEADLINE_S)
    assert row["application_name"] == APPLICATION_NAME


async def test_every_statement_is_committed_at_once(db: RealDatabases, postgresql: PostgreSQL) -> None:
    await db.query(postgresql.server(), "create table t1 (a int)", deadline_s=DEADLINE_S)
    (row,) = await db.query(postgresql.server(), "select count(*) as n from t1", deadline_s=DEADLINE_S, fresh=True)
    assert row["n"] == 0


async def test_a_connection_with_an_open_transaction_is_not_kept(db: RealDatabases, postgresql: PostgreSQL) -> None:
    first = await pid_of(db, postgresql.server())
    await db.query(postgresql.server(), "begin", deadline_s=DEADLINE_S)
    assert await pid_of(db, postgresql.server()) != first


async def test_an_error_is_an_answer_with_its_sqlstate_and_the_connection_stays(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    first = await pid_of(db, postgresql.server())
    with pytest.raises(DatabaseError, match="division by zero") as caught:
        await db.query(postgresql.server(), "select 1/0", deadline_s=DEADLINE_S)
    assert (caught.value.sqlstate, caught.value.server) == ("22012", "pg")
    assert await pid_of(db, postgresql.server()) == first


async def test_a21_a22_refused_logins_are_answers_with_their_sqlstate(postgresql: PostgreSQL) -> None:
    server = postgresql.server()
    assert await state_of_refusal(databases(password="wrong"), server) == "28P01"
    assert await state_of_refusal(databases(user="no'body"), server) == "28P01"
    assert await state_of_refusal(databases(), server, database="no such") == "3D000"
    assert await state_of_refusal(databases(), server, database="template0") == "55000"


async def test_a13_a_full_server_is_alive(postgresql: PostgreSQL) -> None:
    many = [databases() for _ in range(16)]
    answers = await asyncio.gather(
        *(one.query(postgresql.server(), "select pg_sleep(0.5)", deadline_s=DEADLINE_S) for one in many),
        return_exceptions=True,
    )
    for one in many:
        await one.close()
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert refused
    assert {getattr(answer, "sqlstate", answer) for answer in refused} == {"53300"}


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [
        ('connection failed: connection to server at "1.2.3.4", port 5432 failed: FATAL:  the database system is starting up', "57P03"),
        ("connection failed: FATAL:  the database system is shutting down", "57P03"),
        ('connection to server at "a" (::1), port 1 failed: Connection refused\nconnection to server at "a" failed: FATAL:  sorry, too many clients already', "53300"),
        ("connection failed: ВАЖНО:  система баз данных запускается", ""),
        ("connection failed: 致命错误:  数据库系统启动中", ""),
        ('connection failed: connection to server at "x", port 1 failed: FATAL:  no pg_hba.conf entry for host "x", user "y"', "28000"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "53300"),
    ],
)  # fmt: skip
def test_a_servers_own_words_are_known_in_any_language(text: str, sqlstate: str) -> None:
    error = _refused(text, "pg")
    assert isinstance(error, DatabaseError)
    assert error.sqlstate == sqlstate


@pytest.mark.parametrize(
    "text",
    [
        'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused\n\tIs the server running on that host?',
        "failed to resolve host 'x': [Errno -2] Name or service not known",
        "connection timeout expired",
        'connection to server at "127.0.0.1", port 5 failed: server closed the connection unexpectedly\n\tThis probably means',
        'connection to server at "127.0.0.1", port 5 failed: received invalid response to SSL negotiation: H',
        'connection to server at "1.1.1.1", port 5 failed: SSL error: certificate verify failed',
        "Verbindung zum Server auf »127.0.0.1«, Port 1 fehlgeschlagen: Verbindungsaufbau abgelehnt",
        "",
    ],
)  # fmt: skip
def test_libpqs_own_words_are_no_answer(text: str) -> None:
    assert type(_refused(text, "pg")) is NoAnswerError


async def test_b11_refusal_and_unknown_names_are_no_answer(db: RealDatabases, postgresql: PostgreSQL) -> None:
    for server in (postgresql.server(port=1), postgresql.server(hostname="no-such-host.invalid")):
        with pytest.raises(NoAnswerError) as caught:
            await db.query(server, "select 1", deadline_s=DEADLINE_S)
        assert caught.value.server == "pg"


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"N", b"\0" * 5000])
async def test_a_server_that_says_nothing_sensible_stalls_nobody(
    db: RealDatabases, postgresql: PostgreSQL, says: bytes, sslmode: str
) -> None:
    async with silent_server(says) as port:
        started = time.monotonic()
        silent = asyncio.create_task(
            db.query(postgresql.server("silent", port=port, sslmode=sslmode), "select 1", deadline_s=1.0)
        )
        assert await pid_of(db, postgresql.server()) > 0
        with pytest.raises(NoAnswerError):
            await silent
        assert time.monotonic() - started < 5


async def test_after_a_deadline_nothing_is_sent_behind_and_nobody_waits(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    first = await pid_of(db, postgresql.server())
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match="did not answer within"):
        await db.query(postgresql.server(), "select pg_sleep(7)", deadline_s=0.3)
    assert time.monotonic() - started < 3
    assert await pid_of(db, postgresql.server()) != first


async def test_a_stopped_backend_does_not_hold_the_caller(db: RealDatabases, postgresql: PostgreSQL) -> None:
    """It answers neither the statement nor a cancel."""
    backend = await pid_of(db, postgresql.server())
    postgresql.send_signal(backend, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(NoAnswerError):
            await db.query(postgresql.server(), "select 1", deadline_s=0.3)
        assert time.monotonic() - started < 3
        assert await pid_of(db, postgresql.server()) != backend
    finally:
        postgresql.send_signal(backend, signal.SIGCONT)


async def test_a_long_statement_keeps_no_other_waiting(db: RealDatabases, postgresql: PostgreSQL) -> None:
    slow = asyncio.create_task(db.query(postgresql.server(), "select pg_sleep(4)", deadline_s=DEADLINE_S))
    await asyncio.sleep(0.2)
    (row,) = await db.query(postgresql.server(), "select 1 as one", deadline_s=2)
    assert row["one"] == 1
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_session_ended_under_a_statement_is_no_answer(db: RealDatabases, postgresql: PostgreSQL) -> None:
    """What the statement did before is not known, so it is not a refusal; and somebody should look at that server."""
    lost: list[str] = []
    db.on_lost = lost.append
    with pytest.raises(NoAnswerError, match="ended the session"):
        await db.query(postgresql.server(), "select pg_terminate_backend(pg_backend_pid())", deadline_s=DEADLINE_S)
    assert await pid_of(db, postgresql.server()) > 0
    assert lost == ["pg"]


async def test_a_statement_that_is_refused_or_too_slow_is_no_loss(db: RealDatabases, postgresql: PostgreSQL) -> None:
    lost: list[str] = []
    db.on_lost = lost.append
    with pytest.raises(DatabaseError):
        await db.query(postgresql.server(), "select 1/0", deadline_s=DEADLINE_S)
    with pytest.raises(NoAnswerError, match="did not answer within"):
        await db.query(postgresql.server(), "select pg_sleep(60)", deadline_s=0.2)
    assert lost == []


async def test_a_held_connection_ended_while_idle_is_told_and_replaced(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    db.on_lost = lost.put_nowait
    first = await pid_of(db, postgresql.server())
    await db.query(postgresql.server(), "select pg_terminate_backend(%s)", (first,), deadline_s=DEADLINE_S, fresh=True)
    async with asyncio.timeout(DEADLINE_S):
        assert await lost.get() == "pg"
    assert await pid_of(db, postgresql.server()) != first
    assert lost.empty()


async def test_b12_a_held_connection_ended_just_before_use_is_replaced_unseen(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    """Without a turn of the loop between: what the server said before it closed is not taken for an answer."""
    first = await pid_of(db, postgresql.server())
    postgresql.send_signal(first, signal.SIGTERM)
    time.sleep(0.5)  # noqa: ASYNC251 - the loop must not turn
    assert await pid_of(db, postgresql.server()) != first


async def test_a_change_of_settings_does_not_look_like_a_loss(db: RealDatabases, postgresql: PostgreSQL) -> None:
    """PostgreSQL tells idle sessions of some settings."""
    lost: list[str] = []
    db.on_lost = lost.append
    first = await pid_of(db, postgresql.server())
    for value in ("'ISO, DMY'", "default"):
        await db.query(postgresql.server(), f"alter system set datestyle = {value}", deadline_s=DEADLINE_S, fresh=True)
        await db.query(postgresql.server(), "select pg_reload_conf()", deadline_s=DEADLINE_S, fresh=True)
        await asyncio.sleep(0.3)
    assert await pid_of(db, postgresql.server()) == first
    assert lost == []


async def test_a_server_that_moved_leaves_no_connection_behind(db: RealDatabases, postgresql: PostgreSQL) -> None:
    old = await pid_of(db, postgresql.server())
    new = await pid_of(db, postgresql.server(hostname="localhost"))
    assert new != old
    await asyncio.sleep(0.2)
    rows = await db.query(
        postgresql.server(hostname="localhost"),
        "select 1 from pg_stat_activity where pid = %s",
        (old,),
        deadline_s=DEADLINE_S,
    )
    assert rows == ()


async def test_a_killed_server_is_told_and_its_return_is_seen(db: RealDatabases) -> None:
    with running_postgresql() as own:
        lost: asyncio.Queue[str] = asyncio.Queue()
        db.on_lost = lost.put_nowait
        assert await pid_of(db, own.server()) > 0
        own.stop(signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            assert await lost.get() == "pg"
        with pytest.raises(NoAnswerError):
            await db.query(own.server(), "select 1", deadline_s=DEADLINE_S)
        own.start()
        assert await pid_of(db, own.server()) > 0


async def test_backends_that_die_without_a_word_are_told_and_their_statements_unknown(db: RealDatabases) -> None:
    with running_postgresql() as own:
        lost: asyncio.Queue[str] = asyncio.Queue()
        db.on_lost = lost.put_nowait
        own.send_signal(await pid_of(db, own.server()), signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            assert await lost.get() == "pg"
        await asyncio.to_thread(own.wait_until_ready)
        asked = "select pg_sleep(30)"
        running = asyncio.create_task(db.query(own.server(), asked, deadline_s=DEADLINE_S, login=Login.SUPERUSER))
        await asyncio.sleep(0.3)
        find = "select pid from pg_stat_activity where query = %s"
        (row,) = await db.query(own.server(), find, (asked,), deadline_s=DEADLINE_S)
        own.send_signal(row["pid"], signal.SIGKILL)
        with pytest.raises(NoAnswerError, match="broke"):
            await running


async def test_parallel_calls_leave_one_connection(db: RealDatabases, postgresql: PostgreSQL) -> None:
    pids = set(await asyncio.gather(*(pid_of(db, postgresql.server()) for _ in range(6))))
    await asyncio.sleep(0.3)
    count = "select count(*) as n from pg_stat_activity where pid = any(%s)"
    (row,) = await db.query(postgresql.server(), count, (list(pids),), deadline_s=DEADLINE_S)
    assert len(pids) > 1
    assert row["n"] == 1


async def test_a_statement_that_does_not_fit_its_values_is_refused_unsent(
    db: RealDatabases, postgresql: PostgreSQL
) -> None:
    first = await pid_of(db, postgresql.server())
    for statement, values in (
        ("select %s, %s", ("a",)),
        ("select %s", ("a\0b",)),
        ("select %s", (object(),)),
        ("select '\ud800'", ()),
    ):
        with pytest.raises(RefusedError):
            await db.query(postgresql.server(), statement, values, deadline_s=DEADLINE_S)
    assert await pid_of(db, postgresql.server()) == first


async def test_libpqs_variables_do_not_redirect_anything(
    db: RealDatabases, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGOPTIONS", "-c search_path=evil"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCLIENTENCODING", "SQL_ASCII"),
        ("PGDATABASE", "evil"),
    ):
        monkeypatch.setenv(name, value)
    (row,) = await db.query(
        postgresql.server(), "select current_setting('search_path') as p, 'é' as e", deadline_s=DEADLINE_S
    )
    assert (row["p"], row["e"]) == ('"$user", public', "é")


async def test_the_console_of_a_pgbouncer_answers(db: RealDatabases, pgbouncer: int) -> None:
    server = Server(name="bouncer", hostname="127.0.0.1", port=pgbouncer, sslmode="prefer")
    console = {"login": Login.BOUNCER_ADMIN, "database": "pgbouncer", "deadline_s": DEADLINE_S}
    rows = await db.query(server, "show databases", **console)  # type: ignore[arg-type]
    assert rows[0]["name"] == "pgbouncer"
    for command in ("reload", "pause", "resume"):
        assert await db.query(server, command, **console) == ()  # type: ignore[arg-type]
    with pytest.raises(DatabaseError, match="frobnicate"):
        await db.query(server, "frobnicate", **console)  # type: ignore[arg-type]
    assert (
        await state_of_refusal(databases("wrong"), server, login=Login.BOUNCER_ADMIN, database="pgbouncer") == "28P01"
    )


async def test_an_answer_that_is_no_text_is_an_error(
    db: RealDatabases, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def execute(*_: object) -> None:
        b"\xff".decode()

    monkeypatch.setattr("handyrep.adapters.libpq.Connection.execute", execute)
    with pytest.raises(DatabaseError, match="UTF-8"):
        await db.query(postgresql.server(), "select 1", deadline_s=DEADLINE_S)


async def test_no_password_is_ever_told(
    db: RealDatabases, postgresql: PostgreSQL, pgbouncer: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when the server quotes it, nor when it refuses it, nor in the most talkative log."""
    caplog.set_level(logging.DEBUG)
    wrong = databases(PASSWORD, "nobody at all")
    quoting = ("select %s::int", (PASSWORD,))
    bouncer = Server(name="bouncer", hostname="127.0.0.1", port=pgbouncer)
    tried = (
        db.query(postgresql.server(), *quoting, deadline_s=DEADLINE_S),
        db.query(postgresql.server(), "select 1/0 -- " + PASSWORD, deadline_s=DEADLINE_S),
        wrong.query(postgresql.server(), "select 1", deadline_s=DEADLINE_S),
        wrong.query(bouncer, "select 1", deadline_s=DEADLINE_S),
        db.query(postgresql.server(port=1), "select 1", deadline_s=DEADLINE_S),
    )
    errors = await asyncio.gather(*tried, return_exceptions=True)
    assert all(isinstance(error, HandyRepError) for error in errors)
    assert "***" in str(errors[0])
    told = [caplog.text, repr(db), *(text for error in errors for text in (str(error), repr(error), repr(vars(error))))]
    assert not [text for text in told if "canary" in text]


_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(name=st.one_of(_names, st.sampled_from([word for word in NASTY if word and "\udcff" not in word])))
def test_any_name_reaches_only_a_value(postgresql: PostgreSQL, name: str) -> None:
    """As a bound value it comes back; as a database it is looked for under exactly this name, on this server."""

    async def both() -> tuple[Any, str]:
        db = databases()
        try:
            (row,) = await db.query(postgresql.server(), "select %s::text as v", (name,), deadline_s=DEADLINE_S)
            return row["v"], await state_of_refusal(db, postgresql.server(), database=name)
        finally:
            await db.close()

    assert asyncio.run(both()) == (name, "3D000")


async def state_of_refusal(db: RealDatabases, server: Server, **how: Any) -> str:
    """The SQLSTATE with which a connection is refused."""
    with pytest.raises(DatabaseError) as caught:
        await db.query(server, "select 1", deadline_s=DEADLINE_S, **how)
    return caught.value.sqlstate
