"""Fences that need no answer of the old master, the real ones in the imagined world, and a person's word: what they rest on is true.

A promote comes after a lease only when that is over in truth, whatever was cut off, came back, or was started anew meanwhile.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from handyrep.decide.candidates import choose
from handyrep.decide.policy import Policy
from handyrep.engine.steps import before
from handyrep.model.cluster import Cluster
from handyrep.operations import mastership
from handyrep.plugins import _lease, fence_lease, fence_starve
from tests.simulation import faults
from tests.simulation.cluster import Box
from tests.simulation.killed_stories import KilledLife, Story

Patch = pytest.MonkeyPatch


def cluster(*fences: str, systemd: bool = True) -> KilledLife:
    """m1 with the replicas r1 and r2, strictly synchronous, looked at twice by HandyRep."""
    failover = {"fence_methods": fences, "fence_timeout": 120.0}
    life = KilledLife(Story("", 0, lambda _: None, lambda on: on.check.run(verify=True), failover=failover))
    life.world.boxes["m1"].systemd = systemd
    for _ in range(2):
        life.cycle()
    return life


def master_of(life: KilledLife) -> str:
    recorded: Cluster = life.engine.cluster
    return recorded.master.name if recorded.master is not None else ""


def has_failed_over(life: KilledLife) -> bool:
    return master_of(life) in ("r1", "r2")


def isolated(life: KilledLife) -> Box:
    """B1: nobody reaches m1, and its clients are on its side."""
    life.world.routes = ["r1", "r1"]
    box = life.world.boxes["m1"]
    faults.isolate_master(life.world, life.weather)
    life.world.pass_time(1.0)
    return box


def told(life: KilledLife, words: str) -> list[float]:
    return [at_s for at_s, sentence in life.world.story if words in sentence]


def whole(life: KilledLife) -> str:
    return "\n".join((life.violation, *(f"{at_s:9.3f} {sentence}" for at_s, sentence in life.world.story)))


def heal(life: KilledLife) -> None:
    faults.heal(life.world, life.weather)


def test_a_master_that_is_cut_off_is_followed_once_its_lease_is_over() -> None:
    life = cluster("fence_lease")
    old = isolated(life)
    life.cycle()
    assert (life.violation, has_failed_over(life), life.world.writers()) == ("", True, [master_of(life)]), whole(life)
    (stopped,) = told(life, "the guard on m1 stops PostgreSQL")
    (promoted,) = told(life, "is promoted")
    assert stopped < promoted
    heal(life)
    faults.autostart(life.world, life.weather)
    assert not old.writes, "its door is shut"
    for _ in range(3):
        life.cycle()
    assert life.world.writers() == [master_of(life)], whole(life)


@pytest.mark.parametrize("after_s", [1, 5, 12, 20, 30, 40])
def test_one_that_comes_back_in_the_midst_of_the_waiting_is_never_one_of_two(after_s: float) -> None:
    life = cluster("fence_lease")
    isolated(life)
    life.world.deeds.append((life.world.now_s + after_s, lambda: heal(life)))
    for _ in range(6):
        life.cycle()
    assert (life.violation, life.world.writers()) == ("", [master_of(life)]), whole(life)
    assert life.engine.journal.open_run() is None


def test_a_master_whose_replicas_are_attached_runs_on_without_handyrep() -> None:
    life = cluster("fence_lease")
    for _ in range(100):
        life.world.pass_time(2.0)
    assert life.world.boxes["m1"].writes, whole(life)


def test_one_that_only_handyrep_does_not_reach_runs_on_too() -> None:
    life = cluster("fence_lease")
    life.world.boxes["m1"].cut.update(life.world.handyreps)
    for _ in range(50):
        life.cycle()
    assert (master_of(life), life.world.boxes["m1"].writes) == ("m1", True), whole(life)
    assert told(life, "still can"), "its witnesses are heard"


def test_a_host_that_was_started_anew_starts_no_master_until_handyrep_lets_it() -> None:
    life = cluster("fence_lease")
    box = life.world.boxes["m1"]
    box.lose_power()
    box.host = True
    assert not life.world.start("m1")
    assert told(life, "m1 may not start without a lease")
    for _ in range(4):
        life.cycle()
    assert (life.violation, len(life.world.writers())) == ("", 1), whole(life)


def test_without_a_guard_there_is_no_proof() -> None:
    life = cluster("fence_lease", systemd=False)
    isolated(life)
    for _ in range(3):
        life.cycle()
    assert master_of(life) == "m1"
    assert told(life, "no lease was seen in place on m1"), whole(life)


def guard_ended(life: KilledLife) -> None:
    guard = life.world.boxes["m1"].guard
    assert guard is not None
    guard.runs = False


def test_a_guard_that_was_ended_is_found_missing_at_the_next_renewal_and_put_back() -> None:
    life = cluster("fence_lease")
    guard_ended(life)
    for _ in range(4):
        life.cycle()
    guard = life.world.boxes["m1"].guard
    assert guard is not None
    assert guard.runs
    assert isolated(life).writes
    life.cycle()
    assert (life.violation, has_failed_over(life)) == ("", True), whole(life)


def test_what_fence_lease_does_not_cover_is_named() -> None:
    """Somebody ended the guard, and before HandyRep could find that out the host was cut off."""
    life = cluster("fence_lease")
    guard_ended(life)
    isolated(life)
    life.cycle()
    assert life.violation == "I5: m1 can acknowledge commits, and fence_lease counted as a proof"


def test_a_starved_master_acknowledges_nothing_and_is_fenced_when_it_is_back() -> None:
    life = cluster("fence_stop", "fence_starve")
    old = isolated(life)
    life.cycle()
    assert (life.violation, has_failed_over(life)) == ("", True), whole(life)
    assert old.writes, "nobody stopped it"
    assert not life.world.can_acknowledge(old)
    told_so_far = dict(life.world.acknowledged)
    for _ in range(5):
        life.world.pass_time(2.0)
    heal(life)
    for _ in range(4):
        life.cycle()
    assert (life.violation, life.world.writers()) == ("", [master_of(life)]), whole(life)
    assert told_so_far.items() <= life.world.acknowledged.items()


async def nothing(*_: Any) -> str:
    return ""


def nobody_waits(patch: Patch) -> None:
    patch.setattr(fence_lease.fence_lease, "_wait_until", nothing)


def no_replica_is_silenced(patch: Patch) -> None:
    patch.setattr(fence_lease.fence_lease, "_silenced", nothing)
    patch.setattr(fence_lease.fence_lease, "_not_silent", nothing)


def the_stop_takes_no_time(patch: Patch) -> None:
    patch.setattr(_lease.Terms, "stopped_within_s", -8.0)


def any_replica_is_enough(patch: Patch) -> None:
    """The proof of the data would refuse as well, so that is broken too."""
    patch.setattr(fence_starve._Promise, "is_broken_without", lambda *_: True)

    def generous(ordered: Any, known: Cluster, picture: Any, policy: Policy, **named: Any) -> Any:
        return choose(ordered, known, picture, dataclasses.replace(policy, loss_accepted=True), **named)

    patch.setattr(before, "choose", generous)


def nothing_more(_: KilledLife) -> None:
    return


def r2_reaches_it_again_soon(life: KilledLife) -> None:
    """When nobody asks any more whether it does."""
    life.world.deeds.append((life.world.now_s + 3.0, life.world.cuts.clear))


def r2_is_on_its_side(life: KilledLife) -> None:
    """The two are cut off together."""
    life.world.cuts = {frozenset(("m1", "r1")), frozenset(("r1", "r2"))}
    life.world.boxes["r2"].cut.update(life.world.handyreps)


@pytest.mark.parametrize(
    ("put_in", "fence", "happens"),
    [
        (nobody_waits, "fence_lease", nothing_more),
        (no_replica_is_silenced, "fence_lease", r2_reaches_it_again_soon),
        (the_stop_takes_no_time, "fence_lease", nothing_more),
        (any_replica_is_enough, "fence_starve", r2_is_on_its_side),
    ],
)
def test_a_fault_in_such_a_fence_is_found(
    put_in: Callable[[Patch], None], fence: str, happens: Callable[[KilledLife], None], monkeypatch: Patch
) -> None:
    sound = cluster(fence)
    isolated(sound)
    happens(sound)
    sound.cycle()
    assert sound.violation == "", whole(sound)
    put_in(monkeypatch)
    life = cluster(fence)
    isolated(life)
    happens(life)
    life.cycle()
    assert life.violation.startswith("I5: m1 can acknowledge commits"), whole(life)


def confirmed(life: KilledLife) -> None:
    life.do(mastership.confirmed_failover(life.on, "handyrep", "I pulled the plug"))  # type: ignore[arg-type] # a coroutine


def test_a_person_who_is_right_breaks_nothing() -> None:
    life = cluster("fence_stop")
    isolated(life).lose_power()
    confirmed(life)
    assert (life.violation, life.known.misled, has_failed_over(life)) == ("", "", True), whole(life)


def test_what_comes_of_a_person_who_errs_is_told_as_theirs() -> None:
    life = cluster("fence_stop")
    isolated(life)
    confirmed(life)
    assert life.known.misled == "a person said that m1 was off, and it takes writes"
    assert life.violation.startswith("I1: m1 and r")
