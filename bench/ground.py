"""A cluster in the lab for one of examples/ready, its handyrep.conf, and a client that comes as its clients would."""

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import psycopg
from configobj import ConfigObj
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watched
from tests.lab.lab import Lab
from tests.lab.proxy import LabProxy, through
from tests.lab.test_proxies import directives
from tests.lab.writer import Client

from bench.apart import Apart

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One of examples/ready, and the cluster that it is for."""

    name: str
    replicas: int
    synchronous: bool
    proxies: int = 0

    @property
    def failover(self) -> str:
        """The lines of its section [failover] that the lab does not set itself."""
        section = ConfigObj(str(ROOT / "examples" / "ready" / f"{self.name}.conf"))["failover"]
        own = {key: value for key, value in section.items() if key not in ("auto_failover", "poll_method")}
        return "\n".join(
            f"{key} = {', '.join(value) if isinstance(value, list) else value}" for key, value in own.items()
        )

    def built(self, lab: Lab, version: int) -> tuple[LabCluster, list[LabProxy]]:
        """Its hosts, started."""
        cluster = lab.cluster(version, replicas=self.replicas, synchronous=self.synchronous)
        return cluster, list(lab.proxies(cluster, self.proxies)) if self.proxies else []

    def conf(
        self, cluster: LabCluster, proxies: list[LabProxy], folder: Path, *, profile: str, **own: str
    ) -> Path:  # fmt: skip
        """The directives are those of examples/ready; only addresses, passwords and paths are the lab's."""
        failover = f"{self.failover}\n{own.pop('failover', '')}"
        sections = {**own, "failover": failover}
        if proxies:
            (folder / "templates").mkdir()
            sections = {**directives(proxies), "handyrep": f"templates_dir = {folder}/templates", **sections}
        return cluster.handyrep_conf(folder, profile=profile, **sections)


async def ready(handyrep: Watched, cluster: LabCluster, proxies: list[LabProxy], folder: Path) -> None:
    """Wait until all is well, with pgbouncers that are HandyRep's. Their folder is the account's, as docs/proxies.md says."""
    await handyrep.settled(cluster)
    for proxy in proxies:
        proxy.host.inside("chown", "postgres:", "/etc/pgbouncer")
    if proxies:
        await handyrep.manages_proxies(folder / "templates")
    await handyrep.healthy()


def client(cluster: LabCluster, proxies: list[LabProxy], statement_s: float = 2.0) -> Apart:
    """Through the proxies where there are any, else directly; it gives up a statement that lasts longer."""
    if proxies:
        return Apart(functools.partial(ThroughProxies, [proxy.host.address for proxy in proxies]))
    return Apart(functools.partial(Client, [host.address for host in cluster.hosts], statement_s))


class ThroughProxies(Client):
    """A client that knows no way but the pgbouncers."""

    def _seek(self) -> psycopg.Connection[tuple[Any, ...]] | None:
        for address in self._addresses:
            with contextlib.suppress(psycopg.Error):
                return through(address)
        return None
