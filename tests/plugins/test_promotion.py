"""promote_pg_ctl and promote_sql: a real replica becomes master once, a master is left alone, and no answer is no success."""

from collections.abc import Iterator
from typing import Any

import pytest

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import refusing, unknown_keys
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Command
from tests.plugins.pair import Estate, Node, Silent, plugins, until

SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
WAYS = ("promote_pg_ctl", "promote_sql")


@pytest.fixture(scope="module")
def m1(house: Estate) -> Node:
    master = house.master()
    master.sql("grant execute on function pg_promote to handyrep")
    return master


@pytest.fixture
def r1(house: Estate, m1: Node) -> Iterator[Node]:
    """A replica that a test may use up."""
    replica = house.replica("r1", m1)
    yield replica
    replica.stop("immediate")


async def promote(way: str, node: Node, method: str = "run", *, hosts: Any = None, **known: Any) -> Result:
    changes = {"promotion_method": way, **known.pop("changes", {})}
    async with plugins(node.server("replica", **changes), hosts=hosts, **known) as called:
        arguments = {"servername": node.name} if method == "run" else {}
        return await called.call(Kind.PROMOTION, way, method, **arguments)


def is_master(node: Node) -> bool:
    return not node.value("pg_is_in_recovery()")


def timeline(node: Node) -> int:
    return int(node.value("(select timeline_id from pg_control_checkpoint())"))


@pytest.mark.parametrize("way", WAYS)
async def test_a_replica_becomes_a_master_on_a_new_timeline(way: str, r1: Node) -> None:
    done = await promote(way, r1)
    assert done.outcome is SUCCESS
    until(lambda: is_master(r1), r1)
    r1.sql("checkpoint")
    assert timeline(r1) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_master_refuses_and_stays_on_its_timeline(way: str, m1: Node) -> None:
    before = timeline(m1)
    done = await promote(way, m1)
    assert done.outcome is FAIL
    m1.sql("checkpoint")
    assert timeline(m1) == before


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_stopped_is_not_promoted_and_not_started(way: str, r1: Node) -> None:
    r1.stop()
    done = await promote(way, r1)
    assert done.outcome is not SUCCESS
    assert not r1.runs
    assert not (r1.data / "promote").exists()


@pytest.mark.parametrize("way", WAYS)
async def test_its_test_promotes_nothing(way: str, r1: Node) -> None:
    assert (await promote(way, r1, "test")).outcome is SUCCESS
    assert not is_master(r1)


async def test_without_the_right_pg_promote_is_refused_and_its_test_says_what_to_grant(house: Estate) -> None:
    poor = house.master("m2")
    replica = house.replica("r2", poor)
    told = await promote("promote_sql", replica, "test")
    assert (told.outcome, "GRANT EXECUTE ON FUNCTION pg_promote" in told.details) == (FAIL, True)
    done = await promote("promote_sql", replica)
    assert (done.outcome, "refused" in done.details) == (FAIL, True)
    assert not is_master(replica)


async def test_pg_ctl_path_that_leads_nowhere_sends_nothing(r1: Node) -> None:
    done = await promote("promote_pg_ctl", r1, options={"promote_pg_ctl": {"pg_ctl_path": "/nowhere/pg_ctl"}})
    assert done.outcome is FAIL
    assert "nothing was sent" in done.details


def orders(command: Command) -> bool:
    return "promote" in command.argv


@pytest.mark.parametrize("sent", [True, False], ids=["carried out", "not carried out"])
async def test_an_order_of_pg_ctl_without_an_answer_is_uncertain(r1: Node, sent: bool) -> None:
    done = await promote("promote_pg_ctl", r1, hosts=Silent(orders, sent=sent))
    assert done.outcome is UNCERTAIN
    if sent:
        until(lambda: is_master(r1), r1)
    else:
        assert not is_master(r1)


async def test_when_pg_ctl_cannot_even_be_looked_for_nothing_was_sent(r1: Node) -> None:
    done = await promote("promote_pg_ctl", r1, hosts=Silent(lambda _: True, sent=False))
    assert (done.outcome, "nothing was sent" in done.details) == (FAIL, True)


def test_behind_an_unknown_host_key_nothing_was_sent() -> None:
    done = try_plugin("promote_pg_ctl", Kind.PROMOTION, "run", {"servername": "r1"}, world=unknown_keys())
    assert isinstance(done, Result)
    assert done.outcome is FAIL


def test_no_answer_from_pg_promote_is_uncertain_for_the_order_may_have_arrived() -> None:
    done = try_plugin("promote_sql", Kind.PROMOTION, "run", {"servername": "r1"}, world=refusing())
    assert isinstance(done, Result)
    assert done.outcome is UNCERTAIN


def test_pg_promote_that_is_answered_with_false_is_a_failure() -> None:
    world = refusing()

    async def said_no(*_: object) -> tuple[dict[str, object], ...]:
        return ({"taken": False},)

    world.on_query = said_no
    done = try_plugin("promote_sql", Kind.PROMOTION, "run", {"servername": "r1"}, world=world)
    assert isinstance(done, Result)
    assert done.outcome is FAIL


@pytest.mark.parametrize("way", WAYS)
async def test_its_test_fails_where_it_could_not_work(way: str, m1: Node) -> None:
    changes = {"pgdata": "/proc", "port": 1}
    told = await promote(way, m1, "test", changes=changes)
    assert told.outcome is FAIL
    other = await promote(way, m1, "test", changes={**changes, "promotion_method": "successplugin"})
    assert other.outcome is SUCCESS


def test_a_test_that_gets_no_answer_fails() -> None:
    world = refusing()

    async def silent(*_: object) -> Any:
        raise NoAnswerError("the line is dead", server="r1")

    world.on_command = silent
    told = try_plugin("promote_pg_ctl", Kind.PROMOTION, "test", {"servername": "r1"}, world=world)
    assert isinstance(told, Result)
    assert (told.outcome, "nothing is known" in told.details) == (FAIL, True)
