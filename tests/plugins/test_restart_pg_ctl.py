"""restart_pg_ctl: PostgreSQL's running state is really changed, twice is once, and nothing is claimed that was not seen."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.ports import Command
from tests.plugins.pair import Estate, Node, Silent, died, plugins

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
NAME = "restart_pg_ctl"


@pytest.fixture(scope="module")
def only(house: Estate) -> Node:
    return house.master()


@pytest.fixture
def m1(only: Node) -> Iterator[Node]:
    """Running, whatever a test did to it."""
    only.configure()
    if not only.runs:
        only.start()
    yield only
    only.stop("immediate")


async def order(node: Node, runmode: str, *, hosts: Any = None, **options: Any) -> Result:
    changes = options.pop("changes", {})
    async with plugins(node.server("master", **changes), hosts=hosts, options={NAME: options}) as known:
        return await known.call(Kind.RESTART, NAME, servername=node.name, runmode=runmode)


def started_at(node: Node) -> Any:
    return node.value("pg_postmaster_start_time()")


async def test_start_starts_what_is_stopped_with_its_configuration_outside_pgdata(m1: Node) -> None:
    m1.stop()
    m1.configure("application_name = 'from the file outside'")
    done = await order(m1, "start")
    assert (done.outcome, done.extra["running"]) == (SUCCESS, True)
    assert m1.value("current_setting('config_file')") == str(m1.conf)


async def test_start_leaves_what_runs_alone(m1: Node) -> None:
    before = started_at(m1)
    done = await order(m1, "start")
    assert (done.outcome, done.details) == (SUCCESS, "it runs already")
    assert started_at(m1) == before


@pytest.mark.parametrize("runmode", ["stop", "faststop"])
async def test_a_stop_ends_sessions_and_is_clean(m1: Node, runmode: str) -> None:
    m1.sql("insert into t values (1)")
    done = await order(m1, runmode)
    assert (done.outcome, done.extra["running"]) == (SUCCESS, False)
    assert not m1.runs
    assert m1.control("Database cluster state") == "shut down"


@pytest.mark.parametrize("runmode", ["stop", "faststop"])
async def test_a_stop_of_what_is_stopped_is_done_already(m1: Node, runmode: str) -> None:
    m1.stop()
    done = await order(m1, runmode)
    assert (done.outcome, done.details) == (SUCCESS, "it does not run")


async def test_restart_is_another_postmaster(m1: Node) -> None:
    before = started_at(m1)
    assert (await order(m1, "restart")).outcome is SUCCESS
    assert started_at(m1) > before


async def test_restart_starts_what_is_stopped(m1: Node) -> None:
    m1.stop()
    assert (await order(m1, "restart")).outcome is SUCCESS
    assert m1.runs


async def test_reload_takes_up_the_file_without_a_restart(m1: Node) -> None:
    before = started_at(m1)
    m1.configure("work_mem = '123kB'")
    assert (await order(m1, "reload")).outcome is SUCCESS
    assert m1.value("current_setting('work_mem')") == "123kB"
    assert started_at(m1) == before


async def test_reload_of_what_is_stopped_fails_and_starts_nothing(m1: Node) -> None:
    m1.stop()
    done = await order(m1, "reload")
    assert (done.outcome, done.extra["running"]) == (FAIL, False)
    assert not m1.runs


async def test_status_tells_what_is(m1: Node) -> None:
    runs = await order(m1, "status")
    m1.stop()
    stopped = await order(m1, "status")
    assert (runs.outcome, runs.extra["running"]) == (SUCCESS, True)
    assert (stopped.outcome, stopped.extra["running"]) == (FAIL, False)


async def test_status_after_a_crash_is_that_it_does_not_run(m1: Node) -> None:
    m1.stop("immediate")
    assert (m1.data / "PG_VERSION").exists()
    assert (await order(m1, "status")).extra["running"] is False


async def test_a_dead_postmaster_that_waits_to_be_reaped_does_not_run_and_is_waited_for(m1: Node) -> None:
    """In a container without an init it may wait for long, and kill(pid, 0), which pg_ctl asks, takes it for alive."""
    m1.stop("immediate")
    dead = died(m1)
    assert (await order(m1, "status")).extra["running"] is False
    started = asyncio.create_task(order(m1, "start"))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(dead.wait)
    assert (await started).details == "start done"
    assert m1.value("1") == 1


@pytest.mark.parametrize("runmode", ["", "START", "kill", "stop; rm -rf /", "stop\nstart"])
async def test_an_unknown_runmode_does_nothing(m1: Node, runmode: str) -> None:
    before = started_at(m1)
    done = await order(m1, runmode)
    assert done.outcome is FAIL
    assert "there is no runmode" in done.details
    assert started_at(m1) == before


@pytest.mark.parametrize("runmode", ["start", "stop", "faststop", "restart", "reload", "status"])
async def test_of_a_folder_that_is_no_data_directory_nothing_is_claimed(m1: Node, runmode: str) -> None:
    done = await order(m1, runmode, changes={"pgdata": "/proc"})
    assert done.outcome is not SUCCESS
    assert "running" not in done.extra
    assert m1.runs


async def test_a_start_that_its_configuration_forbids_is_a_failure_with_its_reason_kept(m1: Node) -> None:
    m1.stop()
    m1.configure("no_such_setting = 1")
    done = await order(m1, "start")
    assert (done.outcome, done.extra["running"]) == (FAIL, False)
    assert "no_such_setting" in (m1.data / "handyrep-start.log").read_text()


async def test_pg_ctl_path_names_the_program(m1: Node) -> None:
    missing = await order(m1, "status", pg_ctl_path="/nowhere/pg_ctl")
    assert missing.outcome is FAIL
    assert "set pg_ctl_path" in missing.details


async def test_pg_ctl_flags_reach_pg_ctl(m1: Node) -> None:
    m1.stop()
    assert (await order(m1, "start", pg_ctl_flags=("-o", "-c work_mem=321kB"), changes={"pgconf": ""})).outcome is FAIL
    with_both = await order(m1, "start", pg_ctl_flags=("-o", "-c work_mem=321kB"))
    assert with_both.outcome is SUCCESS
    assert m1.value("current_setting('work_mem')") == "321kB"


def orders(command: Command) -> bool:
    return "pg_ctl" in " ".join(command.argv) and {"start", "stop", "restart", "reload"} & set(command.argv) != set()


@pytest.mark.parametrize("sent", [True, False], ids=["carried out", "not carried out"])
@pytest.mark.parametrize("runmode", ["start", "stop", "faststop", "restart", "reload"])
async def test_an_order_without_an_answer_is_uncertain_and_can_be_given_again(
    m1: Node, runmode: str, sent: bool
) -> None:
    if runmode == "start":
        m1.stop()
    lost = await order(m1, runmode, hosts=Silent(orders, sent=sent))
    again = await order(m1, runmode)
    assert (lost.outcome, again.outcome) == (UNCERTAIN, SUCCESS)
    assert m1.runs is (runmode not in ("stop", "faststop"))


async def test_status_without_an_answer_knows_nothing(m1: Node) -> None:
    done = await order(m1, "status", hosts=Silent(lambda _: True))
    assert (done.outcome, "running" in done.extra) == (FAIL, False)


async def test_its_test_is_about_the_servers_that_use_it(m1: Node) -> None:
    async with plugins(m1.server("master", restart_method=NAME)) as known:
        well = await known.call(Kind.RESTART, NAME, "test")
    async with plugins(m1.server("master", restart_method=NAME, pgdata="/proc")) as known:
        ill = await known.call(Kind.RESTART, NAME, "test")
    async with plugins(m1.server("master", restart_method="restart_service", pgdata="/nowhere")) as known:
        unused = await known.call(Kind.RESTART, NAME, "test")
    assert (well.outcome, ill.outcome, unused.outcome) == (SUCCESS, FAIL, SUCCESS)
    assert "m1" in well.details
    assert "m1: pg_ctl status" in ill.details
