"""Stands where the engine reaches plugins: answers from the imagined cluster, and lets through what `Weather` makes of each call."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from handyrep.config.settings import Settings
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail, success, uncertain
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugins.fence_lease import fence_lease
from handyrep.plugins.fence_starve import fence_starve
from tests.simulation.cluster import DEAD_RECEIVER_S, Box, Ordered, Runs, World
from tests.simulation.disk import Disk
from tests.simulation.hosts import REAL, FineClock, Servers, real_fences
from tests.simulation.weather import Trouble, Weather

Given = Mapping[str, Any]
NO_SSH = fail("its host does not answer over SSH")
SILENT = fail("no answer")


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """One answer that HandyRep was given."""

    key: str
    about: str
    result: Result
    plugin: str = ""


class Everything(Plugin):
    """What is known of every plugin of the imagined cluster: it has all optional methods but those of a fence that keeps something up, and needs no silence."""

    halt = resume = tidy = block = unblock = once = promoted = pause = hasten = bring = hindrances = Plugin.success


class Registry:
    """Knows every plugin, and two fences for what they are."""

    def load(self, name: str) -> type[Plugin]:
        return {"fence_lease": fence_lease, "fence_starve": fence_starve}.get(name, Everything)


class Door:
    """One HandyRep's way to the outside; a killed HandyRep's door stays shut."""

    def __init__(self, world: World, weather: Weather, watch: Callable[[], None], name: str = "HandyRep") -> None:
        self.registry = Registry()
        self.name = name
        self.fences: Caller | None = None
        self.world = world
        self.weather = weather
        self.answers: list[Answered] = []
        self._watch = watch
        self._doing = {
            key.removeprefix("_do_"): getattr(self, key) for key in dir(self) if key.startswith("_do_")
        }  # fmt: skip

    async def select(self, name: str, *, cluster: Cluster, deadline_s: float) -> tuple[str, ...] | Result:
        await self._wait()
        trouble = self.weather.trouble(acts=False)
        if trouble is not Trouble.NONE:
            return fail("the selection plugin gave no answer")
        names = sorted(m.name for m in cluster.replicas if m.status.health in (1, 2) or self.world.rng.random() < 0.3)
        self.world.rng.shuffle(names)
        self._watch()
        return tuple(names)

    async def call(
        self, kind: Kind, name: str, method: str = "run", arguments: Given | None = None, *, cluster: Cluster, deadline_s: float
    ) -> Result:  # fmt: skip
        given: dict[str, Any] = {
            **(arguments or {}),
            "plugin": name,
            "recorded": cluster.master.name if cluster.master else "",
        }
        about = str(next(iter(given.values())))
        sent_s = self.world.now_s
        await self.weather.maybe_stopped(f"{kind.value}.{method}")
        await self._wait()
        acts = KINDS[kind].method(method).acts and given.get("runmode") != "status"
        if self.world.now_s - sent_s > deadline_s:
            self.world.tell(f"{self.name} calls {kind.value}.{method} {about} no more: its deadline is over")
            return (uncertain if acts else fail)("no answer in time")
        if acts:
            self.world.happened.append(Ordered(f"{kind.value}.{method}", about))
            self._watch()
        if self.fences is not None and name in REAL:
            result = await self.fences.call(kind, name, method, arguments, cluster=cluster, deadline_s=deadline_s)
        else:
            result = self._troubled(f"{kind.value}_{method}", about, given, acts=acts)
        self.weather.maybe_killed(f"after {kind.value}.{method} {about}")
        self.answers.append(Answered(f"{kind.value}.{method}", about, result, name))
        if acts:
            self.world.tell(f"{self.name} calls {kind.value}.{method} {about}: {result.outcome.value} {result.details}")
        self._watch()
        return result

    async def _wait(self) -> None:
        for _ in range(self.weather.turns_to_wait()):
            await asyncio.sleep(0)
        await self._passes(self.weather.duration_s())

    async def _passes(self, duration_s: float) -> None:
        self.weather.maybe_killed("before a call")
        self.world.pass_time(duration_s)
        self.weather.maybe_fault()
        self._watch()

    def let_in(self, settings: Settings, disk: Disk) -> None:
        """The fences that are real: fence_lease and fence_starve themselves, on imagined servers."""
        servers = Servers(self.world, self.weather, disk, self._wait, self.name)
        self.fences = real_fences(servers, settings, FineClock(self.world, self._passed))

    async def _passed(self, duration_s: float) -> None:
        await asyncio.sleep(0)
        await self._passes(duration_s)

    def _troubled(self, key: str, about: str, given: Given, *, acts: bool) -> Result:
        no_answer = (uncertain if acts else fail)("no answer in time")
        trouble = self.weather.trouble(acts=acts)
        if trouble is Trouble.ONLY_SAID and key in ("promotion_run", "follow_run", "follow_hasten", "restart_run"):
            return success("said, and not done")
        if trouble is Trouble.LATE and acts:
            self._later(key, about, given)
        if trouble in (Trouble.NOT_DONE, Trouble.LATE):
            return no_answer
        result: Result = self._doing[key](given) if key in self._doing else success()
        if trouble is Trouble.RUBBISH and not acts:
            return _rubbish(result)
        if trouble in (Trouble.ANSWER_LOST, Trouble.RUBBISH):
            return no_answer
        return success("it is surely off") if trouble is Trouble.ONLY_SAID and key == "fence_run" else result

    def _later(self, key: str, about: str, given: Given) -> None:
        if key in self.weather.can_be_late:
            at_s = self.world.now_s + self.world.rng.uniform(0.1, 8)
            self.world.later.append((at_s, given.get("names", self.weather.can_be_late[key]), about))

    def _box(self, given: Given) -> Box:
        return self.world.boxes[str(next(iter(given.values())))]

    def _reaches(self, box: Box) -> bool:
        return box.host and not box.cut_from(self.name)

    def _commands(self, box: Box) -> bool:
        return self._reaches(box) and box.ssh

    def _do_journal_run(self, given: Given) -> Result:
        there = [box for box in self.world.boxes.values() if self._commands(box)]
        for box in there:
            box.copy = given["text"]
        return (success if 2 * len(there) > len(self.world.boxes) else fail)(f"{len(there)} servers hold it")

    def _do_journal_read(self, _: Given) -> Result:
        there = [box for box in self.world.boxes.values() if self._commands(box)]
        texts = {box.name: box.copy for box in there if box.copy}
        enough = 2 * len(there) > len(self.world.boxes)
        return (success if enough else fail)(f"{len(there)} servers were read", texts=texts)

    def _do_master_check_run(self, _: Given) -> Result:
        if self.world.agreement is not None:
            return success() if self.world.agreement.may(self.name) else fail("the other HandyRep may act")
        return success() if self.weather.is_active() else fail("another HandyRep is the master")

    def _do_poll_run(self, given: Given) -> Result:
        box = self._box(given)
        if self._reaches(box) and box.runs is Runs.STARTING:
            return fail("57P03", alive=True)
        return success() if self._reaches(box) and box.runs is Runs.RUNNING else SILENT

    _do_poll_once = _do_poll_run

    def _do_inspect_run(self, given: Given) -> Result:
        box = self._box(given)
        if not self._reaches(box) or box.runs is not Runs.RUNNING:
            return SILENT
        age_s = self.world.now_s - box.heard_s
        cut_off = age_s < DEAD_RECEIVER_S and self._is_cut_off(box)
        receiving = box.in_recovery and not box.halted and (self.world.streams(box) or cut_off)
        return success(
            in_recovery=box.in_recovery, system_identifier="1", timeline=box.timeline, version_num=150000, received_lsn=box.lsn,
            receiving=receiving, message_age_s=age_s if receiving else None, replay_paused=box.paused,
            synchronous_standby_names=box.sync, calls_itself=box.name if box.in_recovery else "",
        )  # fmt: skip

    def _is_cut_off(self, box: Box) -> bool:
        return bool(box.follows) and not self.world.linked(box.name, box.follows)

    def _do_inspect_write(self, given: Given) -> Result:
        box = self._box(given)
        return success() if self._reaches(box) and box.runs is Runs.RUNNING and not box.in_recovery else SILENT

    def _do_inspect_host(self, given: Given) -> Result:
        return success() if self._commands(self._box(given)) else NO_SSH

    def _do_inspect_sees(self, given: Given) -> Result:
        box, master = self._box(given), self.world.boxes[given["mastername"]]
        if not self._commands(box):
            return NO_SSH
        seen = self.world.linked(box.name, master.name) and master.runs in (Runs.RUNNING, Runs.STARTING)
        return success() if seen else fail("refused or silent", no=True)

    def _do_replication_status_run(self, given: Given) -> Result:
        box, master = self._box(given), self.world.boxes.get(given["recorded"])
        if master is None or not self._reaches(master) or master.runs is not Runs.RUNNING:
            return fail("the master is away")
        return success(lag=0.0, replicating=box.follows == master.name and self.world.streams(box))

    def _do_restart_run(self, given: Given) -> Result:
        box = self._box(given)
        if not self._commands(box):
            return NO_SSH
        if given["runmode"] == "start":
            self.world.start(box.name)
        return success() if box.runs is not Runs.STOPPED else fail("does not run", running=False)

    def _do_promotion_run(self, given: Given) -> Result:
        box = self._box(given)
        if not self._commands(box):
            return NO_SSH
        return success() if self.world.promote(box.name) else fail("it is no replica that runs")

    def _do_fence_test(self, given: Given) -> Result:
        if given["plugin"] == "fence_power":
            return success() if self.weather.power_answers() else fail("the power switch does not answer")
        return success() if self._commands(self._box(given)) else NO_SSH

    def _do_fence_run(self, given: Given) -> Result:
        box = self._box(given)
        if given["plugin"] == "fence_power":
            return self._powered_off(box)
        if not self._commands(box):
            return fail("its host does not answer", untouched=True)
        self.world.stop_cleanly(box.name)
        if self.weather.half_done():
            return uncertain("the connection broke in the middle")
        box.fenced, box.signal = box.fenced or not box.signal, True
        return success(proof="no process is left", last_lsn=box.lsn if self.weather.disk_is_read() else "", ended=True)

    def _powered_off(self, box: Box) -> Result:
        if not self.weather.power_answers():
            return fail("the power switch does not answer")
        box.lose_power()
        box.powered_off = True
        return success(proof="the switch says off", ended=True)

    def _do_fence_release(self, given: Given) -> Result:
        box = self._box(given)
        if given["plugin"] == "fence_power":
            if not self.weather.power_answers():
                return uncertain("the power switch does not answer")
            box.host, box.powered_off = True, False
            return success()
        if not self._commands(box):
            return uncertain("its host does not answer")
        if box.fenced:
            box.fenced, box.signal = False, False
        return success()

    def _do_sync_run(self, given: Given) -> Result:
        """An order that nobody heard of is carried by a session, and a later order ends that first."""
        box = self._box(given)
        if not self._reaches(box) or box.runs is not Runs.RUNNING:
            return SILENT
        self.world.forget_orders(box.name)
        return success() if self.world.agree(box.name, given["names"]) else SILENT

    def _do_follow_run(self, given: Given) -> Result:
        box = self._box(given)
        if not self._reaches(box) or box.runs is not Runs.RUNNING or not box.in_recovery:
            return SILENT
        box.follow(given["newmaster"])
        return success()

    _do_follow_hasten = _do_follow_run

    def _do_follow_halt(self, given: Given) -> Result:
        box = self._box(given)
        if not self._reaches(box) or box.runs is not Runs.RUNNING or not box.in_recovery:
            return SILENT
        box.halt()
        return success(lsn=box.lsn)

    def _do_follow_resume(self, given: Given) -> Result:
        box = self._box(given)
        if not self._reaches(box) or box.runs is not Runs.RUNNING:
            return SILENT
        box.halted, box.deaf, box.kept = False, False, None
        return success()

    def _do_rescue_run(self, given: Given) -> Result:
        if not self._commands(self._box(given)) or not self._commands(self.world.boxes[given["candidate"]]):
            return NO_SSH
        return (
            success() if self.world.give_wal(given["servername"], given["candidate"]) else fail("histories have parted")
        )

    def _do_rejoin_run(self, given: Given) -> Result:
        box, new = self._box(given), self.world.boxes[given["newmaster"]]
        if given["newmaster"] != given["recorded"] or box is new:
            return fail("it is not the recorded master")
        if not self._commands(box) or not self.world.linked(box.name, new.name) or new.runs is not Runs.RUNNING:
            return NO_SSH
        box.stop()
        box.follow(new.name)
        box.signal, box.fenced = True, False
        self.world.rewind(box.name, new.name)
        self.world.start(box.name)
        return success()

    def _do_connection_failover_block(self, _: Given) -> Result:
        self.world.held = True
        return fail("a proxy does not answer") if self.world.dead_routes else success()

    def _do_connection_failover_pause(self, _: Given) -> Result:
        self.world.held = not self.world.dead_routes
        return success() if self.world.held else fail("a proxy does not answer; all go on as before")

    def _do_connection_failover_unblock(self, given: Given) -> Result:
        if any(route != given["recorded"] for route in self.world.routes):
            return fail("a proxy leads elsewhere")
        self.world.held = False
        return fail("a proxy does not answer") if self.world.dead_routes else success()

    def _do_connection_failover_run(self, given: Given) -> Result:
        target = given["newmaster"] or given["recorded"]
        self.world.routes = [
            route if number in self.world.dead_routes else target for number, route in enumerate(self.world.routes)
        ]
        self.world.held = False
        return fail("a proxy does not answer") if self.world.dead_routes else success()


def _rubbish(result: Result) -> Result:
    if "timeline" in result.extra:
        return success(**{**result.extra, "timeline": -1, "received_lsn": "zzz"})
    return fail("returned 17 instead of a return dictionary", alive="perhaps", no=1)
