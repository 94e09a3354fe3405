"""From a stage's id to what it does. Never decides what comes next; a step that acts and gets no clear answer is UNCERTAIN."""

from collections.abc import Awaitable, Callable

from handyrep.decide import stages
from handyrep.engine.steps import after, back, before, planned
from handyrep.engine.steps.scene import Scene
from handyrep.model.result import Result
from handyrep.model.run import Run, Step

Doing = Callable[[Scene, Run, str], Awaitable[Result]]

STEPS: dict[str, Doing] = {
    stages.RECHECK.id: before.recheck,
    stages.PREFLIGHT.id: planned.preflight,
    stages.HOLD.id: before.hold,
    stages.HASTEN.id: planned.hasten,
    stages.PAUSE.id: planned.pause,
    stages.FENCE.id: before.fence,
    stages.FREEZE.id: before.freeze,
    stages.RESCUE.id: before.rescue,
    stages.CHOOSE.id: before.select,
    stages.AGREE.id: before.agree,
    stages.CATCH_UP.id: planned.catch_up,
    stages.PROMOTE.id: after.promote,
    stages.CONFIRM.id: after.confirm,
    stages.RECORD.id: after.record,
    stages.SLOTS.id: after.slots,
    stages.REPOINT.id: after.repoint,
    stages.FOLLOW.id: after.follow,
    stages.REJOIN.id: after.rejoin,
    stages.EXTRA.id: after.extra,
    stages.THAW.id: back.thaw,
    stages.RELEASE.id: back.release,
    stages.START.id: back.start,
    stages.LET_ON.id: back.let_on,
}


class Executor:
    """Carries out steps on one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def execute(self, run: Run, step: Step) -> Result:
        """Do it, and say how it ended. The extra keys go into the journal."""
        return await STEPS[step.stage](self._scene, run, step.subject)

    async def ended(self) -> None:
        """Wait until nothing goes on that a step has begun beside the others."""
        await self._scene.holding.ended()

    async def follow(self, name: str, master: str) -> Result:
        """Let a running replica receive from `master`, through its slot if it uses one, and look until it does."""
        await after.make_slots(self._scene, master)
        return await after.follow_master(self._scene, name, master)

    async def repoint(self, master: str) -> Result:
        """Lead the proxies to the recorded master."""
        return await after.repoint_proxies(self._scene, master)

    async def rejoin(self, name: str, master: str) -> Result:
        """Bring a stopped former master back as a replica of `master`, and look until it receives."""
        return await after.rejoin_master(self._scene, name, master)
