"""Reads stories: what was seen, in a few words a server, and the verdict it must lead to."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from handyrep.decide.failover import Proof, Situation
from handyrep.decide.foresight import foresee, is_final
from handyrep.decide.policy import Policy
from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster
from handyrep.model.lsn import Lsn
from handyrep.model.observation import Picture, PostgresFacts, Seen
from tests.factories import make_cluster, make_server

OURS, STRANGER = "7000000000000000001", "7999999999999999999"
_ANSWERS = {
    "up": "up",
    "alive": "alive",
    "host": "host_answers",
    "running": "running",
    "sees": "sees_master",
    "writable": "writable",
    "stalled": "stalled",
}
_HEADS = (
    "story",
    "policy",
    "cooldown",
    "restarts",
    "active",
    "frozen",
    "deposed",
    "timeline",
    "maintenance",
    "servers",
    "synchronous",
    "proof",
    "verdict",
    "says",
)


@dataclasses.dataclass(frozen=True)
class Story:
    """One story: its situation, the rule and move that must come out, and the words ('' when the story does not say)."""

    name: str
    situation: Situation
    rule: str
    move: str
    says: str


def read_stories(file: Path) -> list[Story]:
    """Every story of a file."""
    return [_story(list(lines)) for lines in _blocks(file.read_text(encoding="utf-8"))]


def _blocks(text: str) -> Iterator[list[tuple[str, str]]]:
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
        if lines:
            yield [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]


def _story(lines: list[tuple[str, str]]) -> Story:
    heads = {key: value for key, value in lines if key in _HEADS}
    seen = {key: _seen(value) for key, value in lines if key not in _HEADS}
    allowed: dict[str, Any] = dict.fromkeys(heads.get("policy", "").split(), True)
    policy = Policy(**allowed)
    cluster = _cluster(heads, seen)
    picture = Picture(seen=MappingProxyType(seen), verified=True)
    ordered = [m.name for m in cluster.replicas]
    proofs = tuple(_proofs(heads.get("proof", "")))
    situation = Situation(
        cluster=cluster,
        picture=picture,
        policy=policy,
        is_active=Answer(heads.get("active", "yes")),
        proofs=proofs,
        choice=foresee(ordered, cluster, picture, policy, final=is_final(proofs), estimated=None),
        cooldown_left_s=float(heads.get("cooldown", "0")),
        maintenance_left_s=float(heads.get("maintenance", "0")),
        restarts_tried=int(heads.get("restarts", "0")),
    )
    rule, move = heads["verdict"].split()
    return Story(heads["story"], situation, rule, move, heads.get("says", ""))


def _cluster(heads: dict[str, str], seen: dict[str, Seen]) -> Cluster:
    names = heads.get("servers", "").split() or sorted({"m1", "r1", *seen})
    servers = [make_server(name, "master" if name.startswith("m") else "replica") for name in names]
    timelines = [int(heads.get("timeline", "0"))]
    timelines += [one.facts.timeline for one in seen.values() if one.facts is not None]
    return make_cluster(
        *servers, synchronous_standby_names=heads.get("synchronous", ""), system_identifier=OURS, frozen=heads.get("frozen", ""), timeline=max(timelines),
        deposed=tuple(heads.get("deposed", "").split()), maintenance_reason="a new kernel",
    )  # fmt: skip


def _seen(words: str) -> Seen:
    answers: dict[str, Any] = {
        _ANSWERS[key]: Answer(value) for key, _, value in (w.partition("=") for w in words.split()) if key in _ANSWERS
    }
    if answers.get("up") is Answer.YES:
        answers["alive"] = Answer.YES
    lsn = next((word.removeprefix("lsn=") for word in words.split() if word.startswith("lsn=")), "")
    stranger = STRANGER if "stranger" in words and not lsn else ""
    return Seen(**answers, facts=_facts(words.split(), lsn) if lsn else None, stranger=stranger)


def _facts(words: list[str], lsn: str) -> PostgresFacts:
    timeline = next((int(word.removeprefix("timeline=")) for word in words if word.startswith("timeline=")), 1)
    identifier = STRANGER if "stranger" in words else OURS
    return PostgresFacts(
        in_recovery="master" not in words,
        system_identifier=identifier,
        timeline=timeline,
        version_num=150000,
        received_lsn=Lsn.parse(lsn),
    )


def _proofs(text: str) -> Iterator[Proof]:
    if text:
        name, possible, *said = text.split(" ", 2)
        final = name == "fence_command"
        silence = name in ("fence_starve", "fence_proxy", "fence_lease")
        yield Proof(
            name, Answer(possible), said[0] if said else "its proof can be had", needs_silence=silence, final=final
        )
