"""restart_service: what it orders of the service manager, as whom, and what it believes of the answers. Real units: tests/lab."""

import dataclasses

import pytest

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.fakes import FakeClock, FakeWorld, example_cluster, refusing, unknown_keys
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.testing import try_plugin
from handyrep.ports import Command, Ran, RunAs
from tests.factories import make_settings

YES, NO = Answer.YES, Answer.NO
SUCCESS, FAIL, UNCERTAIN = Outcome.SUCCESS, Outcome.FAIL, Outcome.UNCERTAIN
UNIT = "postgresql@15-main"
STATUS = (f"service {UNIT} ", RunAs.LOGIN)
RUNMODES = ("start", "stop", "faststop", "restart", "reload")
AFTER = {"start": "active", "restart": "active", "reload": "active", "stop": "inactive", "faststop": "inactive"}


@dataclasses.dataclass
class Manager:
    """An imagined host with a service manager: systemd's words, or those of SysV's scripts where `sysv`."""

    state: str = "active"
    load: str = "loaded"
    process: str = "4711"
    sysv: bool = False
    broken: bool = False
    mute_after: int = 99
    heard: list[tuple[str, RunAs]] = dataclasses.field(default_factory=list)

    def world(self) -> FakeWorld:
        world = refusing()
        world.on_command = self.answered
        return world

    async def answered(self, server: Server | None, command: Command, _: float) -> Ran:
        assert server is not None
        if len(self.heard) >= self.mute_after:
            raise NoAnswerError("the line is dead", server=server.name)
        what, *arguments = command.argv[3:] or command.argv
        self.heard.append((" ".join((what, *arguments)), command.run_as))
        if what == "service":
            return self.ordered(arguments[1])
        return Ran(1 if self.broken else 0, "", "sudo: a password is required")

    def ordered(self, verb: str) -> Ran:
        """How it is after the order, if one was given."""
        if verb and self.broken:
            return Ran(1, self.status(), "Job for it failed")
        self.state = AFTER.get(verb, self.state)
        return Ran(0, self.status(), "")

    def status(self) -> str:
        if self.sysv:
            return f"Service={ {'active': 0, 'inactive': 3}.get(self.state, 1) }\n"
        process = self.process if self.state == "active" else "0"
        return f"LoadState={self.load}\nActiveState={self.state}\nSubState=x\nMainPID={process}\n"


def order(manager: Manager | None, runmode: str, *, world: FakeWorld | None = None, unit: str = UNIT) -> Result:
    where = world or (manager.world() if manager else refusing())
    options = {"service_name": unit} if unit else {}
    arguments = {"servername": "m1", "runmode": runmode}
    result = try_plugin("restart_service", Kind.RESTART, "run", arguments, world=where, options=options)
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("sysv", [False, True], ids=["systemd", "sysv"])
@pytest.mark.parametrize("before", ["active", "inactive", "failed"])
@pytest.mark.parametrize("runmode", RUNMODES)
def test_an_order_is_given_as_root_and_seen_done_with_it(runmode: str, before: str, sysv: bool) -> None:
    manager = Manager(before, sysv=sysv)
    done = order(manager, runmode)
    verb = "stop" if runmode == "faststop" else runmode
    assert manager.heard == [(f"service {UNIT} {verb}", RunAs.ROOT)]
    assert (done.outcome, done.extra["running"]) == (SUCCESS, AFTER[runmode] == "active")


@pytest.mark.parametrize("before", ["active", "inactive"])
@pytest.mark.parametrize("runmode", RUNMODES)
def test_an_order_that_was_refused_succeeds_only_where_it_is_so_anyhow(runmode: str, before: str) -> None:
    done = order(Manager(before, broken=True), runmode)
    so_anyhow = AFTER[runmode] == before and runmode != "reload"
    assert done.outcome is (SUCCESS if so_anyhow else FAIL)
    assert done.extra["running"] is (before == "active")


@pytest.mark.parametrize("state", ["activating", "deactivating", "", "maintenance"])
@pytest.mark.parametrize("runmode", ["start", "stop"])
def test_a_state_between_is_not_taken_for_one_or_the_other(runmode: str, state: str) -> None:
    manager = Manager(state, broken=True)
    assert order(manager, runmode).outcome is UNCERTAIN
    told = order(manager, "status")
    assert (told.outcome, "running" in told.extra) == (FAIL, False)


def test_an_umbrella_unit_is_not_believed() -> None:
    """Debian's postgresql.service is active from boot on, whatever its instances do."""
    told = order(Manager("active", process="0"), "status", unit="postgresql")
    assert (told.outcome, "running" in told.extra) == (FAIL, False)
    assert "umbrella" in told.details


def test_a_unit_that_is_not_there_is_named() -> None:
    told = order(Manager("inactive", load="not-found"), "status")
    assert (told.outcome, "running" in told.extra) == (FAIL, False)
    assert f"there is no unit {UNIT}" in told.details


def test_a_unit_that_is_not_there_is_not_stopped_either() -> None:
    assert order(Manager("inactive", load="not-found"), "stop").outcome is UNCERTAIN


@pytest.mark.parametrize(("state", "running"), [("active", True), ("inactive", False)])
def test_status_orders_nothing(state: str, running: bool) -> None:
    manager = Manager(state)
    told = order(manager, "status")
    assert (told.outcome, told.extra["running"]) == (SUCCESS if running else FAIL, running)
    assert manager.heard == [STATUS]


class StandingClock(FakeClock):
    """Time that the test lets pass."""

    at_s = 100.0

    def monotonic(self) -> float:
        return self.at_s


class Asked:
    """One HandyRep, which remembers from call to call."""

    def __init__(self, manager: Manager) -> None:
        self.clock = StandingClock()
        settings = make_settings(plugins={"restart_service": {"service_name": UNIT}})
        given = manager.world()
        self._caller = Caller(Registry(), World(settings, given, given, self.clock))

    async def __call__(self, runmode: str) -> Answer:
        arguments = {"servername": "m1", "runmode": runmode}
        told = await self._caller.call(
            Kind.RESTART, "restart_service", "run", arguments, cluster=example_cluster(), deadline_s=5.0
        )
        return {True: YES, False: NO}[told.extra["running"]]


async def test_one_that_just_did_not_run_is_not_asked_again_for_a_moment() -> None:
    manager = Manager("failed")
    asked = Asked(manager)
    assert [await asked("status") for _ in range(3)] == [NO] * 3
    assert manager.heard == [STATUS]
    manager.state = "active"
    asked.clock.at_s += 0.3
    assert await asked("status") is YES
    assert manager.heard == [STATUS] * 2


async def test_one_that_runs_is_asked_each_time() -> None:
    manager = Manager("active")
    asked = Asked(manager)
    assert [await asked("status") for _ in range(2)] == [YES] * 2
    manager.state = "failed"
    assert await asked("status") is NO


@pytest.mark.parametrize("runmode", ["start", "restart"])
async def test_after_an_order_it_is_asked_at_once(runmode: str) -> None:
    manager = Manager("inactive")
    asked = Asked(manager)
    assert await asked("status") is NO
    await asked(runmode)
    assert await asked("status") is YES


@pytest.mark.parametrize("runmode", RUNMODES)
def test_no_answer_to_an_order_is_uncertain(runmode: str) -> None:
    assert order(Manager(mute_after=0), runmode).outcome is UNCERTAIN


def test_no_answer_to_a_question_knows_nothing() -> None:
    told = order(None, "status")
    assert (told.outcome, "running" in told.extra) == (FAIL, False)


@pytest.mark.parametrize("runmode", RUNMODES)
def test_behind_an_unknown_host_key_nothing_was_ordered(runmode: str) -> None:
    assert order(None, runmode, world=unknown_keys()).outcome is FAIL


@pytest.mark.parametrize("runmode", ["", "START", "stop; reboot", "status\nstop"])
def test_an_unknown_runmode_orders_nothing(runmode: str) -> None:
    manager = Manager()
    assert order(manager, runmode).outcome is FAIL
    assert manager.heard == []


def test_without_a_name_nothing_is_ordered_and_the_option_is_named() -> None:
    manager = Manager()
    done = order(manager, "stop", unit="")
    assert (done.outcome, manager.heard) == (FAIL, [])
    assert "set service_name" in done.details


@pytest.mark.parametrize(
    ("manager", "outcome", "says"),
    [
        (Manager(), SUCCESS, "m1"),
        (Manager("inactive"), SUCCESS, "m1"),
        (Manager("active", process="0"), FAIL, "umbrella"),
        (Manager(load="not-found"), FAIL, "there is no unit"),
        (Manager(broken=True), FAIL, "root cannot be had: sudo: a password is required"),
        (Manager(mute_after=0), FAIL, "nothing is known"),
        (Manager(mute_after=1), FAIL, "nothing is known"),
    ],
    ids=["active", "inactive", "umbrella", "no unit", "no root", "mute", "mute for root"],
)
def test_its_test_asks_for_the_status_and_for_root_and_orders_nothing(
    manager: Manager, outcome: Outcome, says: str
) -> None:
    world, options = manager.world(), {"service_name": UNIT}
    arguments = {"servername": "m1"}
    told = try_plugin("restart_service", Kind.RESTART, "test", arguments, world=world, options=options)
    assert isinstance(told, Result)
    assert told.outcome is outcome
    assert says in told.details
    assert all(what == STATUS for what in manager.heard if what[0].startswith("service"))
