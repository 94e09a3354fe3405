"""A host that is off in an asynchronous cluster: refused, unless the operator lets the loss be judged by an estimate."""

from handyrep.model.result import success
from tests.engine.world import Imagined


async def host_off(*, written: int = 0, **failover: object) -> Imagined:
    """An asynchronous cluster, known to HandyRep; its power switch says that m1 is off."""
    world = Imagined(fence_methods=("fence_command",), **failover)
    world.boxes["m1"].synchronous = ""
    await world.look()
    world.boxes["m1"].position += written
    world.clock.now_s += 2
    await world.look()
    world.plugins.instead["fence.test"] = lambda _: success()
    world.plugins.instead["fence.run"] = lambda _: success(proof="the switch says off", ended=True)
    world.boxes["m1"].up = world.boxes["m1"].host = False
    await world.look()
    return world


def assert_refused(world: Imagined, words: str) -> None:
    """Before the switch is thrown: that cannot be taken back."""
    verdict = world.engine.last_verdict
    assert verdict is not None
    assert (verdict.rule, words in verdict.sentence) == ("F15", True), verdict
    assert (world.master, world.plugins.count("fence.run"), world.engine.journal.runs()) == ("m1", 0, [])


async def test_without_the_operators_word_it_is_refused() -> None:
    world = await host_off()
    assert_refused(world, "the old master's disk was not read")


async def test_with_it_a_small_estimated_loss_is_taken() -> None:
    world = await host_off(estimate_lost_wal=True)
    assert world.master == "r1"
    run, how, _ = world.engine.journal.runs()[-1]
    chosen = next(e for e in run.ended if e.step.stage == "choose")
    assert (how, chosen.extra["lost_bytes"]) == ("finished", None)
    assert "estimated to lack 0 bytes" in chosen.details
    assert world.engine.cluster.last_seen is None, "what is known of m1 says nothing of r1"


async def test_a_large_one_is_not() -> None:
    world = await host_off(written=5_000_000, estimate_lost_wal=True, max_lost_wal=1.0)
    assert_refused(world, "estimated to lack")


async def test_after_a_restart_nothing_is_known_to_estimate_from() -> None:
    world = Imagined(fence_methods=("fence_command",), estimate_lost_wal=True)
    assert world.engine.estimated_end is None
    await world.look()
    assert world.engine.estimated_end is not None
