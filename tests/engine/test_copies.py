"""Two HandyReps and one cluster: the second goes on from what the first wrote down, or does nothing."""

import json
from typing import Any

import pytest

from handyrep.decide.promise import are_readable_from
from handyrep.model.result import Result, fail, success
from tests.engine.world import Imagined


class Pair:
    """`first` and `second` are HandyReps of the same servers, each with its own disk; `active` is the one that may act."""

    def __init__(self, **failover: Any) -> None:
        self.hosts: dict[str, str] = {}
        self.readable = True
        self.first, self.second = (Imagined(journal_method="journal_on_hosts", **failover) for _ in range(2))
        self.second.boxes = self.second.plugins.boxes = self.first.boxes
        self.second.clock = self.first.clock
        self.active = self.first
        for one in (self.first, self.second):
            one.plugins.instead["journal.run"] = self._written
            one.plugins.instead["journal.read"] = self._read
        self.first.plugins.instead["master_check.run"] = lambda _: self._is_active(self.first)
        self.second.plugins.instead["master_check.run"] = lambda _: self._is_active(self.second)

    def _is_active(self, one: Imagined) -> Result:
        return success() if one is self.active else fail("the other one is")

    def _written(self, given: Any) -> Result:
        self.hosts = dict.fromkeys(("m1", "r1", "r2"), given["text"])
        return success()

    def _read(self, _: Any) -> Result:
        return success(texts=self.hosts) if self.readable else fail("1 of 3 servers were read", texts={})

    async def first_is_killed(self, at: str) -> None:
        """In the middle of a failover, in that call."""
        await self.first.look()
        self.first.boxes["m1"].up = False
        self.first.plugins.instead[at] = self.first.killed
        with pytest.raises(KeyboardInterrupt):
            await self.first.look()
        self.active = self.second


def stages(world: Imagined) -> list[str]:
    return [step.step.stage for run, _, _ in world.engine.journal.runs() for step in run.ended]


async def test_another_handyrep_knows_of_a_failover_that_it_did_not_make() -> None:
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    await pair.first.look()
    assert pair.first.master == "r1"
    pair.active = pair.second
    await pair.second.look()
    assert (pair.second.master, pair.second.engine.cluster.epoch) == ("r1", 1)
    assert pair.second.engine.cluster.deposed == ("m1",)
    assert pair.second.plugins.count("promotion") == 0
    assert pair.second.events.of("copies") == ["goes on from run 1, which another HandyRep wrote down"]


async def test_what_another_one_did_is_read_though_this_one_knew_all_once_and_was_never_refused() -> None:
    """Between two questions the right to act may go to another one and come back. It began a run of the same number."""
    pair = Pair()
    pair.second.restarted()
    pair.active = pair.second
    await pair.second.look()
    pair.active = pair.first
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    await pair.first.look()
    assert pair.first.master == "r1"
    pair.second.clock.now_s += 60.0
    pair.active = pair.second
    await pair.second.look()
    assert (pair.second.master, pair.second.engine.cluster.epoch) == ("r1", 1)
    assert pair.second.plugins.count("promotion") == 0


@pytest.mark.parametrize("at", ["fence.run", "promotion.run", "connection_failover.run", "follow.run"])
async def test_a_run_that_another_one_left_open_is_led_to_its_end(at: str) -> None:
    pair = Pair(connection_failover_method="multi_pgbouncer")
    await pair.first_is_killed(at)
    for _ in range(4):
        await pair.second.look()
    promoted = pair.first.plugins.count("promotion") + pair.second.plugins.count("promotion")
    assert pair.second.engine.journal.open_run() is None or at == "promotion.run"
    assert promoted == 1, "never a second promote in one epoch"
    assert "promote" in stages(pair.second)


async def test_nothing_is_done_before_it_is_known_what_another_one_did() -> None:
    pair = Pair()
    await pair.first_is_killed("fence.run")
    pair.readable = False
    result = await pair.second.look()
    assert "what another HandyRep may have done is not known: 1 of 3 servers were read" in result.details
    assert pair.second.plugins.count("fence.run") == 0
    pair.readable = True
    await pair.second.look(2)
    assert pair.second.master == "r1"


async def test_the_first_one_comes_back_and_does_not_go_on_where_it_stopped() -> None:
    pair = Pair(failover_cooldown=0.0)
    await pair.first_is_killed("fence.run")
    await pair.second.look(2)
    for name in ("m1", "r2"):
        box = pair.second.boxes[name]
        box.up, box.master, box.follows, box.timeline = True, False, "r1", 2
    pair.second.boxes["r1"].synchronous = "ANY 1 (m1, r2)"
    await pair.second.look()
    pair.second.boxes["r1"].up = False
    await pair.second.look(2)
    assert pair.second.engine.cluster.epoch == 2
    before = list(pair.first.plugins.calls)
    pair.active = pair.first
    pair.first.restarted()
    await pair.first.look()
    assert not [
        c for c in pair.first.plugins.calls[len(before) :] if c.startswith(("fence.run", "promotion", "follow"))
    ]
    assert pair.first.master == pair.second.master
    closings = [how for _, how, _ in pair.first.engine.journal.runs()]
    assert closings == ["settled", "finished"]


async def test_two_journals_of_one_run_that_differ_are_a_persons() -> None:
    pair = Pair()
    await pair.first_is_killed("fence.run")
    pair.second.engine.journal.take_over(pair.first.engine.journal.last_records())
    forged = json.loads(pair.hosts["r1"])
    forged["records"][0]["reason"] = "another one"
    pair.hosts["r1"] = json.dumps(forged)
    result = await pair.second.look()
    assert "two HandyReps began run 1, and their journals differ" in result.details
    assert pair.second.plugins.count("fence.run") == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"records": [{}], "cluster": {}}', '{"records": [1], "cluster": null}']
)
async def test_a_copy_that_cannot_be_used_is_told_and_is_no_reason_to_act_as_if_there_were_none(text: str) -> None:
    pair = Pair()
    await pair.first_is_killed("fence.run")
    good, pair.hosts = pair.hosts["r1"], {"r1": text}
    result = await pair.second.look()
    assert "it is not known what another HandyRep did: r1" in result.details
    await pair.second.look(2)
    (told,) = pair.second.events.of("copies")
    assert told.startswith("the copy of the journal on r1 cannot be used")
    assert pair.second.plugins.count("fence.run") == 0
    pair.hosts["r2"] = good
    await pair.second.look(2)
    assert pair.second.master == "r1"


async def test_a_copy_of_another_cluster_is_passed_over() -> None:
    pair = Pair()
    await pair.first_is_killed("promotion.run")
    content = json.loads(pair.hosts["r1"])
    content["cluster"]["system_identifier"] = "999"
    pair.hosts = {"r1": json.dumps(content)}
    await pair.second.look()
    assert "is of another cluster" in pair.second.events.of("copies")[0]
    assert pair.second.engine.journal.runs()[0][0].epoch == 1
    assert "intend" in [record["what"] for record in pair.second.log.records]


async def test_copies_that_nobody_holds_stop_no_failover() -> None:
    pair = Pair()
    for one in (pair.first, pair.second):
        one.plugins.instead["journal.run"] = lambda _: fail("1 of 3 servers hold it")
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    await pair.first.look()
    assert pair.first.master == "r1"
    assert "another HandyRep may not find what this one knows: 1 of 3 servers hold it" in pair.first.events.of("copies")


async def test_without_the_directive_nothing_is_copied_or_read() -> None:
    world = Imagined()
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert world.plugins.count("journal") == 0


class Stopped:
    """A call in which HandyRep is stopped in its tracks (SIGSTOP) for so long that the other one may act when it wakes."""

    def __init__(self, pair: Pair, then: Result) -> None:
        self.pair = pair
        self.then = then

    def __call__(self, _: Any) -> Result:
        self.pair.first.clock.now_s += 60.0
        self.pair.active = self.pair.second
        return self.then


@pytest.mark.parametrize(
    "outcome", [success(proof="it is off", ended=True), fail("nobody knows")], ids=["proven", "not"]
)
async def test_e3_one_that_slept_neither_goes_on_nor_back_when_the_other_one_may_act(outcome: Result) -> None:
    """It promoted a second replica, or put the old master back, in a run that the other one had led to its end."""
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    pair.first.plugins.instead["fence.run"] = Stopped(pair, outcome)
    result = await pair.first.look()
    assert "the other one is" in result.details
    acts = ("promotion.run", "fence.release", "restart.run", "follow.halt", "journal.run")
    at = pair.first.plugins.calls.index("fence.run m1")
    assert not [call for call in pair.first.plugins.calls[at:] if call.startswith(acts)]
    assert pair.first.engine.journal.open_run() is not None
    await pair.second.look(3)
    assert pair.second.master == "r1"


async def test_e3_one_that_slept_does_not_go_on_where_the_other_one_went_on_although_it_may_act_again() -> None:
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False

    def slept(_: Any) -> Result:
        ended = {
            "what": "close",
            "epoch": 1,
            "at": "2026-01-01T00:00:00+00:00",
            "how": "abandoned",
            "text": "by the other one",
        }
        copy = json.loads(pair.hosts["r1"])
        pair.hosts["r1"] = json.dumps({**copy, "records": [*pair.first.engine.journal.last_records(), ended]})
        pair.first.clock.now_s += 60.0
        return success(proof="it is off", ended=True)

    pair.first.plugins.instead["fence.run"] = slept
    result = await pair.first.look()
    assert "two HandyReps began run 1, and their journals differ" in result.details
    assert pair.first.plugins.count("promotion.run") == 0


async def test_e3_one_that_slept_while_it_wrote_its_copies_does_not_promote() -> None:
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    written = 0

    def slept(given: Any) -> Result:
        nonlocal written
        written += 1
        return Stopped(pair, success())(given) if written == 2 else success()

    pair.first.plugins.instead["journal.run"] = slept
    await pair.first.look()
    assert written == 2
    assert pair.first.plugins.count("promotion.run") == 0


async def test_e3_one_that_slept_after_the_promote_does_not_replace_the_other_ones_copies() -> None:
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    real = pair.first.plugins._promotion_run

    def slept(given: Any) -> Result:
        pair.hosts = {"r1": "the other one's"}
        return Stopped(pair, real(given))(given)

    pair.first.plugins.instead["promotion.run"] = slept
    await pair.first.look()
    assert pair.hosts == {"r1": "the other one's"}


async def test_a_yes_of_a_moment_ago_is_not_asked_for_again() -> None:
    pair = Pair()
    await pair.first.look()
    pair.first.boxes["m1"].up = False
    before = pair.first.plugins.count("master_check.run")
    await pair.first.look()
    assert pair.first.master == "r1"
    assert pair.first.plugins.count("master_check.run") == before + 1


async def test_a_list_that_another_one_ordered_counts_though_this_one_never_saw_it() -> None:
    """A commit under it can be on r2 alone: r1, which was enough under the list that this one knows, is enough no more."""
    pair = Pair(synchronous_required=1)
    pair.second.restarted()
    pair.first.boxes["m1"].synchronous = "ANY 1 (r1)"
    pair.active = pair.second
    pair.second.plugins.instead["sync.run"] = lambda _: fail("not today")
    for one in (pair.first, pair.second):
        await one.look(3)
    assert are_readable_from(pair.second.engine.cluster, frozenset({"r1"}))
    pair.active = pair.first
    await pair.first.look(3)
    assert pair.first.boxes["m1"].synchronous == 'ANY 1 ("r1", "r2")'
    pair.second.clock.now_s += 60
    pair.active = pair.second
    pair.first.boxes["m1"].up = False
    await pair.second.engine.may_act()
    assert not are_readable_from(pair.second.engine.cluster, frozenset({"r1"}))
    assert are_readable_from(pair.second.engine.cluster, frozenset({"r1", "r2"}))


async def test_a_list_that_another_one_would_not_find_is_not_ordered() -> None:
    pair = Pair(synchronous_required=1)
    pair.first.boxes["m1"].synchronous = "ANY 1 (r1)"
    pair.first.plugins.instead["journal.run"] = lambda _: fail("1 of 3 servers took it")
    await pair.first.look(2)
    assert pair.first.plugins.count("sync.run m1") == 0
    assert pair.first.engine.cluster.ordered_lists == ()
    (told,) = pair.first.events.of("list")
    assert "another HandyRep might not find it: 1 of 3 servers took it" in told
    assert len(pair.first.events.of("copies")) == 1, "each look tries again, and says so once"
    pair.first.plugins.instead["journal.run"] = pair._written
    await pair.first.look(2)
    assert pair.first.boxes["m1"].synchronous == 'ANY 1 ("r1", "r2")'
