"""What is measured: a fault, on a cluster of one kind, with the timings of one profile."""

import dataclasses
from collections.abc import Callable

from tests.lab import faults
from tests.lab.cluster import LabCluster

from bench.ground import Layout

Fault = Callable[[LabCluster, str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Directives of the sections [handyrep], [failover] and [server_defaults]."""

    profile: str
    failover: str
    server_defaults: str
    poll_method: str

    @property
    def directives(self) -> dict[str, str]:
        """All but the profile, as a configuration of the lab takes them."""
        return {"failover": self.failover, "server_defaults": self.server_defaults, "poll_method": self.poll_method}


FAULTS: dict[str, Fault | None] = {
    "crash": faults.crash,
    "host off": faults.power_off,
    "host cut off": faults.link_down,
    "hang": faults.hang,
    "switchover": None,
}
"""None: nothing breaks, a person asks for it."""
TIMINGS = {
    "fast": Timings("fast", "fail_retries = 0", "promotion_method = promote_sql", "poll_connect"),
    "defaults": Timings("normal", "", "", "poll_isready"),
}
"""What docs/benchmarks.md recommends to be fast, and nothing at all."""


MODES = {
    "strict sync": Layout("strictly-synchronous", 2, synchronous=True),
    "asynchronous, proxies": Layout("behind-pgbouncers", 2, synchronous=False, proxies=2),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    fault: str
    mode: str
    timings: str

    @property
    def key(self) -> str:
        """What makes it the same row in another run."""
        return f"{self.fault}, {self.mode}, {self.timings}"


CASES = tuple(Case(fault, mode, timings) for timings in TIMINGS for mode in MODES for fault in FAULTS)
