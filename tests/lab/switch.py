"""The lab's power switch, a program as fence_command calls it: `python switch.py off|status|on HOST-OF-THE-LAB`.

HOST is namespace, folder, numbers and name of a lab's host. Off pulls its cable and ends everything in it; on only plugs the cable in: booting is the
test's own affair. Status answers on or off by whether any process of the host is left.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.lab import cgroups, disks
from tests.lab.shell import run

if TYPE_CHECKING:  # it must answer quickly
    from tests.lab.cluster import LabCluster

PROGRAM = str(Path(__file__))


def section(cluster: "LabCluster") -> str:
    """[[fence_command]] of a handyrep.conf that leads here. Host names of the lab are the servers' names."""
    place = cluster.hosts[0].place
    where = f"{place.net.namespace}, {cluster.hosts[0].image.folder}"
    numbers = ":".join(f"{host.name}={host.place.number}" for host in cluster.hosts)
    command = f"{sys.executable}, {PROGRAM}, {{}}, {where}, {numbers}, {{name}}"
    lines = (f"{key}_command = {command.replace('{}', key)}" for key in ("off", "status", "on"))
    return "[[fence_command]]\n" + "\n".join(lines) + "\npoll_interval = 0.05\n"


def main(what: str, namespace: str, folder: str, numbers: str, name: str) -> str:
    """Do it; the answer."""
    number = dict(pair.split("=") for pair in numbers.split(":"))[name]
    cable = ("ip", "-n", namespace, "link", "set", f"port{number}")
    if what == "on":
        run(*cable, "up")
    if what == "off":
        run(*cable, "down")
        disks.kill(f"{namespace}/{name}/payload", Path(folder) / f"{name}.root")
    return "on" if cgroups.processes(f"{namespace}/{name}/payload") else "off"


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]) + "\n")
