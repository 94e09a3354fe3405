"""The 2014 program's faults in fencing, failover and monitoring, each shown to be absent. Numbers as in the list of its 67 bugs."""

import asyncio
from types import MappingProxyType
from typing import Any

import pytest

from handyrep.decide.assess import assess_server
from handyrep.engine.check import new_run
from handyrep.engine.monitor import Monitor
from handyrep.model.answer import Answer, NotABooleanError, Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.observation import PostgresFacts, Seen
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import RunKind
from handyrep.model.status import Health, Status
from tests.engine.world import Answerer, Imagined
from tests.factories import make_cluster, make_member, make_server


def always(answer: Result) -> Answerer:
    """The same answer to everything."""
    return lambda _: answer


async def dead_master(**failover: object) -> Imagined:
    world = Imagined(**failover)
    await world.look()
    assert world.engine.cluster.status.health is Health.HEALTHY
    world.boxes["m1"].up = False
    return world


async def test_hr_01_failed_fence_never_promotes() -> None:
    for answer in (fail("no"), uncertain("perhaps"), success("done, trust me")):
        world = await dead_master()
        world.plugins.instead["fence.run"] = always(answer)
        result = await world.look()
        assert result.outcome is Outcome.FAIL
        assert world.plugins.count("promotion.run") == 0
        assert world.master == "m1"


async def test_hr_02_no_answer_is_not_stopped() -> None:
    world = await dead_master()
    world.boxes["m1"].host = False
    result = await world.look(5)
    assert "nothing proves" in result.details
    assert world.plugins.count("fence.run") == 0
    assert world.plugins.count("promotion.run") == 0


async def test_c19_hr_03_a_slow_promote_is_waited_for_and_no_second_one_is_sent() -> None:
    world = await dead_master()
    world.plugins.instead["promotion.run"] = lambda _: uncertain("no answer in time")
    result = await world.look(4)
    assert result.outcome is Outcome.UNCERTAIN
    assert world.plugins.count("promotion.run") == 1
    assert world.plugins.count("restart.run m1 start") == 0
    world.boxes["r1"].master = True
    await world.look()
    assert world.master == "r1"
    assert world.plugins.count("promotion.run") == 1


async def test_hr_04_a_query_that_fails_is_no_answer_about_recovery() -> None:
    world = await dead_master()
    world.plugins.instead["promotion.run"] = lambda _: success("ordered")
    world.plugins.instead["inspect.run"] = lambda _: fail("the query failed")
    await world.look(3)
    assert world.master == "m1"
    whole: dict[str, Any] = {"system_identifier": "1", "timeline": 1, "version_num": 150000, "received_lsn": "0/1"}
    several: list[dict[str, Any]] = [{"in_recovery": None}, {"in_recovery": "f"}, {"in_recovery": 0}, {}]
    for rubbish in several:
        world.plugins.instead["inspect.run"] = always(success(**{**whole, **rubbish}))
        assert await world.engine.observer.facts("r1") is None


@pytest.mark.parametrize("remaster", [True, False])
async def test_hr_05_automatic_failover_runs_to_its_end_with_every_option(remaster: bool) -> None:
    world = await dead_master(remaster=remaster)
    assert (await world.look()).outcome is Outcome.SUCCESS
    assert world.master == "r1"
    assert world.plugins.count("follow.run r2") == int(remaster)


@pytest.mark.parametrize("remaster", [True, False])
async def test_hr_06_a_switchover_runs_to_its_end_with_every_option(remaster: bool) -> None:
    world = Imagined()
    await world.look()

    run = new_run(world.engine, RunKind.SWITCHOVER, "asked", wanted="r2", remaster=remaster)
    world.boxes["m1"].position = 1000
    result = await world.engine.conductor.begin(run)
    assert (result.outcome, world.master) == (Outcome.SUCCESS, "r2"), result.details
    assert world.boxes["r1"].follows == ("r2" if remaster else "m1")


async def test_hr_07_the_candidate_is_checked_before_anything_is_stopped() -> None:

    world = Imagined()
    await world.look()
    world.boxes["r1"].up = False
    run = new_run(world.engine, RunKind.SWITCHOVER, "asked", wanted="r1")
    result = await world.engine.conductor.begin(run)
    assert result.outcome is Outcome.FAIL
    assert world.plugins.count("fence.run") == 0
    assert world.boxes["m1"].up


async def test_h11_hr_08_a_restart_that_did_not_help_is_no_success() -> None:
    world = await dead_master(restart_master=True)
    world.plugins.instead["restart.run"] = lambda given: (
        success("done") if given["runmode"] == "start" else fail("x", running=False)
    )
    await world.look()
    assert world.plugins.count("restart.run m1 start") == 1
    assert world.engine.cluster.members["m1"].status.health is not Health.HEALTHY
    await world.look()
    assert world.plugins.count("restart.run m1 start") == 1
    assert world.master == "r1"


@pytest.mark.parametrize("answer", [fail("no such plugin"), (), ("nobody", "result", "details")])
async def test_hr_09_a_selection_that_is_no_list_stops_nothing(answer: object) -> None:
    world = await dead_master()
    world.plugins.order = answer  # type: ignore[assignment] # what a plugin may give
    result = await world.look()
    assert "no replica may take over" in result.details
    assert world.plugins.count("fence.run") == 0


async def test_hr_11_blindness_is_a_reason_to_refuse() -> None:
    world = await dead_master()
    world.plugins.instead["inspect.run"] = lambda _: fail("cannot look")
    result = await world.look()
    assert result.outcome is Outcome.FAIL
    assert "could not be looked at" in result.details
    assert world.plugins.count("promotion.run") == 0


async def test_hr_12_two_masters_are_left_alone_and_told() -> None:
    world = Imagined()
    await world.look()
    world.boxes["r1"].master = True
    before = len(world.plugins.calls)
    result = await world.look(3)
    assert "More than one server takes writes" in result.details
    acted = [
        c
        for c in world.plugins.calls[before:]
        if c.startswith(("fence.run", "promotion", "follow", "rejoin", "connection"))
    ]
    assert acted == []
    assert not any("restart.run" in call and "status" not in call for call in world.plugins.calls[before:])
    assert world.engine.cluster.status.health is Health.DOWN


async def test_hr_13_everybody_is_told_the_name_of_the_new_master() -> None:
    world = await dead_master(connection_failover_method="multi_pgbouncer")
    await world.look()
    assert "connection_failover.run r1" in world.plugins.calls
    assert world.boxes["r2"].follows == "r1"


async def test_hr_14_the_outcome_of_undoing_is_used() -> None:
    world = await dead_master()
    world.plugins.instead["fence.run"] = lambda _: fail("no proof")
    world.plugins.instead["fence.release"] = lambda _: fail("cannot release")
    result = await world.look()
    assert result.extra["question"] == "OLD_MASTER_NOT_RESTORED"
    assert "Automation stands still" in (await world.look()).details or world.engine.cluster.frozen


async def test_hr_15_memory_and_disk_agree_after_every_step() -> None:
    world = await dead_master()
    await world.look()
    assert world.store.content is not None
    roles = {name: one["definition"]["role"] for name, one in world.store.content["servers"].items()}
    assert roles == {"m1": "replica", "r1": "master", "r2": "replica"}


async def test_e1_hr_15_a_handyrep_killed_while_it_promotes_sends_no_second_promote() -> None:
    world = await dead_master()

    def killed(_: object) -> Result:
        raise asyncio.CancelledError

    world.plugins.instead["promotion.run"] = killed
    with pytest.raises(asyncio.CancelledError):
        await world.look()
    del world.plugins.instead["promotion.run"]
    world.restarted()
    result = await world.look()
    assert result.extra["waiting"] is True
    assert world.plugins.count("promotion.run") == 1
    world.boxes["r1"].master = True
    await world.look()
    assert world.master == "r1"


async def test_e5_hr_15_what_cannot_be_written_down_is_not_done() -> None:
    world = await dead_master()
    world.log.broken = True
    with pytest.raises(Exception, match="no room"):
        await world.look()
    assert world.plugins.count("fence.run") == 0


async def test_e15_hr_16_the_loop_survives_every_exception_and_tells_of_it() -> None:
    world = Imagined()

    def explode(_: object) -> None:
        raise RuntimeError("boom")

    for poll in ("poll.run", "poll.once"):
        world.plugins.instead[poll] = explode  # type: ignore[assignment] # what no plugin can do, but a bug of ours could
    object.__setattr__(world.engine.settings.failover, "poll_interval", 0.001)
    monitor = Monitor(world.engine, world.check)
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.1)
    assert monitor.cycles > 3
    assert len([text for text in world.events.of("error") if "boom" in text]) == 1
    world.plugins.instead.clear()
    await asyncio.sleep(0.1)
    assert world.engine.cluster.members["m1"].status.health is not Health.UNKNOWN
    task.cancel()


def facts(*, in_recovery: bool = True) -> PostgresFacts:

    return PostgresFacts(
        in_recovery=in_recovery, system_identifier="1", timeline=1, version_num=150000, received_lsn=Lsn(1)
    )


def test_hr_18_a_lagged_replica_is_recorded_as_lagged() -> None:
    member = make_member(make_server("r1", lag_limit=10.0))
    seen = Seen(
        up=Answer.YES, host_answers=Answer.YES, running=Answer.YES, facts=facts(), replicating=Answer.YES, lag=11.0
    )
    row, status = assess_server(member, seen, verified=True, master_silent=False)
    assert (row, status.health) == ("S44", Health.LAGGED)
    assert "11 behind (limit 10)" in status.reason


def test_hr_19_health_is_one_ordered_scale() -> None:
    assert Health.DOWN > Health.UNAVAILABLE > Health.WARNING > Health.LAGGED > Health.HEALTHY
    assert [int(health) for health in Health] == [0, 1, 2, 3, 4, 5]


async def test_hr_20_a_new_reason_for_the_same_status_is_kept() -> None:
    world = Imagined()
    await world.look()
    world.plugins.instead["inspect.host"] = lambda _: fail("first reason")
    await world.look()
    assert "first reason" in world.engine.cluster.members["r1"].status.reason
    world.plugins.instead["inspect.host"] = lambda _: fail("second reason")
    await world.look()
    assert "second reason" in world.engine.cluster.members["r1"].status.reason


async def test_hr_21_nothing_is_told_when_nothing_changes() -> None:
    world = Imagined(auto_failover=False)
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    told = len(world.events.told)
    await world.look(5)
    assert len(world.events.told) == told


async def test_hr_22_events_are_texts_with_facts_of_their_own() -> None:
    world = await dead_master()
    await world.look()
    assert all("%s" not in text and "{" not in text for _, text in world.events.told)


async def test_hr_25_looks_are_by_server_and_nothing_else_is_in_them() -> None:
    world = Imagined()
    picture = await world.engine.observer.poll()
    assert set(picture.seen) == {"m1", "r1", "r2"}


def test_hr_24_hr_01_results_cannot_be_tested_for_truth() -> None:
    for value in (success(), fail("x"), uncertain("x"), Outcome.FAIL, Answer.UNKNOWN):
        with pytest.raises(NotABooleanError):
            bool(value)


def test_hr_36_replicas_are_members_and_never_the_master() -> None:
    cluster = make_cluster()
    assert [member.name for member in cluster.replicas] == ["r1", "r2"]
    assert isinstance(cluster.members, MappingProxyType)


def test_hr_42_snapshots_cannot_be_changed_while_others_look() -> None:
    cluster = make_cluster()
    with pytest.raises(TypeError):
        cluster.members["x"] = make_member(make_server("x"))  # type: ignore[index] # that is the point
    with pytest.raises(AttributeError):
        cluster.epoch = 2  # type: ignore[misc] # that is the point
    assert Status() == Status()
