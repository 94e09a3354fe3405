"""One round: a calamity befalls the master while clients write, HandyRep does what it does, the calamity ends, and all is judged."""

import asyncio
import dataclasses
import time

import psycopg
from tests.lab.shell import LabError

from soak.calamities import Expected, Lot, Scene, drawn, strike, take_away
from soak.clients import wait_for
from soak.green import looked_at, wait_until_green
from soak.ground import Ground
from soak.judge import Verdict, longest_gap_s

WRITING_S, FAILOVER_S, GREEN_S, REPLAY_S = 60.0, 90.0, 180.0, 30.0
"""Bounds of the parts of a round."""
_EITHER_S = 8.0
"""How long a calamity lasts that may or may not end in a failover."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of it. `acknowledged` and `in_doubt` count this round's rows, `verdict` is on all of its block so far."""

    seed: int
    version: int
    lot: Lot
    failovers: int
    given_up: int
    new_master: str
    gap_s: float
    took_s: float
    acknowledged: int
    in_doubt: int
    verdict: Verdict
    stuck: str

    @property
    def needless(self) -> bool:
        """Whether it was failed over although the master was seen to live."""
        return self.failovers > 0 and self.lot.calamity.expected is Expected.HELD

    @property
    def wrong(self) -> str:
        """All that is wrong, as a sentence; '' when nothing is."""
        verdict = self.verdict
        found = (
            self.stuck and f"stuck: {self.stuck}",
            self.needless and "a needless failover",
            verdict.lost and f"{len(verdict.lost)} acknowledged rows lost, such as {min(verdict.lost)}",
            verdict.parted and f"{len(verdict.parted)} rows are not on all servers, such as {min(verdict.parted)}",
            verdict.two_writable
            and f"two writable: {verdict.two_writable[0][0]} came after {verdict.two_writable[0][1]}",
        )
        return "; ".join(str(one) for one in found if one)


@dataclasses.dataclass(slots=True)
class _Course:
    """When it struck, when all was green again, and what was in the way."""

    struck: float = 0.0
    stuck: list[str] = dataclasses.field(default_factory=list)


async def play(ground: Ground, seed: int) -> Round:
    """From green to green. Never raises for what HandyRep, a server or the lab did: that is told as stuck."""
    lot, scene, course, began = drawn(seed), ground.scene(), _Course(), time.monotonic()
    history = ground.clients.history
    acks, doubts, runs = len(history.acks), len(history.doubts), _runs(ground)
    try:
        await _run_through(ground, lot, scene, course)
    except (LabError, psycopg.Error) as error:
        course.stuck.append(f"the lab: {error}")
    ended = time.monotonic()
    verdict, unseen = await asyncio.to_thread(looked_at, ground, REPLAY_S)
    if unseen:
        course.stuck.append(unseen)
    ends = _runs(ground)[len(runs) :]
    return Round(
        seed=seed, version=ground.version, lot=lot, failovers=ends.count("finished"), given_up=ends.count("abandoned"), new_master=ground.handyrep.master,
        gap_s=longest_gap_s(history.acks[acks:], course.struck, ended), took_s=ended - began, acknowledged=len(history.acks) - acks,
        in_doubt=len(history.doubts) - doubts, verdict=verdict, stuck="; ".join(course.stuck),
    )  # fmt: skip


async def _run_through(ground: Ground, lot: Lot, scene: Scene, course: _Course) -> None:
    began, routes = time.monotonic(), [scene.master, *ground.proxies]
    await asyncio.to_thread(
        wait_for, lambda: not ground.clients.idle_since(began, routes), "clients writing on every route", WRITING_S
    )
    course.struck = time.monotonic()
    await asyncio.to_thread(strike, lot, scene)
    course.stuck += await _awaited(ground, lot, scene)
    await asyncio.to_thread(take_away, scene)
    why = await wait_until_green(ground, GREEN_S)
    course.stuck += [f"not green {GREEN_S:g} s after it had ended: {why}"] if why else []
    if not course.stuck:
        await asyncio.to_thread(ground.remove_kept)


async def _awaited(ground: Ground, lot: Lot, scene: Scene) -> list[str]:
    """Let it last as long as it must: until HandyRep has failed over, or has given up and switched the host on again."""
    expected = lot.calamity.expected
    if expected is Expected.HELD:
        await asyncio.sleep(lot.hold_s)
        return []
    patience_s = FAILOVER_S if expected is Expected.FAILOVER else _EITHER_S
    end = time.monotonic() + patience_s
    while not _failed_over(ground, scene.master) and not scene.switched_on.exists():
        if time.monotonic() > end:
            rule = f"{ground.handyrep.rule}: {ground.handyrep.said}"
            return [f"no failover within {patience_s:g} s ({rule})"] if expected is Expected.FAILOVER else []
        await asyncio.sleep(0.05)
    return []


def _failed_over(ground: Ground, old: str) -> bool:
    return ground.handyrep.master not in ("", old) and ground.handyrep.on.engine.journal.open_run() is None


def _runs(ground: Ground) -> list[str]:
    """How each run that this HandyRep ever began has ended; '' for one that is open."""
    return [how for _, how, _ in ground.handyrep.on.engine.journal.runs()]
