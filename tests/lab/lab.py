"""A lab: one prepared image, a network, hosts made from it. Labs with different numbers can work side by side on a machine."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.lab import estate
from tests.lab.cluster import LabCluster
from tests.lab.databases import LAYOUTS, Databases
from tests.lab.host import Host
from tests.lab.image import ROOT_TIER, Image
from tests.lab.network import Net, Place
from tests.lab.proxy import LabHaproxy, LabProxy
from tests.lab.shell import LabError

_PROGRAMS = ("systemd-nspawn", "ip", "iptables", "nsenter", "sshd", "sudo", "pg_createcluster", "pgbouncer")
_FIRST_NUMBER, _LAST_NUMBER = 11, 250


class Lab:
    """Use it as a context manager. `cluster()` gives fresh hosts each time: nothing is reset, nothing is shared."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._hosts: list[Host] = []
        self._newest = _FIRST_NUMBER - 1
        self.net = Net(0)
        self.image = Image(Path())
        self._databases = Databases(self.image)

    def __enter__(self) -> Self:
        _require_programs()
        with ExitStack() as started:
            number = started.enter_context(estate.owned())
            started.callback(self.remove_hosts)
            self.net = Net(number)
            self.image = Image(estate.folder_of(number))
            self._databases = Databases(self.image)
            self.net.make()
            self.image.prepare()
            self._ends = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def hosts(self, *names: str, ssh_port: int = 22) -> list[Host]:
        """New hosts without PostgreSQL, up and reachable."""
        hosts = [self._new_host(name, ssh_port=ssh_port) for name in names]
        self._boot(hosts)
        return hosts

    def _new_host(self, name: str, *layers: Path, ssh_port: int, disks: tuple[tuple[str, int, str], ...] = ()) -> Host:
        host = Host(self.image, Place(name, self._free_number(), self.net), *layers, ssh_port=ssh_port)
        self._hosts.append(host)
        host.create(*disks)
        return host

    def _boot(self, hosts: Sequence[Host]) -> None:
        for host in hosts:
            host.power_on()
        self.known_hosts.write_text("".join(line for host in self._hosts for line in _known(host)))
        for host in hosts:
            host.wait_until_up()

    def _free_number(self) -> int:
        used = {host.place.number for host in self._hosts}
        if len(used) > _LAST_NUMBER - _FIRST_NUMBER:
            raise LabError("no address is left for another host")
        while True:
            self._newest = self._newest + 1 if self._newest < _LAST_NUMBER else _FIRST_NUMBER
            if self._newest not in used:
                return self._newest

    def cluster(
        self, version: int = 15, *, replicas: int = 2, login: str = ROOT_TIER, synchronous: bool = True, restart_method: str = "",
        ssh_port: int = 22, disk_mb: int = 0, disk: str = "tmpfs", autostart: bool = False,
    ) -> LabCluster:  # fmt: skip
        """A running cluster on fresh hosts: the first is the master.

        With disk_mb the data directory is on a small disk of its own: tmpfs, or ext4 on a loop device, which can be frozen. With autostart PostgreSQL comes back by itself when its host does.
        """
        layout = LAYOUTS[version]
        suffix = chr(ord("a") + len(self._hosts) % 26) + str(len(self._hosts))
        disks = ((str(Path(layout.pgdata).parent), disk_mb, disk),) if disk_mb else ()
        hosts = [
            self._new_host(f"pg{number}{suffix}", self._databases.layer(layout), ssh_port=ssh_port, disks=disks)
            for number in range(1, replicas + 2)
        ]
        cluster = LabCluster(hosts, layout, login, self.known_hosts, restart_method=restart_method)
        cluster.configure(synchronous=synchronous)
        cluster.start_with_hosts(True)
        self._boot(hosts)
        cluster.wait_until_streaming(cluster.names[0], replicas)
        cluster.start_with_hosts(autostart)
        return cluster

    def proxies(self, cluster: LabCluster, count: int = 1) -> list[LabProxy]:
        """That many hosts with pgbouncer, leading to the cluster's master."""
        made = [LabProxy(self._new_host(f"bouncer{number}", ssh_port=22)) for number in range(1, count + 1)]
        self._start_proxies(cluster, made)
        return made

    def haproxy(self, cluster: LabCluster) -> LabHaproxy:
        """A host with HAProxy that leads nowhere yet."""
        made = LabHaproxy(self._new_host("haproxy1", ssh_port=22))
        self._start_proxies(cluster, [made])
        return made

    def _start_proxies(self, cluster: LabCluster, made: Sequence[LabProxy | LabHaproxy]) -> None:
        for proxy in made:
            proxy.configure(cluster)
        self._boot([proxy.host for proxy in made])
        for proxy in made:
            proxy.host.inside("systemctl", "start", proxy.unit)

    @property
    def folder(self) -> Path:
        """Disks, keys and consoles of this lab."""
        return self.image.folder

    @property
    def known_hosts(self) -> Path:
        """The file with every host's SSH key."""
        return self.folder / "known_hosts"

    def remove_hosts(self) -> None:
        """Take all hosts away; the image stays."""
        for host in self._hosts:
            host.remove()
        self._hosts.clear()


def _require_programs() -> None:
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise LabError(f"the lab needs {', '.join(missing)}: run scripts/system_packages.sh as root")


def _known(host: Host) -> list[str]:
    key = host.image.public_key_of(host.root)
    written = "{}" if host.ssh_port == 22 else f"[{{}}]:{host.ssh_port}"
    return [f"{written.format(address)} {key}\n" for address in (host.place.address, host.place.address_v6)]
