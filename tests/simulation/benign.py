"""Events that are no reason to fail over, each of a seed: `python -m tests.simulation.benign [-n N] [--seed S]`. The last line is one JSON object.

Flaps are shorter than the profile's detection window; everything else may last longer. The profile is drawn too.
"""

import argparse
import asyncio
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

from handyrep.config.profiles import PROFILES
from tests.simulation.loop import Jumping
from tests.simulation.sky import Sky, Watch

Change = Callable[[Sky, Random], float]
"""Lets something begin under a sky; for how many seconds it lasts at most, 0: shorter than the detection window."""


def _set(**wrong: float | bool) -> Callable[[Sky], None]:
    def change(sky: Sky) -> None:
        for name, value in wrong.items():
            setattr(sky, name, value)

    return change


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """`longest_s`: so long it may last; 0: always shorter than the detection window."""

    name: str
    begin: Callable[[Sky], None]
    longest_s: float


EVENTS = (
    Event("the master's cable flaps", _set(master_away=True), 0),
    Event("the way from HandyRep to the master flaps", _set(handyrep_and_master_apart=True), 0),
    Event("HandyRep and the master lose each other", _set(handyrep_and_master_apart=True), 20),
    Event("HandyRep is cut off", _set(handyrep_away=True), 20),
    Event("30 % of the master's packets are lost", _set(loss=0.3), 30),
    Event("everything stalls for seconds", _set(stall_s=3.0), 20),
    Event("too many clients", _set(too_many_clients=True), 20),
    Event("no sshd answers", _set(no_sshd=True), 20),
    Event("names are not resolved", _set(no_names=True), 20),
    Event("the clock jumps ahead", _set(clock_off_s=86_400.0), 5),
    Event("the clock jumps back", _set(clock_off_s=-86_400.0), 5),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One event. `acted`: what HandyRep did to servers; `missed`: how many looks found the master silent."""

    name: str
    profile: str
    acted: tuple[str, ...]
    missed: int


def play(seed: int, *, event: Event | None = None, longer_than_the_window: bool = False) -> Outcome:
    """One event on a calm day, wholly decided by its seed. With `longer_than_the_window` a flap is none any more."""
    rng = Random(seed)
    drawn = event or EVENTS[seed % len(EVENTS)]
    profile = rng.choice(list(PROFILES))
    timings = PROFILES[profile]
    window_s = timings.detection_window_s
    lasts_s = drawn.longest_s * rng.random() if drawn.longest_s else window_s * rng.uniform(0.05, 0.99)
    fences = rng.choice((("fence_stop",), ("fence_starve",), ("fence_stop", "fence_starve")))
    if longer_than_the_window:
        lasts_s, fences = 5 * timings.silent_within_s, ("fence_starve",)
    sky = Sky()

    async def day() -> Outcome:
        watch = Watch(sky, rng, {**dataclasses.asdict(timings), "fence_methods": fences})
        watching = asyncio.create_task(watch.monitor.run())
        await asyncio.sleep(timings.poll_interval * (3 + rng.random()))
        drawn.begin(sky)
        await asyncio.sleep(lasts_s)
        for field in dataclasses.fields(Sky):
            if field.name != "clock_off_s":
                setattr(sky, field.name, field.default)
        await asyncio.sleep(2 * (timings.poll_interval + timings.silent_within_s))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await watch.check.close()
        return Outcome(drawn.name, profile, tuple(watch.acted), watch.plugins.failed)

    loop = Jumping()
    try:
        return loop.run_until_complete(day())
    finally:
        loop.close()


def main(arguments: list[str]) -> int:
    """0: nothing was done to any server; 1: something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.benign", description=__doc__)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    failovers, events, missed = 0, Counter[str](), 0
    for seed in range(given.seed, given.seed + given.n):
        outcome = play(seed)
        events[outcome.name] += 1
        missed += outcome.missed > 0
        if outcome.acted:
            failovers += 1
            sys.stdout.write(f"seed {seed}: {outcome.name} ({outcome.profile}): {', '.join(outcome.acted)}\n")
    summary = {"events": given.n, "failovers": failovers, "master_missed_in": missed, "seed": given.seed}
    sys.stdout.write(
        "".join(f"{count:5} {name}\n" for name, count in sorted(events.items())) + json.dumps(summary) + "\n"
    )
    return 1 if failovers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
