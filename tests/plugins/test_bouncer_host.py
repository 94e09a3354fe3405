"""pgbouncer.ini is handled with no more rights than it takes."""

from typing import cast

import pytest

from handyrep.model.answer import Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api import fakes
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.testing import try_plugin
from handyrep.plugins._bouncer_host import BouncerHost
from handyrep.plugins.handyrepplugin import handyrepplugin
from handyrep.ports import Command, Ran, RunAs


def pushed(owner: str, ssh_user: str, *, folder_is_owners: bool) -> list[tuple[RunAs, tuple[str, ...]]]:
    """The commands of a run(), in a world where pgbouncer itself does not answer."""
    world = fakes.refusing()

    async def command(_: Server | None, command: Command, __: float) -> Ran:
        denied = command.run_as is not RunAs.ROOT and "put_file" in command.argv and not folder_is_owners
        return Ran(1, "", "Permission denied") if denied else Ran(0, "", "")

    world.on_command = command
    cluster: Cluster = fakes.example_cluster(ssh_user=ssh_user)
    options = {"database_list": "app", "owner": owner}
    result = try_plugin(
        "multi_pgbouncer",
        Kind.CONNECTION_FAILOVER,
        "run",
        {"newmaster": None},
        world=world,
        cluster=cluster,
        options=options,
    )
    assert isinstance(result, Result)
    assert result.outcome is Outcome.UNCERTAIN
    return [(one.run_as, one.argv) for _, one in world.asked if isinstance(one, Command)]


@pytest.mark.parametrize(
    ("owner", "ssh_user", "account"),
    [
        ("postgres", "handyrep", RunAs.POSTGRES),
        ("handyrep", "handyrep", RunAs.LOGIN),
        ("pgbouncer", "handyrep", RunAs.ROOT),
    ],
)
def test_the_owner_does_what_the_owner_can(owner: str, ssh_user: str, account: RunAs) -> None:
    asked = [one for one in pushed(owner, ssh_user, folder_is_owners=True) if "revive" not in one[1]]
    assert {run_as for run_as, _ in asked} == {account}
    puts = [argv for _, argv in asked if "put_file" in argv]
    assert [argv[-2:] for argv in puts] == [("0640", "pgbouncer:" if account is RunAs.ROOT else "")]
    others = [argv for _, argv in asked if "put_file" not in argv]
    assert all((argv[:4] == ("runuser", "-u", owner, "--")) is (account is RunAs.ROOT) for argv in others)


def test_root_is_asked_only_where_the_folder_is_not_the_owners() -> None:
    puts = [
        (run_as, argv[-1])
        for run_as, argv in pushed("postgres", "handyrep", folder_is_owners=False)
        if "put_file" in argv
    ]
    assert puts == [(RunAs.POSTGRES, ""), (RunAs.ROOT, "postgres:")]


class RootAlone:
    """Stands where a plugin stands; only root can write."""

    def __init__(self) -> None:
        self.memory: dict[str, object] = {}
        self.asked: list[RunAs] = []

    async def put_file(self, *_: str, run_as: RunAs, **__: str) -> Ran:
        self.asked.append(run_as)
        return Ran(0 if run_as is RunAs.ROOT else 1, "", "Permission denied")


async def test_where_only_root_could_write_it_root_is_asked_first_the_next_time() -> None:
    """Clients wait meanwhile."""
    server, plugin = fakes.example_cluster().servers[0], RootAlone()
    host = BouncerHost(cast("handyrepplugin", plugin), server, server.postgres_os_user, "/etc/pgbouncer/pgbouncer.ini")
    assert [(await host.put("")).exit_status for _ in range(2)] == [0, 0]
    assert plugin.asked == [RunAs.POSTGRES, RunAs.ROOT, RunAs.ROOT]
