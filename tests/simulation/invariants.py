"""What must hold whatever happens, one function each, named by the ids of the safety rules. Each returns what is wrong, or ''.

Those of `ALWAYS` are looked at after every step at which more than one server takes writes, which they are about; those of
`ON_EVENT` once for each thing that happened, before the next thing can; those of `AT_THE_END` on the last day of a life.
`ELSEWHERE` names the tests of what an imagined cluster has nothing of: real files, real answers of plugins, real secrets.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handyrep.decide import progress
from handyrep.decide.promise import are_readable_from
from handyrep.decide.stages import CONFIRMATION
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
    """What the invariants remember: the world, HandyRep's disk, and what was seen so far.

    `has_two`: a run may be written down by one HandyRep that
    the other one never hears of: then its number counts from the first order. `can_be_starved`: fence_starve may leave an old master running that can acknowledge nothing. `misled`: how a person erred who said
    that a master was off; whatever comes of that is theirs, and is told as such. `clock_ahead_s`: by how much the wall clock was set when HandyRep read it, as it does once.
    """

    def __init__(self, world: World, disk: Disk, allowed_rows: int, required: int = 0, cooldown_s: float = 0.0) -> None:
        self.world = world
        self.disk = disk
        self.allowed_rows = allowed_rows
        self.required = required
        self.cooldown_s = cooldown_s
        self.can_be_starved = False
        self.misled = ""
        self.promoted_at_s = -math.inf
        self.clock_ahead_s = self.clock_then_s = 0.0
        self.answers: Sequence[Answered] = ()
        self.owner_of_timeline = {1: world.master_at_first}
        self.highest_timeline = 1
        self.acknowledged_on = 1
        self.promoted_in: dict[int, str] = {}
        self.deposed: dict[str, int] = {}
        self.last_epoch = self.last_ordered = 0
        self.has_two = len(world.handyreps) > 1
        self.newest_run: tuple[int, str] = (0, "")
        self.newest: Acknowledged | None = None
        self._text, self._recorded = "", Cluster()

    def is_writer(self, name: str) -> bool:
        """Whether commits can be made on it. One that fence_starve holds takes them, and ends none."""
        box = self.world.boxes[name]
        return self.world.can_acknowledge(box) if self.can_be_starved else box.writes

    def open_epoch(self) -> int:
        """The epoch of the run that is open in the journal; 0 without one."""
        opened = [r["epoch"] for r in self.disk.records if r["what"] == "open"]
        closed = [r["epoch"] for r in self.disk.records if r["what"] == "close"]
        return next((epoch for epoch in opened if epoch not in closed), 0)

    def fence_keeps_it_down(self) -> bool:
        """Whether the run that began last has the proof of a fence whose mark outlives the host: one that was switched off or cut off may come up."""
        began = max(number for number, record in enumerate(self.disk.records) if record["what"] == "open")
        ended = [r for r in self.disk.records[began:] if r["what"] == "ended" and r.get("stage") == "fence"]
        return any(r.get("outcome") == Outcome.SUCCESS.value and r.get("subject") == "fence_stop" for r in ended)

    @property
    def recorded(self) -> Cluster:
        """What HandyRep would know if it were started now; of nothing before it has saved anything."""
        if self.disk.state != self._text:
            content = from_json(json.loads(self.disk.state)) if self.disk.state else Cluster()
            self._text, self._recorded = self.disk.state, content
        return self._recorded

    def records(self, epoch: int, what: str, stage: str) -> list[Mapping[str, Any]]:
        """What the journal of this epoch holds of a stage."""
        return [r for r in self.disk.records if r["epoch"] == epoch and r["what"] == what and r.get("stage") == stage]


def i1_one_routed_writer(known: Known) -> str:
    """I1: the routes lead to at most one server that takes writes."""
    writers = sorted({route for route in known.world.routes if known.is_writer(route)})
    return f"I1: the routes lead to {' and '.join(writers)}, which both take writes" if len(writers) > 1 else ""


def i1_one_writer(known: Known) -> str:
    """I1, for clients that know no routes: at most one server takes writes."""
    writers = [name for name in known.world.writers() if known.is_writer(name)]
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


def i3_who_writes_has_it_all(known: Known) -> str:
    """I3, on the last day: the one server that takes writes has every acknowledged row. Of an older master that came back I2 tells."""
    writers = known.world.writers()
    newest = max(box.timeline for box in known.world.boxes.values())
    if len(writers) != 1 or known.world.boxes[writers[0]].timeline < newest:
        return ""
    lost = set(known.world.acknowledged) - set(known.world.boxes[writers[0]].wal)
    return f"I3: {len(lost)} acknowledged rows are not on {writers[0]}" if lost else ""


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


def i5_the_proof_is_true(known: Known, event: Event) -> str:
    """I5: when a promote is ordered, the old master can in truth acknowledge nothing: its lease is over, it is off, it is starved."""
    if not _is_order(event, "promotion.run"):
        return ""
    proofs = [r["subject"] for r in known.records(known.open_epoch(), "ended", "fence") if r["outcome"] == "SUCCESS"]
    opened = [r for r in known.disk.records if r["what"] == "open"]
    old = known.world.boxes[str(opened[-1]["old_master"])] if opened else None
    if old is None or not proofs:
        return ""
    could = known.world.can_acknowledge(old) if proofs[-1] == "fence_starve" else old.writes
    if could and proofs[-1] == CONFIRMATION:
        known.misled = f"a person said that {old.name} was off, and it takes writes"
        return ""
    return f"I5: {old.name} can acknowledge commits, and {proofs[-1]} counted as a proof" if could else ""


def i7_epochs_grow(known: Known, event: Event) -> str:
    """I7: a run has a larger epoch than all before it, and no run begins while one is open."""
    if not isinstance(event, Begun):
        return ""
    if event.epoch <= (known.last_ordered if known.has_two else known.last_epoch):
        return f"I7: epoch {event.epoch} begins after {known.last_epoch}"
    known.last_epoch = event.epoch
    first_open = known.open_epoch()
    return "" if first_open == event.epoch else f"I7: epoch {event.epoch} begins while {first_open} is open"


def i7_nobody_acts_in_an_overtaken_run(known: Known, event: Event) -> str:
    """I7, for two HandyReps: who promotes or takes back does that in the newest run in which anything was done."""
    if not isinstance(event, Ordered) or not known.open_epoch():
        return ""
    run = next((r["epoch"], r.get("began_at", "")) for r in reversed(known.disk.records) if r["what"] == "open")
    newer = run[0] < known.last_ordered or (run[0] == known.last_ordered and run != known.newest_run)
    if newer and event.what in ("promotion.run", "fence.release", "restart.run"):
        return f"I7: {event.what} {event.name} is ordered in run {run}, after {known.newest_run}"
    if not newer and event.what in ("promotion.run", "fence.run"):
        known.last_ordered, known.newest_run = run[0], run
    return ""


def i8_the_master_is_never_overwritten(known: Known, event: Event) -> str:
    """I8: what rewinds or overwrites a server is never ordered for the recorded master."""
    master = known.recorded.master
    destroys = _is_order(event, "rejoin.run") or _is_order(event, "clone.run")
    meant = destroys and master is not None and master.name == _name(event)
    return f"I8: {_name(event)} is the recorded master and shall be overwritten" if meant else ""


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


def i9_no_failover_against_a_witness(known: Known, event: Event) -> str:
    """I9: no automatic failover begins while a fresh witness sees the master, unless its own host says that it is dead."""
    if not isinstance(event, Begun) or not event.rule:
        return ""
    views = {a.about: a.result for a in known.answers if a.key == "inspect.sees"}
    at_home = views.get(event.old_master)
    dead = at_home is not None and at_home.extra.get("no") is True
    witnesses = [name for name, view in views.items() if name != event.old_master and view.outcome is Outcome.SUCCESS]
    return f"I9: a failover begins and {witnesses} can see {event.old_master}" if witnesses and not dead else ""


def i12_one_failover_in_the_block_period(known: Known, event: Event) -> str:
    """I12: no automatic failover begins within failover_cooldown after a promote. A clock that was set since is no clock."""
    if isinstance(event, Promoted):
        known.promoted_at_s, known.clock_then_s = known.world.now_s, known.clock_ahead_s
    if not isinstance(event, Begun) or not event.rule or known.clock_then_s != known.clock_ahead_s:
        return ""
    passed_s = known.world.now_s - known.promoted_at_s
    blocked = passed_s < known.cooldown_s
    return f"I12: a failover begins {passed_s:.0f} s after a promote ({known.cooldown_s:.0f} s)" if blocked else ""


def i14_only_a_success_counts(known: Known, event: Event) -> str:
    """I14: a fence that counts as a proof has said so: anything but a well-formed SUCCESS with a proof is none."""
    if not _is_order(event, "promotion.run"):
        return ""
    counted = [
        str(r["subject"])
        for r in known.records(known.open_epoch(), "ended", "fence")
        if r["outcome"] == "SUCCESS" and r["subject"] != CONFIRMATION
    ]
    for fence in counted:
        said = [a.result for a in known.answers if a.key == "fence.run" and a.plugin == fence]
        if said and not any(one.outcome is Outcome.SUCCESS and one.extra.get("proof") for one in said):
            return f"I14: {fence} counts as a proof, and it said {said[-1].outcome.value} {said[-1].details}"
    return ""


def i15_unknown_changes_nothing(known: Known, event: Event) -> str:
    """I15: an automatic failover begins on answers, never on silence."""
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
    answered = bool(polls) and polls[-1].result.outcome is Outcome.SUCCESS
    return f"I15: a failover begins and {master} answered" if answered else ""


def i16_state_is_whole(_: Known, event: Event) -> str:
    """I16: what is saved can be read, and means the same."""
    if not isinstance(event, Saved):
        return ""
    content = json.loads(event.text)
    same = json.loads(json.dumps(to_json(from_json(content)))) == content
    return "" if same else "I16: the saved state does not mean what was saved"


def old_master_is_never_started(known: Known, event: Event) -> str:
    """After a promote was ordered, an old master on whose disk a fence left its mark never comes up as a master."""
    if _is_order(event, "promotion.run") and known.fence_keeps_it_down():
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

    note = append


Always = Callable[[Known], str]
OnEvent = Callable[[Known, Event], str]

ALWAYS: tuple[Always, ...] = (i1_one_routed_writer, i1_one_writer)
ON_EVENT: tuple[OnEvent, ...] = (
    i2_no_acknowledgement_by_an_old_master, i3_nothing_acknowledged_is_lost, i4_timelines_grow, i4_one_promote_in_an_epoch,
    i5_promote_needs_proof_and_choice, i5_the_proof_is_true, i7_epochs_grow, i7_nobody_acts_in_an_overtaken_run,
    i8_the_master_is_never_overwritten, i9_no_failover_against_a_witness,
    i10_routes_lead_to_a_master, i12_one_failover_in_the_block_period, i14_only_a_success_counts, i15_unknown_changes_nothing,
    i16_state_is_whole, old_master_is_never_started, only_known_orders,
)  # fmt: skip
ON_EVENT_WITH_LISTS: tuple[OnEvent, ...] = (
    i11_what_is_ordered_is_written_down, i11_who_is_enough_to_read_has_every_commit, i11_a_new_master_waits_from_its_first_commit_on,
)  # fmt: skip
"""In worlds where HandyRep keeps the list."""
AT_THE_END = (i3_who_writes_has_it_all, i6_any_prefix_ends)

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "I6": ("simulation/test_killed_everywhere.py::test_e1_e2_killed_at_every_place",),
    "I8": (
        "plugins/test_clone_basebackup.py::test_h1_a_master_and_the_source_itself_are_refused",
        "plugins/test_clone_basebackup.py::test_h1_a_running_postgresql_is_refused",
        "plugins/test_clone_basebackup.py::test_a_folder_that_is_no_data_directory_is_refused",
        "plugins/test_clone_basebackup.py::test_c10_h1_another_clusters_data_is_refused",
        "plugins/test_clone_basebackup.py::test_h4_a_symbolic_link_is_refused",
        "plugins/test_rejoin_rewind.py::test_c9_one_that_wrote_more_is_rewound_and_its_wal_is_kept",
        "plugins/test_rejoin_rewind.py::test_one_that_is_not_proven_to_be_stopped_is_not_touched",
    ),
    "I13": (
        "bugs/test_adapter_bugs.py::test_hr_64_no_password_in_errors_logs_or_arguments",
        "config/test_secrets.py::test_every_password_is_a_secret",
        "config/test_secrets.py::test_a_secret_cannot_become_json",
        "decide/test_recorded.py::test_no_secret_can_be_in_a_record",
        "plugins/test_clone_basebackup.py::test_no_password_is_in_an_argument_or_a_result_or_stays_behind",
        "plugins/test_rejoin_rewind.py::test_no_password_is_in_an_argument_or_a_result_or_stays_behind",
    ),
    "I14": (
        "plugin_api/test_containment.py::test_e12_e13_a_plugin_that_misbehaves_is_contained",
        "plugin_api/test_containment.py::test_e13_an_acting_plugin_that_hangs_is_uncertain_never_failed",
        "plugin_api/test_more_containment.py::test_a_result_that_is_endless_is_malformed",
    ),
    "I16": (
        "adapters/test_store.py::test_a_writer_killed_at_any_moment_leaves_a_whole_version",
        "adapters/test_store.py::test_e4_a_file_cut_at_any_byte_gives_the_version_before_with_a_warning",
        "adapters/test_journal_file.py::test_a_writer_killed_at_any_moment_keeps_all_that_it_promised",
    ),
}  # fmt: skip
"""Which tests hold what cannot be seen here, or only in part: I13 wholly; of I8 what lies on a disk; of I14 what a plugin returns; of
I16 what a file holds; of I6 that a step which is done again does no harm."""
