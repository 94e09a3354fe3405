"""Taking back what a run did before it promoted anybody: the replicas receive again, the fence is lifted, the old master starts."""

import asyncio
import dataclasses

from handyrep.decide import stages
from handyrep.engine.hands import said
from handyrep.engine.kept_up import let_start
from handyrep.engine.steps.scene import Scene
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.model.run import Run
from handyrep.plugin_api.contract import Kind


async def thaw(on: Scene, run: Run, _: str) -> Result:
    """Let every replica that may have been halted receive as before."""
    if not on.hands.able(Kind.FOLLOW, "resume"):
        return success("no receiver was stopped")
    names = run.halted
    results = await asyncio.gather(*(on.hands.use(Kind.FOLLOW, "resume", server=on.server(name)) for name in names))
    left = {n: said(r) for n, r in zip(names, results, strict=True) if r.outcome is not Outcome.SUCCESS}
    if left:
        return uncertain("; ".join(f"{name}: {why}" for name, why in left.items()))
    return success(f"{', '.join(names) or 'no replica'} may receive as before")


async def release(on: Scene, run: Run, fence: str) -> Result:
    """Take back what a fence left behind."""
    if fence == stages.CONFIRMATION:
        return success("a person's word left nothing behind")
    return await on.hands.use(Kind.FENCE, "release", name=fence, servername=run.old_master)


async def start(on: Scene, run: Run, _: str) -> Result:
    """Start the old master again, and look until it takes writes."""
    server = on.server(run.old_master)
    await let_start(on.hands, on.settings, on.cluster, run.old_master)
    await on.hands.use(Kind.RESTART, server=server, runmode="start")

    async def writes() -> bool:
        written = await on.hands.use(Kind.INSPECT, "write", server=server)
        return written.outcome is Outcome.SUCCESS

    if await on.until(writes, on.settings.failover.start_timeout):
        return success(f"{run.old_master} takes writes again")
    return fail(f"{run.old_master} was started again and takes no writes")


async def let_on(on: Scene, _: Run, __: str) -> Result:
    """Let clients on to the recorded master. What is left of it is seen to once the master is well."""
    await on.holding.ended()
    result = await on.hands.use(Kind.CONNECTION_FAILOVER, "unblock")
    if result.outcome is Outcome.SUCCESS:
        on.state.update(dataclasses.replace(on.cluster, proxies_behind=False))
    return result
