"""What is done when more than one server takes writes: a former master that came back is fenced; else clients are held back.

Never chooses between two masters: that is a person's.
"""

import dataclasses

from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.errors import RefusedError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success
from handyrep.model.run import RunKind
from handyrep.model.verdict import Verdict
from handyrep.plugin_api.contract import Kind


async def fence_returned(engine: Engine, name: str) -> Result:
    """Fence a former master that takes writes again. A fence that needs silence says nothing of one that is seen to live."""
    refused = []
    async with engine.changing(f"fencing {name}, which came back"):
        for fence in engine.settings.failover.fence_methods:
            if engine.hands.needs_silence(fence):
                continue
            result = await engine.hands.use(Kind.FENCE, name=fence, servername=name)
            if result.outcome is Outcome.SUCCESS and result.extra.get("proof"):
                engine.events.record("fence", f"{name} came back as a master and was fenced: {result.details}", {})
                return success(f"{name} came back as a master and was fenced by {fence}")
            refused.append(f"{fence}: {said(result)}")
    return fail(f"{name} came back as a master and could not be fenced: {'; '.join(refused) or 'no fence can stop it'}")


async def hold_clients(engine: Engine, verdict: Verdict) -> Result:
    """Let no client reach any of them through the proxies, and stand still until a person decides."""
    held = "no proxy can hold clients back"
    if engine.hands.can_hold_clients(RunKind.FAILOVER):
        async with engine.changing("holding clients back"):
            result = await engine.hands.use(Kind.CONNECTION_FAILOVER, "block")
            done = result.outcome is Outcome.SUCCESS
            held = "clients are held back at every proxy" if done else f"not every proxy holds back: {said(result)}"
    frozen = f"{verdict.sentence} ({held})"
    engine.state.update(dataclasses.replace(engine.cluster, frozen=frozen, proxies_behind=True))
    engine.events.record("ask", f"{verdict.sentence} {held}", {"rule": verdict.rule})
    return fail(verdict.sentence, rule=verdict.rule, failover_ok=False)


async def let_clients_on(engine: Engine) -> str:
    """Lead clients to the recorded master again, if it alone takes writes; what was done, or ''. Raises RefusedError."""
    picture = await engine.observer.verify()
    engine.take(picture)
    writable = [n for n, seen in picture.seen.items() if seen.facts is not None and not seen.facts.in_recovery]
    master = engine.cluster.master.name if engine.cluster.master else ""
    if [name for name in writable if name != master]:
        raise RefusedError(
            f"{' and '.join(sorted(writable))} take writes, and {master or 'none'} is recorded as the master",
            remedy="Stop the wrong one, or make the right one the recorded master: handyrep adopt NAME CLUSTER",
        )
    if not engine.hands.configured(Kind.CONNECTION_FAILOVER) or not writable:
        return ""
    result = await engine.executor.repoint(master)
    return "clients are let on" if result.outcome is Outcome.SUCCESS else f"proxies: {said(result)}"
