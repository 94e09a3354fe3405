"""A bridge, and a network namespace per host: addresses, links that can be pulled, and partitions between any two addresses."""

import dataclasses

from tests.lab.shell import run

BRIDGE = "hrlab0"
MANAGER = "10.77.0.1"
MANAGER_V6 = "fd77::1"


@dataclasses.dataclass(frozen=True)
class Place:
    """One host on the lab's network."""

    name: str
    number: int

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def address_v6(self) -> str:
        return f"fd77::{self.number:x}"

    @property
    def namespace(self) -> str:
        return f"hr-{self.name}"

    @property
    def link(self) -> str:
        """The bridge's end of its cable."""
        return f"hrv{self.number}"


def make_bridge() -> None:
    """The switch of the lab; the tests themselves stand on it with the address MANAGER."""
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{MANAGER}/24", "dev", BRIDGE)
    run("ip", "-6", "addr", "add", f"{MANAGER_V6}/64", "dev", BRIDGE, "nodad")
    run("ip", "link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    run("ip", "link", "del", BRIDGE, check=False)


def plug_in(place: Place) -> None:
    """A namespace with eth0, joined to the bridge."""
    inside = ("ip", "-n", place.namespace)
    run("ip", "netns", "add", place.namespace)
    run("ip", "link", "add", place.link, "type", "veth", "peer", "name", "eth0", "netns", place.namespace)
    run("ip", "link", "set", place.link, "master", BRIDGE, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "addr", "add", f"{place.address}/24", "dev", "eth0")
    run(*inside, "-6", "addr", "add", f"{place.address_v6}/64", "dev", "eth0", "nodad")
    run(*inside, "link", "set", "eth0", "up")


def unplug(place: Place) -> None:
    """Take the namespace and both ends of the cable away."""
    run("ip", "netns", "del", place.namespace, check=False)
    run("ip", "link", "del", place.link, check=False)


def link_down(place: Place) -> None:
    """Pull the cable."""
    run("ip", "link", "set", place.link, "down")


def link_up(place: Place) -> None:
    run("ip", "link", "set", place.link, "up")


def partition(place: Place, other_address: str) -> None:
    """Silently drop everything between a host and an address, both ways."""
    for flag in ("-s", "-d"):
        chain = "INPUT" if flag == "-s" else "OUTPUT"
        run("ip", "netns", "exec", place.namespace, "iptables", "-w", "-I", chain, flag, other_address, "-j", "DROP")


def heal(place: Place) -> None:
    """Remove all of a host's partitions."""
    for chain in ("INPUT", "OUTPUT"):
        run("ip", "netns", "exec", place.namespace, "iptables", "-w", "-F", chain)
