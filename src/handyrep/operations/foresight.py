"""what_if: the verdict and the plan for an event that did not happen, by the same rules, looked up now. Changes nothing."""

import dataclasses
from types import MappingProxyType

from handyrep.decide import stages
from handyrep.decide.agreement import able_to_agree
from handyrep.decide.candidates import choose
from handyrep.decide.failover import Proof, Situation, judge
from handyrep.decide.what_if import Fate, Hypothesis, imagine, parse
from handyrep.engine.check import foreseen, new_run
from handyrep.engine.engine import Engine
from handyrep.engine.observe import Trying
from handyrep.engine.pauses import cooldown_left_s, maintenance_left_s
from handyrep.engine.proofs import fenced_by, proofs
from handyrep.engine.slots import would_lack
from handyrep.model.answer import Answer, Outcome
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture
from handyrep.model.result import Result, success
from handyrep.model.run import RunKind
from handyrep.model.verdict import Move, Verdict
from handyrep.operations.declare import Running, operation

YES, NO = Answer.YES, Answer.NO


@operation("Information", changes=False, event='what is supposed, such as "m1 dies", "m1 host dies", "r1 unreachable"')
async def what_if(on: Running, event: str) -> Result:
    """What HandyRep would see, decide and do if something happened. Nothing is changed."""
    engine = on.engine
    master = engine.cluster.master.name if engine.cluster.master else ""
    hypothesis = parse(event, {member.name: str(member.server.role) for member in engine.cluster.members.values()})
    now = await _looked(engine)
    situation = await _situation(engine, hypothesis, imagine(hypothesis, now, master))
    verdict = judge(situation)
    told: dict[str, object] = {
        "event": str(hypothesis),
        "rule": verdict.rule,
        "move": verdict.move.value,
        "because": list(verdict.because),
        "proofs": [{"fence": p.fence, "possible": p.possible.value, "said": p.said} for p in situation.proofs],
    }
    if verdict.move is Move.PROCEED:
        told |= await _consequences(engine, hypothesis, situation, verdict, now)
    return success(_summary(verdict, told), **told)


async def _looked(engine: Engine) -> Picture:
    """The look from everywhere. A replica that was asked a moment before the master would seem to lack what was written between: it is asked again."""
    first = await engine.everywhere.look(engine.settings.failover.poll_interval, Trying.AGAIN)
    later = await engine.observer.glance(*(member.name for member in engine.cluster.replicas))
    seen = {name: dataclasses.replace(one, facts=later.of(name).facts or one.facts) for name, one in first.seen.items()}
    return dataclasses.replace(first, seen=MappingProxyType(seen))


async def _situation(engine: Engine, hypothesis: Hypothesis, picture: Picture) -> Situation:
    active = await engine.hands.may_act()
    found = tuple(_supposed(engine, hypothesis, proof) for proof in await proofs(engine))
    return Situation(
        cluster=engine.cluster,
        picture=picture,
        policy=engine.policy,
        is_active=YES if active.outcome is Outcome.SUCCESS else NO,
        passive=active.details,
        proofs=found,
        choice=await foreseen(engine, picture, found),
        cooldown_left_s=cooldown_left_s(engine),
        maintenance_left_s=maintenance_left_s(engine),
    )


def _supposed(engine: Engine, hypothesis: Hypothesis, proof: Proof) -> Proof:
    """A fence that needs the master's host gives no proof once that is away, whatever it says today."""
    master = engine.cluster.master
    away = hypothesis.fate is not Fate.DIES and master is not None and master.name in hypothesis.names
    if away and proof.needs_host:
        told = "the master's host would not answer, so it could not prove anything"
        return dataclasses.replace(proof, possible=NO, said=told)
    return proof


async def _consequences(
    engine: Engine, hypothesis: Hypothesis, situation: Situation, verdict: Verdict, now: Picture
) -> dict[str, object]:
    """What the failover would come to: the candidate with its data proof, the loss, and the steps."""
    proof = situation.usable_proofs[0]
    end = _readable_end(engine, hypothesis, proof, now)
    ordered, _ = await engine.hands.select()
    estimated = engine.estimated_end
    choice = choose(ordered, engine.cluster, situation.picture, engine.policy, last_lsn=end, estimated=estimated)
    choice = able_to_agree(choice, engine.cluster, engine.policy)
    run = fenced_by(new_run(engine, RunKind.FAILOVER, verdict.sentence), situation.usable_proofs)
    return {
        "candidate": choice.candidate or "",
        "data_proof": choice.proof,
        "lost_bytes": choice.lost_bytes,
        "lost_slots": await would_lack(engine.hands, choice.candidate) if choice.candidate is not None else [],
        "refused": {excluded.name: excluded.reason for excluded in choice.excluded},
        "plan": stages.planned(run, proof.fence, choice.candidate or ""),
    }


def _readable_end(engine: Engine, hypothesis: Hypothesis, proof: Proof, now: Picture) -> Lsn | None:
    """The end of the master's WAL if the fence could read it on its disk after the event: where it ends now."""
    master = engine.cluster.master
    facts = now.of(master.name).facts if master is not None else None
    if facts is None or hypothesis.fate is not Fate.DIES or not proof.needs_host:
        return None
    return facts.received_lsn


def _summary(verdict: Verdict, told: dict[str, object]) -> str:
    if verdict.move is not Move.PROCEED or told.get("candidate"):
        return verdict.sentence
    refused = told.get("refused")
    reasons = "; ".join(f"{name}: {why}" for name, why in refused.items()) if isinstance(refused, dict) else ""
    return f"{verdict.sentence} But it would be given up then: {reasons or 'no replica may take over'}"
