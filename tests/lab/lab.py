"""A lab: one prepared image, a network, hosts made from it. Labs with different numbers can work side by side on a machine."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.lab import estate
from tests.lab.cluster import LabCluster
from tests.lab.host import Host
from tests.lab.image import LAYOUTS, ROOT_TIER, Image
from tests.lab.network import Net, Place
from tests.lab.shell import LabError

_FIRST_NUMBER, _LAST_NUMBER = 11, 250


class Lab:
    """Use it as a context manager. `cluster()` gives fresh hosts each time: nothing is reset, nothing is shared."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._hosts: list[Host] = []
        self._newest = _FIRST_NUMBER - 1
        self.net = Net(0)
        self.image = Image(Path(), self.net)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            number = started.enter_context(estate.owned())
            started.callback(self.remove_hosts)
            self.net = Net(number)
            self.image = Image(estate.folder_of(number), self.net)
            self.net.make()
            self.image.prepare()
            self._ends = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def hosts(self, *names: str, ssh_port: int = 22, disks: tuple[tuple[str, int], ...] = ()) -> list[Host]:
        """New hosts, up and reachable. `disks`: folders that are file systems of their own, with their sizes in MB."""
        made = []
        for name in names:
            made.append(Host(self.image, Place(name, self._free_number(), self.net), ssh_port=ssh_port))
            self._hosts.append(made[-1])
        for host in made:
            host.create(*disks)
            host.power_on()
        self._write_known_hosts()
        for host in made:
            host.wait_until_up()
        return made

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
        ssh_port: int = 22, disk_mb: int = 0,
    ) -> LabCluster:  # fmt: skip
        """A running cluster on fresh hosts: the first is the master. With disk_mb the data directory is on a small disk of its own."""
        suffix = chr(ord("a") + len(self._hosts) % 26) + str(len(self._hosts))
        names = (f"pg{number}{suffix}" for number in range(1, replicas + 2))
        layout = LAYOUTS[version]
        hosts = self.hosts(*names, ssh_port=ssh_port, disks=((layout.pgdata, disk_mb),) if disk_mb else ())
        cluster = LabCluster(hosts, layout, login, self.known_hosts, restart_method=restart_method)
        cluster.start(synchronous=synchronous)
        return cluster

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

    def _write_known_hosts(self) -> None:
        self.known_hosts.write_text("".join(line for host in self._hosts for line in _known(host)))


def _known(host: Host) -> list[str]:
    key = host.image.public_key_of(host.root)
    written = "{}" if host.ssh_port == 22 else f"[{{}}]:{host.ssh_port}"
    return [f"{written.format(address)} {key}\n" for address in (host.place.address, host.place.address_v6)]
