"""footprint and release: every plugin is asked on every server, what is needed stays, and nothing is put back while it is released."""

import asyncio
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import pytest

from handyrep.engine.check import new_run
from handyrep.engine.state import from_json, to_json
from handyrep.model.result import RD, Result, fail, success, uncertain
from handyrep.model.run import RunKind
from handyrep.model.trace import Trace
from handyrep.operations.declare import Running, invoke
from tests.engine.world import Imagined

TRACED = {"fence_lease", "follow_conninfo", "journal_on_hosts"}
SERVES = "it receives by it"


class Marked:
    """An imagined cluster on whose servers things lie; a plugin that takes back takes what does not stay."""

    def __init__(self, **failover: Any) -> None:
        self.world = Imagined(fence_methods=("fence_lease",), journal_method="journal_on_hosts", **failover)
        self.world.plugins.registry.lacking = set()
        self.world.plugins.registry.traced = set(TRACED)
        self.world.engine.copies._is_current = True  # nobody else has acted
        self.there = {
            ("fence", "m1"): [Trace("guard", "unit guard", "stops it")],
            ("follow", "m1"): [Trace("setting", "setting primary_conninfo", "whom it follows")],
            ("follow", "r1"): [Trace("setting", "setting primary_conninfo", "whom it follows", SERVES)],
            ("journal", "r1"): [Trace("copy", "/home/h/lab.journal", "for another HandyRep")],
        }
        for kind in ("fence", "follow", "journal"):
            self.world.plugins.instead[f"{kind}.footprint"] = partial(self._told, kind)
            self.world.plugins.instead[f"{kind}.take_back"] = partial(self._taken, kind)
        nothing = cast("Any", None)
        self.on = Running(self.world.engine, self.world.check, nothing, nothing, nothing, nothing)

    def _told(self, kind: str, given: Mapping[str, Any]) -> Result:
        return success(traces=[one.as_dict() for one in self.there.get((kind, given["servername"]), [])])

    def _taken(self, kind: str, given: Mapping[str, Any]) -> Result:
        key = (kind, given["servername"])
        self.there[key] = [one for one in self.there.get(key, []) if one.stays]
        return success()

    async def call(self, name: str, **arguments: Any) -> RD:
        return await invoke(self.on, name, arguments)

    async def release(self, **arguments: Any) -> RD:
        return await self.call("release", cluster="handyrep", **arguments)

    def acts(self) -> list[str]:
        """What changed servers, in its order."""
        return [c for c in self.world.plugins.calls if ".take_back" in c or ".leave" in c or ".keep" in c]

    def away(self, name: str) -> None:
        """This server answers nothing any more."""
        for kind in ("fence", "follow", "journal"):
            self.world.plugins.instead[f"{kind}.footprint"] = partial(self._told_but_for, name, kind)

    def _told_but_for(self, away: str, kind: str, given: Mapping[str, Any]) -> Result:
        return fail("no answer") if given["servername"] == away else self._told(kind, given)


@pytest.fixture
def marked() -> Marked:
    return Marked()


def places(listed: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["server"], one["where"]) for one in listed]


ALL = [("m1", "unit guard"), ("m1", "setting primary_conninfo"), ("r1", "setting primary_conninfo"), ("r1", "/home/h/lab.journal")]  # fmt: skip
GOING = [ALL[0], ALL[1], ALL[3]]


async def test_the_footprint_is_what_every_plugin_tells_of_every_server(marked: Marked) -> None:
    rd = await marked.call("footprint")
    assert (rd["result"], places(rd["traces"]), rd["unknown"]) == ("SUCCESS", ALL, [])
    assert "4 things" in rd["details"]
    assert "takes back 3" in rd["details"]
    assert rd["traces"][2]["stays"] == SERVES
    assert rd["traces"][0]["plugins"] == ["fence_lease"]
    assert marked.world.plugins.count("fence.footprint") == 3
    assert marked.acts() == []


async def test_one_server_alone(marked: Marked) -> None:
    assert places((await marked.call("footprint", server="r1"))["traces"]) == ALL[2:]
    assert (await marked.call("footprint", server="r9"))["error"] == "RefusedError"


async def test_what_two_plugins_tell_is_one_thing(marked: Marked) -> None:
    marked.there["fence", "r1"] = [Trace("setting", "setting primary_conninfo", "starves it", SERVES)]
    rd = await marked.call("footprint", server="r1")
    assert [sorted(one["plugins"]) for one in rd["traces"] if one["where"].startswith("setting")] == [
        ["fence_lease", "follow_conninfo"]
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (fail("no answer"), "no answer"),
        (success(), "traces is not a list"),
        (success(traces=[{"name": "x"}]), "a trace is name, where"),
        (success(traces=[{**Trace("x", " ", "y").as_dict()}]), "tells its name, where it is"),
        (uncertain("who knows"), "who knows"),
    ],
)
async def test_what_is_not_told_is_unknown_and_never_nothing(marked: Marked, answer: Result, why: str) -> None:
    marked.world.plugins.instead["fence.footprint"] = lambda _: answer
    rd = await marked.call("footprint")
    assert (rd["result"], rd["uncertain"]) == ("FAIL", True)
    assert [one["server"] for one in rd["unknown"]] == ["m1", "r1", "r2"]
    assert why in rd["unknown"][0]["why"]
    assert places(rd["traces"]) == ALL[1:]


async def test_what_a_plugin_knows_is_told_although_it_does_not_know_all(marked: Marked) -> None:
    marked.world.plugins.instead["fence.footprint"] = lambda _: fail("half", traces=[Trace("a", "/a", "b").as_dict()])
    rd = await marked.call("footprint", server="m1")
    assert ("m1", "/a") in places(rd["traces"])
    assert rd["unknown"][0]["why"] == "half"


async def test_a_disabled_server_and_one_that_is_known_no_more_are_unknown(marked: Marked) -> None:
    engine = marked.world.engine
    off = dataclasses.replace(engine.cluster.members["r2"].server, enabled=False)
    cluster = engine.cluster.with_member(dataclasses.replace(engine.cluster.members["r2"], server=off))
    engine.state.update(dataclasses.replace(cluster, kept_up=(("fence_lease", "gone"),)))
    rd = await marked.call("footprint")
    assert [(one["server"], one["plugin"]) for one in rd["unknown"]] == [("r2", ""), ("gone", "fence_lease")]
    assert not any("r2" in call for call in marked.world.plugins.calls)


async def test_what_may_hold_a_disabled_former_master_down_is_not_taken_from_it(marked: Marked) -> None:
    engine = marked.world.engine
    off = dataclasses.replace(engine.cluster.members["r2"].server, enabled=False)
    cluster = engine.cluster.with_member(dataclasses.replace(engine.cluster.members["r2"], server=off))
    kept_up = (("fence_lease", "r2"), ("fence_lease", "m1"))
    engine.state.update(dataclasses.replace(cluster, kept_up=kept_up, deposed=("r2",)))
    assert (await marked.release())["uncertain"] is True
    assert [call for call in marked.acts() if ".leave" in call] == ["fence.leave m1"]
    assert engine.cluster.kept_up == kept_up[:1]


async def test_a_plugin_of_yours_that_tells_nothing_is_named(marked: Marked) -> None:
    registry = marked.world.plugins.registry
    registry.is_own = lambda name: name != "promote_pg_ctl"  # type: ignore[method-assign] # a user's own
    rd = await marked.call("footprint")
    assert [one["plugin"] for one in rd["unknown"]] == ["promote_pg_ctl"]
    assert "has no footprint()" in rd["details"]


async def test_release_takes_back_what_goes_fences_first_and_the_journal_last(marked: Marked) -> None:
    await marked.world.look()
    await asyncio.sleep(0)
    marked.world.plugins.calls.clear()
    rd = await marked.release()
    assert (rd["result"], places(rd["taken"]), places(rd["staying"])) == ("SUCCESS", GOING, [ALL[2]])
    assert rd["still_there"] == rd["unknown"] == rd["problems"] == []
    order = ["fence.leave m1", "fence.take_back m1", "follow.take_back m1", "journal.take_back r1"]
    assert marked.acts() == order
    assert marked.world.engine.cluster.kept_up == ()
    assert "handyrep end-maintenance" in rd["details"]


async def test_a_dry_run_does_nothing_and_tells_the_same(marked: Marked) -> None:
    before = marked.world.engine.cluster
    foretold = await marked.release(dry_run=True)
    assert marked.acts() == []
    assert marked.world.engine.cluster is before
    assert places(foretold["going"]) == GOING
    assert places(foretold["staying"]) == [ALL[2]]
    assert foretold["details"].startswith("nothing was done; 3 things")
    assert foretold["going"] == (await marked.release())["taken"]


async def test_a_second_release_finds_nothing_to_do(marked: Marked) -> None:
    await marked.release()
    marked.world.plugins.calls.clear()
    again = await marked.release()
    assert (again["result"], again["taken"], marked.acts()) == ("SUCCESS", [], [])


async def test_nothing_is_put_back_until_maintenance_ends(marked: Marked) -> None:
    await marked.release()
    for _ in range(3):
        await marked.world.look()
        await asyncio.sleep(0)
    assert marked.world.plugins.count("fence.keep") == 0
    assert from_json(to_json(marked.world.engine.cluster)).released
    assert (await marked.call("end_maintenance"))["result"] == "SUCCESS"
    assert not marked.world.engine.cluster.released
    await marked.world.look()
    await asyncio.sleep(0)
    assert marked.world.plugins.count("fence.keep m1") == 1


async def test_another_maintenance_right_after_it_puts_nothing_back_and_a_later_one_does(marked: Marked) -> None:
    await marked.release()
    await marked.call("start_maintenance", minutes=5, reason="the same visit")
    assert marked.world.engine.cluster.released
    marked.world.clock.now_s += 301
    await marked.call("start_maintenance", minutes=5, reason="another day")
    assert not marked.world.engine.cluster.released


async def test_a_longer_maintenance_is_not_shortened(marked: Marked) -> None:
    marked.world.maintenance(60 * 24 * 30)
    until = marked.world.engine.cluster.maintenance_until
    await marked.release()
    assert marked.world.engine.cluster.maintenance_until == until


async def test_a_round_that_is_under_way_ends_before_anything_is_taken_back(marked: Marked) -> None:
    """What it puts on the server after the guard was taken away would stay for ever."""
    let_go, real = asyncio.Event(), marked.world.plugins.call

    async def call(*given: Any, **more: Any) -> Result:
        if given[2:3] == ("keep",):
            await let_go.wait()
        return await real(*given, **more)

    marked.world.plugins.call = call  # type: ignore[method-assign] # one that is slow
    await marked.world.look()
    await asyncio.sleep(0)
    releasing = asyncio.create_task(marked.release())
    for _ in range(20):
        await asyncio.sleep(0)
    assert marked.acts() == []
    let_go.set()
    assert (await releasing)["result"] == "SUCCESS"
    assert marked.acts()[:2] == ["fence.keep m1", "fence.leave m1"]


async def test_it_goes_on_past_a_server_that_is_away_and_says_so(marked: Marked) -> None:
    marked.away("m1")
    rd = await marked.release()
    assert (rd["result"], rd["uncertain"], places(rd["taken"])) == ("FAIL", True, [ALL[3]])
    assert {one["server"] for one in rd["unknown"]} == {"m1"}
    assert "m1: no answer" in rd["details"]


async def test_what_was_seen_before_and_cannot_be_seen_after_is_not_called_taken_back(marked: Marked) -> None:
    taken = marked.world.plugins.instead["fence.take_back"]

    def last_words(given: Mapping[str, Any]) -> Result:
        marked.away("m1")
        return taken(given)

    marked.world.plugins.instead["fence.take_back"] = last_words
    rd = await marked.release()
    assert ("m1", "unit guard") not in places(rd["taken"])
    assert rd["uncertain"] is True


@pytest.mark.parametrize(("answer", "word"), [(fail("no root"), None), (uncertain("the line is dead"), True)])
async def test_what_could_not_be_taken_back_is_told(marked: Marked, answer: Result, word: bool | None) -> None:
    marked.world.plugins.instead["fence.take_back"] = lambda _: answer
    rd = await marked.release()
    assert (rd["result"], rd.get("uncertain")) == ("FAIL", word)
    assert places(rd["still_there"]) == [ALL[0]]
    assert rd["problems"] == [f"m1, fence_lease: {answer.details}"]
    assert places(rd["taken"]) == GOING[1:]


async def test_a_fence_that_could_not_be_left_stays_written_down(marked: Marked) -> None:
    await marked.world.look()
    await asyncio.sleep(0)
    marked.world.plugins.instead["fence.leave"] = lambda _: uncertain("the line is dead")
    assert (await marked.release())["uncertain"] is True
    assert marked.world.engine.cluster.kept_up == (("fence_lease", "m1"),)


@pytest.mark.parametrize("why", ["another name", "a run", "frozen", "fenced", "at work", "passive"])
async def test_it_is_refused_while_something_rests_on_it(marked: Marked, why: str) -> None:
    engine = marked.world.engine
    if why == "a run":
        engine.journal.open(new_run(engine, RunKind.FAILOVER, "asked for by a person"))
    if why == "frozen":
        marked.world.freeze("a person must decide")
    if why == "fenced":
        engine.state.update(dataclasses.replace(engine.cluster, deposed=("r2",)))
    if why == "passive":
        marked.world.plugins.instead["master_check.run"] = lambda _: fail("another one is")
    if why == "at work":
        with engine.working_on("r1", "cloning"):
            rd = await marked.release()
    else:
        rd = await marked.call("release", cluster="other" if why == "another name" else "handyrep")
    assert (rd["result"], rd["error"]) == ("FAIL", "RefusedError"), why
    assert marked.acts() == []
    assert not engine.cluster.released


async def test_what_cannot_be_written_down_is_not_begun(marked: Marked) -> None:
    marked.world.store.broken = True
    assert (await marked.release())["error"] == "StateError"
    assert marked.acts() == []
