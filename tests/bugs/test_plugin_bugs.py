"""The 2014 plugins' faults, each shown to be absent, over a host that answers as a script says."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Role, Server
from handyrep.model.status import Health
from handyrep.operations import OPERATIONS
from handyrep.plugin_api.contract import KINDS, RUNMODES, Kind
from handyrep.plugins._bouncer_config import Target, targets
from handyrep.ports import Command, Ran
from tests.factories import make_cluster, make_member, make_server, make_settings
from tests.plugin_api.worlds import SilentHosts, a_caller

Script = Callable[[Server, Command], Ran]


class ScriptedHosts(SilentHosts):
    """Answers as the script says, and remembers every command."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.commands: list[tuple[str, tuple[str, ...]]] = []

    async def run(self, server: Server, command: Command, *, deadline_s: float) -> Ran:
        self.commands.append((server.name, command.argv))
        return self.script(server, command)

    async def run_here(self, command: Command, *, deadline_s: float) -> Ran:
        self.commands.append(("here", command.argv))
        return self.script(Server(name="here"), command)


def answers(exit_status: int, stdout: str = "") -> Script:
    return lambda _, command: (
        Ran(0, "/bin/program", "")
        if command.argv[0] == "sh" and "find_program" in command.argv
        else Ran(exit_status, stdout, "")
    )


async def call(
    kind: Kind, name: str, script: Script, arguments: Mapping[str, Any], method: str = "run", **sections: Any
) -> tuple[Result, ScriptedHosts]:
    hosts = ScriptedHosts(script)
    caller = a_caller(hosts=hosts, settings=make_settings(**sections))
    result = await caller.call(kind, name, method, arguments, cluster=make_cluster(), deadline_s=5)
    return result, hosts


@pytest.mark.parametrize(
    ("exit_status", "outcome", "alive"),
    [
        (0, Outcome.SUCCESS, True),
        (1, Outcome.FAIL, True),
        (2, Outcome.FAIL, None),
        (3, Outcome.FAIL, None),
        (127, Outcome.FAIL, None),
    ],
)
async def test_hr_26_each_exit_status_of_pg_isready_means_what_it_says(
    exit_status: int, outcome: Outcome, alive: bool | None
) -> None:
    plugins = {"poll_isready": {"isready_path": "/bin/true"}}
    result, hosts = await call(Kind.POLL, "poll_isready", answers(exit_status), {"servername": "m1"}, plugins=plugins)
    assert (result.outcome, result.extra.get("alive")) == (outcome, alive)
    assert len(hosts.commands) == (1 + make_settings().failover.fail_retries if exit_status == 2 else 1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.RESTART, "restart_pg_ctl"),
        (Kind.RESTART, "restart_service"),
        (Kind.PROMOTION, "promote_pg_ctl"),
        (Kind.FENCE, "fence_stop"),
        (Kind.CLONE, "clone_basebackup"),
        (Kind.REJOIN, "rejoin_rewind"),
    ],
)
async def test_hr_27_an_unreachable_host_fails_the_test(kind: Kind, name: str) -> None:
    def unreachable(server: Server, _: Command) -> Ran:
        raise NoAnswerError("no route", server=server.name)

    plugins = {"restart_service": {"service_name": "postgresql@15-main"}}
    servers = [
        make_server("m1", "master", restart_method=name if kind is Kind.RESTART else "restart_pg_ctl"),
        make_server("r1"),
    ]
    hosts = ScriptedHosts(unreachable)
    caller = a_caller(hosts=hosts, settings=make_settings(plugins=plugins))
    result = await caller.call(kind, name, "test", {}, cluster=make_cluster(*servers), deadline_s=5)
    assert result.outcome is Outcome.FAIL
    assert "no route" in result.details or "does not answer" in result.details


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SELECTION])
async def test_hr_44_the_stand_in_answers_every_method(kind: Kind) -> None:
    for method in KINDS[kind].methods:
        arguments = {name.strip("*"): "m1" for name in method.parameters}
        result, _ = await call(kind, "there_is_no_such_plugin", answers(0), arguments, method.name)
        assert result.outcome is Outcome.FAIL
        assert "there_is_no_such_plugin" in result.details


@pytest.mark.parametrize("runmode", RUNMODES)
async def test_hr_45_hr_46_each_runmode_is_a_list_of_words_without_none(runmode: str) -> None:
    _, hosts = await call(
        Kind.RESTART,
        "restart_pg_ctl",
        answers(3 if runmode == "start" else 0),
        {"servername": "m1", "runmode": runmode},
    )
    words = [word for _, argv in hosts.commands for word in argv]
    assert words
    assert not any("None" in word for word in words if len(word) < 200)
    verb = "stop" if runmode == "faststop" else runmode
    assert any(verb in argv for _, argv in hosts.commands)


async def test_hr_46_an_unknown_runmode_is_refused() -> None:
    result, hosts = await call(Kind.RESTART, "restart_pg_ctl", answers(0), {"servername": "m1", "runmode": "explode"})
    assert (result.outcome, hosts.commands) == (Outcome.FAIL, [])


async def test_hr_47_commands_are_lists_of_words() -> None:
    _, hosts = await call(Kind.PROMOTION, "promote_pg_ctl", answers(0), {"servername": "r1"})
    assert hosts.commands[-1] == ("r1", ("/bin/program", "promote", "-D", "/data", "--no-wait"))


async def test_hr_48_the_master_and_the_source_are_never_cloned_over() -> None:
    for target, source in (("m1", "r1"), ("r1", "r1")):
        result, hosts = await call(
            Kind.CLONE, "clone_basebackup", answers(0), {"servername": target, "clonefrom": source, "reclone": True}
        )
        assert (result.outcome, hosts.commands) == (Outcome.FAIL, [])


@pytest.mark.parametrize("returned", ['{"result": "False", "details": ""}', "None", "('False',)", '{"result": False}'])
async def test_hr_49_hr_60_only_two_words_are_results(returned: str, tmp_path: Any) -> None:
    (tmp_path / "odd.py").write_text(
        f"from handyrep.plugins.handyrepplugin import handyrepplugin\nclass odd(handyrepplugin):\n    def run(self): return {returned}\n"
    )
    tmp_path.chmod(0o755)
    result = await a_caller(tmp_path).call(Kind.ARCHIVE_DELETE, "odd", cluster=make_cluster(), deadline_s=2)
    assert result.outcome is Outcome.UNCERTAIN
    assert result.as_rd()["result"] == "FAIL"


def test_hr_53_all_replicas_are_numbered_from_one() -> None:
    found = targets(("app",), ("m", 1), (("a", 2), ("b", 3)), suffix="_ro", all_replicas=True)
    assert found == {"app": Target("m", 1, "app"), "app_ro1": Target("a", 2, "app"), "app_ro2": Target("b", 3, "app")}


def test_hr_53_without_a_replica_read_only_names_lead_to_the_master() -> None:
    for all_replicas in (True, False):
        found = targets(("app",), ("m", 1), (), suffix="_ro", all_replicas=all_replicas)
        assert {target.host for target in found.values()} == {"m"}


async def test_hr_54_a_proxy_that_does_not_answer_is_no_success() -> None:
    servers = [*make_cluster().servers, make_server("p1", Role.PGBOUNCER)]
    settings = make_settings(plugins={"multi_pgbouncer": {"database_list": "app"}})
    result = await a_caller(hosts=ScriptedHosts(answers(0)), settings=settings).call(
        Kind.CONNECTION_FAILOVER,
        "multi_pgbouncer",
        "run",
        {"newmaster": "r1"},
        cluster=make_cluster(*servers),
        deadline_s=5,
    )
    assert result.outcome is Outcome.UNCERTAIN
    assert result.details.startswith("p1: ")
    assert "where it leads, is not known" in result.details


async def test_hr_55_plugins_cannot_change_a_status() -> None:
    cluster = make_cluster()
    member = cluster.members["m1"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        member.status = make_member(member.server, Health.DOWN).status  # type: ignore[misc] # that is the point


def test_hr_58_every_operation_that_can_be_asked_for_is_declared_and_can_be_called() -> None:
    assert {"start_archiving", "stop_archiving", "cleanup_archive"} <= OPERATIONS.keys()
    assert all(callable(operation.function) for operation in OPERATIONS.values())
