"""The lab's network: a bridge, and a network namespace per host. Addresses, links that can be pulled, partitions between any two.

The bridge stands in a namespace of its own, not on the machine: firewall rules of the machine (Docker's, for example, which see
bridged frames too) then have no say in the lab. The tests stand on it with one address, the manager's. Every lab has a number and
so addresses of its own: labs can work side by side.
"""

import dataclasses
import socket
from contextlib import suppress

from tests.lab.shell import run

_MANAGER_NUMBER = 1


@dataclasses.dataclass(frozen=True)
class Net:
    """The network of the lab of this number."""

    lab: int

    @property
    def manager(self) -> str:
        """The tests' own address."""
        return f"10.77.{self.lab}.{_MANAGER_NUMBER}"

    @property
    def manager_v6(self) -> str:
        return f"fd77:0:0:{self.lab:x}::{_MANAGER_NUMBER:x}"

    @property
    def namespace(self) -> str:
        """Of the bridge; those of the hosts begin with it and a hyphen."""
        return f"hrlab{self.lab}"

    def make(self) -> None:
        """The bridge, and the tests' own cable to it."""
        inside = ("ip", "-n", self.namespace)
        run("ip", "netns", "add", self.namespace)
        run(*inside, "link", "add", "bridge", "type", "bridge")
        run(*inside, "link", "set", "bridge", "up")
        run("ip", "link", "add", self.namespace, "type", "veth", "peer", "name", "manager", "netns", self.namespace)
        run(*inside, "link", "set", "manager", "master", "bridge", "up")
        run("ip", "addr", "add", f"{self.manager}/24", "dev", self.namespace)
        run("ip", "-6", "addr", "add", f"{self.manager_v6}/64", "dev", self.namespace, "nodad")
        run("ip", "link", "set", self.namespace, "up")

    def manager_link(self, state: str) -> None:
        """Pull the manager's cable ("down") or plug it in ("up"), at the bridge's end: its addresses stay."""
        run("ip", "-n", self.namespace, "link", "set", "manager", state)

    def remove(self) -> None:
        """Remove the namespaces of the lab, and with them bridge and cables."""
        for word in run("ip", "netns", "list", check=False).split():
            if word == self.namespace or word.startswith(f"{self.namespace}-"):
                run("ip", "netns", "del", word, check=False)
        run("ip", "link", "del", self.namespace, check=False)


@dataclasses.dataclass(frozen=True)
class Place:
    """One host on the lab's network."""

    name: str
    number: int
    net: Net

    @property
    def address(self) -> str:
        return f"10.77.{self.net.lab}.{self.number}"

    @property
    def address_v6(self) -> str:
        return f"fd77:0:0:{self.net.lab:x}::{self.number:x}"

    @property
    def namespace(self) -> str:
        return f"{self.net.namespace}-{self.name}"

    @property
    def _cable(self) -> tuple[str, ...]:
        """How `ip` speaks of the bridge's end of its cable."""
        return ("ip", "-n", self.net.namespace, "link", "set", f"port{self.number}")

    def plug_in(self) -> None:
        """A namespace with eth0, joined to the bridge. A number always has the same hardware address, so no ARP entry is ever stale."""
        inside = ("ip", "-n", self.namespace)
        hardware = f"02:77:00:00:{self.net.lab:02x}:{self.number:02x}"
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", self.net.namespace, "link", "add", f"port{self.number}", "type", "veth",
            "peer", "name", "eth0", "address", hardware, "netns", self.namespace)  # fmt: skip
        run(*self._cable, "master", "bridge", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*inside, "-6", "addr", "add", f"{self.address_v6}/64", "dev", "eth0", "nodad")
        run(*inside, "link", "set", "eth0", "up")

    def unplug(self) -> None:
        """Take the namespace and both ends of the cable away."""
        run(*self._cable[:-2], "del", self._cable[-1], check=False)
        run("ip", "netns", "del", self.namespace, check=False)

    def link_down(self) -> None:
        """Pull the cable."""
        run(*self._cable, "down")

    def link_up(self) -> None:
        run(*self._cable, "up")

    def partition(self, *addresses: str) -> None:
        """Silently drop everything between the host and these addresses, both ways."""
        for address in addresses:
            for chain, flag in (("INPUT", "-s"), ("OUTPUT", "-d")):
                self._firewall(":" in address, "-I", chain, flag, address, "-j", "DROP")

    def heal(self) -> None:
        """Remove all of the host's partitions."""
        for v6 in (False, True):
            for chain in ("INPUT", "OUTPUT"):
                self._firewall(v6, "-F", chain)

    def drop(self, *what: str) -> None:
        """Drop what these words of iptables say, on its way in; healed as partitions are."""
        self._firewall(False, "-I", "INPUT", *what, "-j", "DROP")

    def dropped(self) -> int:
        """How many packets its rules for IPv4 have dropped on their way in."""
        listed = run("ip", "netns", "exec", self.namespace, "iptables", "-w", "-L", "INPUT", "-nvx")
        return sum(
            int(line.split()[0]) for line in listed.splitlines() if " DROP " in line and line.split()[0].isdigit()
        )

    def _firewall(self, v6: bool, *rule: str) -> None:
        run("ip", "netns", "exec", self.namespace, "ip6tables" if v6 else "iptables", "-w", *rule)

    def reaches(self, address: str, port: int, patience_s: float = 0.3) -> bool:
        """Whether a TCP connection from this host to an address gets any answer, be it a refusal."""
        script = f"exec 3<>/dev/tcp/{address}/{port}"
        said = run("ip", "netns", "exec", self.namespace, "sh", "-c", 'timeout "$0" bash -c "$1" 2>&1; echo "ended $?"',
                   f"{patience_s:g}", script, check=False)  # fmt: skip
        return "ended 0" in said or "refused" in said


def answers(address: str, port: int, patience_s: float = 0.3) -> bool:
    """Whether a TCP connection from the tests to an address gets any answer, be it a refusal."""
    with suppress(TimeoutError, OSError):
        try:
            socket.create_connection((address, port), timeout=patience_s).close()
        except ConnectionRefusedError:
            return True
        return True
    return False
