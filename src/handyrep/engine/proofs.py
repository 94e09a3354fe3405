"""What each fence says of itself in a dry run: whether its proof could be had now. Stops nothing and proves nothing."""

import asyncio

from handyrep.decide.failover import Proof
from handyrep.engine.engine import Engine
from handyrep.engine.hands import said
from handyrep.model.answer import Answer, Outcome
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind

YES, NO = Answer.YES, Answer.NO


async def proofs(engine: Engine) -> tuple[Proof, ...]:
    """Of every configured fence, against the recorded master; all at once."""
    master = engine.cluster.master
    names = engine.settings.failover.fence_methods if master is not None else ()
    about = master.name if master is not None else ""
    results = await asyncio.gather(*(engine.hands.use(Kind.FENCE, "test", name=n, servername=about) for n in names))
    return tuple(_proof(engine, name, result) for name, result in zip(names, results, strict=True))


def _proof(engine: Engine, name: str, result: Result) -> Proof:
    possible = YES if result.outcome is Outcome.SUCCESS else NO
    told = said(result) if possible is NO else "its proof can be had"
    return Proof(name, possible, told, engine.hands.routes_only(name))


def possible_first(found: tuple[Proof, ...]) -> tuple[str, ...]:
    """A fence that could give no proof a moment ago would only take time from one that could."""
    return tuple(proof.fence for proof in sorted(found, key=lambda proof: proof.possible is not YES))
