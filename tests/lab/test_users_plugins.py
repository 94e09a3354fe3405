"""The engine has no way of its own: in a real failover every plugin that takes part is a user's, and each is seen to be called."""

import asyncio
from pathlib import Path

import pytest

from tests.lab import faults
from tests.lab.conftest import Watch
from tests.lab.lab import Lab
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab

REPLACED = {
    "poll_connect": ("run",),
    "inspect_postgres": ("run", "write", "host", "sees"),
    "replication_mb_lag_93": ("run",),
    "select_replica_priority": ("run",),
    "one_hr_master": ("run",),
    "restart_service": ("run",),
    "fence_stop": ("run", "test"),
    "promote_pg_ctl": ("run",),
    "follow_conninfo": ("run",),
    "successplugin": ("run",),
    "multi_pgbouncer": ("run",),
}
PLUGIN = '''
import inspect
from handyrep.plugins.{original} import {original} as original


class my_{original}(original):
    """A user's plugin that logs and delegates."""

    async def _log_and_delegate(self, method, *arguments, **named):
        with open({log!r}, "a") as log:
            log.write("{original}." + method + "\\n")
        returned = getattr(super(), method)(*arguments, **named)
        return await returned if inspect.isawaitable(returned) else returned
{methods}
'''
METHOD = """
    async def {method}({parameters}):
        return await self._log_and_delegate({arguments})
"""
PARAMETERS = {
    "poll_connect.run": ("servername",), "inspect_postgres.run": ("servername",), "inspect_postgres.write": ("servername",),
    "inspect_postgres.host": ("servername",), "inspect_postgres.sees": ("servername", "mastername"),
    "replication_mb_lag_93.run": ("replicaserver",), "restart_service.run": ("servername", "runmode"), "fence_stop.run": ("servername",),
    "fence_stop.test": ("servername",), "promote_pg_ctl.run": ("servername",), "follow_conninfo.run": ("servername", "newmaster"),
    "multi_pgbouncer.run": ("newmaster",),
}  # fmt: skip


def write_plugins(folder: Path, log: Path) -> None:
    folder.mkdir(mode=0o755)
    for original, methods in REPLACED.items():
        text = ""
        for method in methods:
            parameters = PARAMETERS.get(f"{original}.{method}", ())
            arguments = ", ".join([repr(method), *parameters])
            text += METHOD.format(method=method, parameters=", ".join(["self", *parameters]), arguments=arguments)
        (folder / f"my_{original}.py").write_text(PLUGIN.format(original=original, log=str(log), methods=text))


HANDYREP = "plugins_dir = {folder}\nmaster_check_method = my_one_hr_master"
FAILOVER = """
poll_method = my_poll_connect
inspect_method = my_inspect_postgres
replication_status_method = my_replication_mb_lag_93
selection_method = my_select_replica_priority
fence_methods = my_fence_stop,
follow_method = my_follow_conninfo
connection_failover_method = my_multi_pgbouncer
call_timeout = 1
[extra_failover_commands]
[[tell]]
command = my_successplugin
"""


async def test_every_plugin_of_a_failover_can_be_a_users(lab: Lab, watch: Watch, tmp_path: Path) -> None:
    log = tmp_path / "called"
    write_plugins(tmp_path / "plugins", log)
    cluster = await asyncio.to_thread(lab.cluster, 15, restart_method="my_restart_service")
    old = cluster.names[0]
    defaults = "promotion_method = my_promote_pg_ctl"
    plugins = f"[[my_restart_service]]\nservice_name = {cluster.layout.unit}\n[[my_multi_pgbouncer]]\ndatabase_list = postgres\n"
    handyrep_lines = HANDYREP.format(folder=tmp_path / "plugins")
    async with watch(
        cluster,
        handyrep=handyrep_lines,
        failover=FAILOVER.replace("poll_method = my_poll_connect\n", ""),
        server_defaults=defaults,
        plugins=plugins,
    ) as handyrep:
        object.__setattr__(handyrep.on.engine.settings.failover, "poll_method", "my_poll_connect")
        await handyrep.healthy()
        log.unlink()
        async with Writer(cluster) as writer:
            await asyncio.to_thread(faults.crash, cluster, old)
            new = await handyrep.failed_over(old)
            await asyncio.to_thread(writer.wait_for, 20)
        assert writer.lost(new) == set(), handyrep.story()
    called = set(log.read_text().split())
    expected = {f"{original}.{method}" for original, methods in REPLACED.items() for method in methods}
    assert expected - called == set(), handyrep.story()
