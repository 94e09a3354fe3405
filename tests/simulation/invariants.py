"""What must hold whatever happens, one function each, named by the ids of the safety rules. Each returns what is wrong, or ''.

Those of `ALWAYS` are looked at after every step at which more than one server takes writes, which they are about; those of
`ON_EVENT` once for each thing that happened.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handyrep.decide import progress
from handyrep.decide.promise import are_readable_from
from handyrep.engine.journal import Journal
from handyrep.engine.state import from_json, to_json
from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.run import Ended, Run
from handyrep.plugin_api.contract import KINDS, Kind
from tests.simulation.cluster import Acknowledged, Agreed, Begun, Event, Ordered, Promoted, Saved, Started, World
from tests.simulation.disk import Disk
from tests.simulation.door import Answered


class Known:
    """What the invariants remember: the world, HandyRep's disk, and what was seen so far."""

    def __init__(self, world: World, disk: Disk, allowed_rows: int, required: int = 0) -> None:
        self.world = world
        self.disk = disk
        self.allowed_rows = allowed_rows
        self.required = required
        self.answers: Sequence[Answered] = ()
        self.owner_of_timeline = {1: world.master_at_first}
        self.highest_timeline = 1
        self.acknowledged_on = 1
        self.promoted_in: dict[int, str] = {}
        self.deposed: dict[str, int] = {}
        self.last_epoch = 0
        self.newest: Acknowledged | None = None
        self._text, self._recorded = "", Cluster()

    def open_epoch(self) -> int:
        """The epoch of the run that is open in the journal; 0 without one."""
        opened = [r["epoch"] for r in self.disk.records if r["what"] == "open"]
        closed = [r["epoch"] for r in self.disk.records if r["what"] == "close"]
        return next((epoch for epoch in opened if epoch not in closed), 0)

    @property
    def recorded(self) -> Cluster:
        """What HandyRep would know if it were started now; of nothing before it has saved anything."""
        if self.disk.state != self._text:
            self._text, self._recorded = self.disk.state, from_json(json.loads(self.disk.state))
        return self._recorded

    def records(self, epoch: int, what: str, stage: str) -> list[Mapping[str, Any]]:
        """What the journal of this epoch holds of a stage."""
        return [r for r in self.disk.records if r["epoch"] == epoch and r["what"] == what and r.get("stage") == stage]


def i1_one_routed_writer(known: Known) -> str:
    """I1: the routes lead to at most one server that takes writes."""
    writers = sorted({route for route in known.world.routes if known.world.boxes[route].writes})
    return f"I1: the routes lead to {' and '.join(writers)}, which both take writes" if len(writers) > 1 else ""


def i1_one_writer(known: Known) -> str:
    """I1, for clients that know no routes: at most one server takes writes."""
    writers = known.world.writers()
    return f"I1: {' and '.join(writers)} take writes" if len(writers) > 1 else ""


def i2_no_acknowledgement_by_an_old_master(known: Known, event: Event) -> str:
    """I2: after the first acknowledgement of a later master an earlier one acknowledges nothing."""
    if not isinstance(event, Acknowledged):
        return ""
    if event.timeline < known.acknowledged_on:
        return f"I2: {event.by} acknowledged on timeline {event.timeline} after a commit on {known.acknowledged_on}"
    known.acknowledged_on = event.timeline
    owner = known.owner_of_timeline.get(event.timeline)
    return "" if owner == event.by else f"I2: {event.by} acknowledged on timeline {event.timeline}, which is {owner}'s"


def i3_nothing_acknowledged_is_lost(known: Known, event: Event) -> str:
    """I3: a new master has every acknowledged row; in an asynchronous cluster all but max_lost_wal."""
    lost = len(event.lost) if isinstance(event, Promoted) else 0
    allowed = known.allowed_rows
    return f"I3: {lost} acknowledged rows are lost with it, {allowed} are allowed" if lost > allowed else ""


def i4_timelines_grow(known: Known, event: Event) -> str:
    """I4: a promoted timeline is larger than all that there ever were."""
    if not isinstance(event, Promoted):
        return ""
    if event.timeline <= known.highest_timeline:
        return f"I4: {event.name} was promoted to timeline {event.timeline}, and there was {known.highest_timeline} already"
    known.highest_timeline = event.timeline
    known.owner_of_timeline[event.timeline] = event.name
    known.deposed.pop(event.name, None)
    return ""


def i4_one_promote_in_an_epoch(known: Known, event: Event) -> str:
    """I4: at most one promote is ordered in an epoch."""
    if not _is_order(event, "promotion.run"):
        return ""
    epoch = known.open_epoch()
    if not epoch or epoch in known.promoted_in:
        return f"I4: a second promote in epoch {epoch}: {known.promoted_in.get(epoch)}, then {_name(event)}"
    known.promoted_in[epoch] = _name(event)
    return ""


def i5_promote_needs_proof_and_choice(known: Known, event: Event) -> str:
    """I5: a promote comes after a proof of the fence and a choice, both in the journal of the same epoch."""
    if not _is_order(event, "promotion.run"):
        return ""
    epoch = known.open_epoch()
    ends = known.records(epoch, "ended", "fence")
    if not any(r["outcome"] == "SUCCESS" and r["extra"].get("proof") for r in ends):
        return f"I5: a promote in epoch {epoch} without a proof of the fence"
    chosen = [r["extra"]["candidate"] for r in known.records(epoch, "ended", "choose") if r["outcome"] == "SUCCESS"]
    if chosen[-1:] != [_name(event)]:
        return f"I5: {_name(event)} is promoted in epoch {epoch}, which chose {chosen}"
    intended = len(known.records(epoch, "intend", "promote"))
    return "" if intended == 1 else f"I5: a promote in epoch {epoch} was intended {intended} times"


def i7_epochs_grow(known: Known, event: Event) -> str:
    """I7: a run has a larger epoch than all before it, and no run begins while one is open."""
    if not isinstance(event, Begun):
        return ""
    if event.epoch <= known.last_epoch:
        return f"I7: epoch {event.epoch} begins after {known.last_epoch}"
    known.last_epoch = event.epoch
    first_open = known.open_epoch()
    return "" if first_open == event.epoch else f"I7: epoch {event.epoch} begins while {first_open} is open"


def i10_routes_lead_to_a_master(known: Known, event: Event) -> str:
    """I10: clients are only led to a server that was seen to take writes in this run, or to be no replica just now."""
    if not _is_order(event, "connection_failover.run"):
        return ""
    if not known.open_epoch():
        looks = [a.result for a in known.answers if a.key == "inspect.run" and a.about == _name(event)]
        is_master = bool(looks) and looks[-1].extra.get("in_recovery") is False
        return "" if is_master else f"I10: routes to {_name(event)}, not seen to be a master"
    seen = known.records(known.open_epoch(), "ended", "confirm")
    return "" if any(r["outcome"] == "SUCCESS" for r in seen) else f"I10: routes to {_name(event)}, not seen to write"


def i11_what_is_ordered_is_written_down(known: Known, event: Event) -> str:
    """I11: the record holds every list that the master was given, before it is in force."""
    cluster = known.recorded
    if not isinstance(event, Agreed) or cluster.master is None or cluster.master.name != event.name:
        return ""
    lists = (cluster.synchronous_standby_names, *cluster.older_lists, *cluster.ordered_lists)
    return "" if event.text in lists else f"I11: {event.name} was given {event.text}, and the record holds {lists}"


def i11_who_is_enough_to_read_has_every_commit(known: Known, event: Event) -> str:
    """I11: R + k > N by the record means that one of the R has the newest acknowledged row, at each moment of a change of lists."""
    if isinstance(event, Acknowledged):
        known.newest = event
    newest, cluster = known.newest, known.recorded
    if newest is None or cluster.master is None or cluster.master.name != newest.by:
        return ""
    lacking = frozenset(n for n, box in known.world.boxes.items() if n != newest.by and newest.row not in box.wal)
    if not are_readable_from(cluster, lacking):
        return ""
    return f"I11: reading {sorted(lacking)} would be enough by the record, and none of them has row {newest.row}"


def i11_a_new_master_waits_from_its_first_commit_on(known: Known, event: Event) -> str:
    """I11: whoever is promoted has its list by then."""
    waits_for = known.world.boxes[event.name].needed if isinstance(event, Promoted) else known.required
    return "" if waits_for >= known.required else f"I11: a promoted master waits for {waits_for} of {known.required}"


def i15_unknown_changes_nothing(known: Known, event: Event) -> str:
    """I9, I15: an automatic failover begins on answers, never on silence, and never against a witness."""
    if not isinstance(event, Begun) or not event.rule:
        return ""
    answers = known.answers
    master = event.old_master
    others = [
        a for a in answers if a.about != master and a.result.outcome is Outcome.SUCCESS and a.key != "inspect.sees"
    ]
    if not any(a.key.startswith(("poll", "inspect")) for a in others):
        return "I15: a failover begins and no other server answered"
    if not any(a.key == "fence.test" and a.result.outcome is Outcome.SUCCESS for a in answers):
        return "I15: a failover begins and no fence said that it could prove anything"
    polls = [a for a in answers if a.key == "poll.run" and a.about == master]
    if polls and polls[-1].result.outcome is Outcome.SUCCESS:
        return f"I15: a failover begins and {master} answered"
    views = {a.about: a.result for a in answers if a.key == "inspect.sees"}
    at_home = views.get(master)
    dead = at_home is not None and at_home.extra.get("no") is True
    witnesses = [name for name, view in views.items() if name != master and view.outcome is Outcome.SUCCESS]
    return f"I9: a failover begins and {witnesses} can see {master}" if witnesses and not dead else ""


def i16_state_is_whole(_: Known, event: Event) -> str:
    """I16: what is saved can be read, and means the same."""
    if not isinstance(event, Saved):
        return ""
    content = json.loads(event.text)
    same = json.loads(json.dumps(to_json(from_json(content)))) == content
    return "" if same else "I16: the saved state does not mean what was saved"


def old_master_is_never_started(known: Known, event: Event) -> str:
    """After a promote was ordered, the old master never comes up as a master."""
    if _is_order(event, "promotion.run"):
        opened = [r for r in known.disk.records if r["what"] == "open"]
        known.deposed[str(opened[-1]["old_master"])] = known.open_epoch()
    if isinstance(event, Started) and event.as_master and event.name in known.deposed:
        return f"old master: {event.name} was started as a master after epoch {known.deposed[event.name]} had taken that from it"
    return ""


def only_known_orders(_: Known, event: Event) -> str:
    """HandyRep orders only what the contract calls acting."""
    if not isinstance(event, Ordered):
        return ""
    kind, method = event.what.split(".")
    return "" if KINDS[Kind(kind)].method(method).acts else f"{event.what} was ordered and acts on nothing"


def _is_order(event: Event, what: str) -> bool:
    return isinstance(event, Ordered) and event.what == what


def _name(event: Event) -> str:
    return event.name if isinstance(event, Ordered) else ""


def i6_any_prefix_ends(disk: Disk, outcome_of: Callable[[Run], Outcome], clock: World) -> str:
    """I6: from every prefix of the journal, whatever each step answers, the run ends or stands still with a reason."""
    for count in range(1, len(disk.records) + 1):
        prefix = Disk()
        prefix.records = disk.records[:count]
        run = Journal(_ReadOnly(prefix), clock).open_run()  # type: ignore[arg-type] # World tells time; sleep is not used
        problem = _ends(run, outcome_of) if run is not None else ""
        if problem:
            return f"I6: after record {count}: {problem}"
    return ""


def _ends(run: Run, outcome_of: Callable[[Run], Outcome]) -> str:
    sent = sum(ended.step.stage == "promote" for ended in run.ended)
    for _ in range(60):
        move = progress.next_move(run)
        if not isinstance(move, progress.Do):
            told = move.left is not None if isinstance(move, progress.Finished) else bool(move.reason)
            return "" if told else f"it stands still without a reason: {move}"
        if run.promote_was_sent and move.step.stage in ("fence", "release", "start", "choose", "promote"):
            return f"{move.step} after the promote was sent"
        outcome = outcome_of(run)
        extra = {"candidate": run.replicas[0], "proof": "x"} if outcome is Outcome.SUCCESS and run.replicas else {}
        run = run.with_end(Ended(move.step, outcome, "as it came", extra))
        sent += move.step.stage == "promote"
    return f"it does not end, {sent} promotes were sent"


class _ReadOnly:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self) -> list[Mapping[str, Any]]:
        return self._disk.records

    def append(self, record: Mapping[str, Any]) -> None:
        raise AssertionError("only read")


ALWAYS = (i1_one_routed_writer, i1_one_writer)
ON_EVENT = (
    i2_no_acknowledgement_by_an_old_master, i3_nothing_acknowledged_is_lost, i4_timelines_grow, i4_one_promote_in_an_epoch,
    i5_promote_needs_proof_and_choice, i7_epochs_grow, i10_routes_lead_to_a_master, i15_unknown_changes_nothing, i16_state_is_whole,
    old_master_is_never_started, only_known_orders,
)  # fmt: skip
ON_EVENT_WITH_LISTS = (
    i11_what_is_ordered_is_written_down, i11_who_is_enough_to_read_has_every_commit, i11_a_new_master_waits_from_its_first_commit_on,
)  # fmt: skip
"""In worlds where HandyRep keeps the list."""
