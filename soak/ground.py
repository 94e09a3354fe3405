"""What a block of rounds stands on: a cluster of one version, two pgbouncers, a HandyRep at work on it, clients on every route."""

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from tests.lab import switch
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched, watching
from tests.lab.lab import Lab
from tests.lab.proxy import ADMIN, ADMIN_PASSWORD, LabProxy

from soak.calamities import Scene
from soak.clients import Clients, writing

_DISK_MB = 1000
_TEMPLATE = "pgbouncer.ini.j2"
_SWITCH = '#!/bin/sh\n[ "$2" != on ] || : > "$0.on"\nexec {python} "$@"\n'
"""The lab's switch, which boots nothing when it is switched on: the file that it leaves asks for that."""
_FAILOVER = """
fence_methods = {fences}
rejoin_up_to = reclone
failover_cooldown = 1
verify_frequency = 4
call_timeout = 0.5
start_timeout = 20
connection_failover_method = multi_pgbouncer
poll_connection_proxy = True
{more}
"""
_PLUGINS = "[[fence_stop]]\ngrace = 2\n[[multi_pgbouncer]]\ndatabase_list = postgres,\nconfig_location = /etc/pgbouncer/pgbouncer.ini\n"
STRICT_FENCES = "fence_stop, fence_command, fence_starve"


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """How a cluster is run: with strict synchronous replication and HandyRep's own fences, unless a control asks for something else."""

    synchronous: bool = True
    fences: str = STRICT_FENCES
    failover: str = ""
    plugins: tuple[tuple[str, str], ...] = ()
    """Plugins of a user: name and source."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ground:
    """All of it, in use."""

    version: int
    cluster: LabCluster
    handyrep: Watched
    clients: Clients
    folder: Path

    @property
    def proxies(self) -> list[str]:
        """Names of the pgbouncers, which are routes too."""
        return [route for route in self.clients.routes if route not in self.cluster.names]

    def remove_kept(self) -> None:
        """What HandyRep keeps of rewound servers' WAL would fill their small disks in time; a site has it removed after some days."""
        for host in self.cluster.hosts:
            host.inside("sh", "-c", 'rm -rf -- "$0".handyrep-kept-*', self.cluster.layout.pgdata)

    def scene(self) -> Scene:
        """The master as it is now, and what is around it."""
        return Scene(self.cluster, self.clients, self.handyrep.master, _switch_of(self.folder))


@asynccontextmanager
async def prepared(lab: Lab, version: int, folder: Path, terms: Terms) -> AsyncIterator[Ground]:
    """Everything runs and is healthy; at the end the hosts are gone, and the folder has HandyRep's files and the clients' history."""
    try:
        cluster = await asyncio.to_thread(lab.cluster, version, synchronous=terms.synchronous, disk_mb=_DISK_MB)
        proxies = await asyncio.to_thread(lab.proxies, cluster, 2)
        conf = _configuration(cluster, proxies, folder, terms)
        async with watching(conf) as handyrep:
            await handyrep.settled(cluster)
            init = await handyrep.call("connection_proxy_init")
            if init["result"] != "SUCCESS":
                raise AssertionError(f"the pgbouncers could not be set up: {init}")
            await handyrep.healthy()
            with writing(lab, cluster, proxies, folder) as clients:
                yield Ground(version, cluster, handyrep, clients, folder)
    finally:
        await asyncio.to_thread(lab.remove_hosts)


def _configuration(cluster: LabCluster, proxies: list[LabProxy], folder: Path, terms: Terms) -> Path:
    (folder / "templates").mkdir()
    shipped = (files("handyrep") / "templates" / _TEMPLATE).read_text(encoding="utf-8")
    (folder / "templates" / _TEMPLATE).write_text(shipped)
    (folder / "plugins").mkdir(mode=0o700)
    for name, source in terms.plugins:
        (folder / "plugins" / f"{name}.py").write_text(source)
    own_switch = _switch_of(folder)
    own_switch.write_text(_SWITCH.format(python=sys.executable))
    own_switch.chmod(0o700)
    return cluster.handyrep_conf(
        folder,
        handyrep=f"templates_dir = {folder}/templates\nplugins_dir = {folder}/plugins",
        passwords=f"pgbouncer_admin_user = {ADMIN}\npgbouncer_admin_pass = {ADMIN_PASSWORD}",
        failover=_FAILOVER.format(fences=terms.fences, more=terms.failover),
        servers="".join(proxy.section() for proxy in proxies),
        plugins=_PLUGINS + switch.section(cluster).replace(sys.executable, str(own_switch)),
    )


def _switch_of(folder: Path) -> Path:
    """The program that the power switch is asked through: not to be run, it is a switch that is out of order."""
    return folder / "switch"
