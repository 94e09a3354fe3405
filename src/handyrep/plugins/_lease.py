"""The arithmetic of fence_lease, and what it remembers: until when a lease lasts, and how long its end must be waited for.

Owns the file in state_dir that says on which servers a lease is kept and on what terms: a HandyRep that was started anew knows no more.
"""

import asyncio
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from handyrep.errors import PluginError
from handyrep.plugins._lease_guard import CHECK_S, STOP_S
from handyrep.plugins.handyrepplugin import last_words

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

RATE_ERROR = 0.01
"""So far may the clocks of two hosts differ in their rates: twenty times what NTP ever corrects."""
_MARGIN_S = 3.0
"""For a start that was let in as the door was shut: it is found at the guard's next look, and ended."""
_FILE = "fence_lease.json"
_SHARE = 0.5
"""Of the time that is left: if the disk hangs it must still be said."""
_READ = '[ ! -e "$1" ] || cat -- "$1"'
_WRITE = 'umask 077; cat > "$1.new" && sync "$1.new" && mv -f -- "$1.new" "$1"'


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """A lease: it lasts so long, and a replica of `peers` from which nothing was heard for `silence_s` is not attached any more."""

    lease_s: float
    silence_s: float
    peers: tuple[str, ...]

    def loosest(self, other: "Terms") -> "Terms":
        """What holds while it is not known which of the two is in force."""
        peers = tuple(sorted({*self.peers, *other.peers}))
        return Terms(max(self.lease_s, other.lease_s), max(self.silence_s, other.silence_s), peers)

    @property
    def over_within_s(self) -> float:
        """A lease that was renewed before a moment is over so long after it. The rate counts twice: its end was reckoned by it already."""
        return self.lease_s * (1 + 2 * RATE_ERROR)

    @property
    def unheard_within_s(self) -> float:
        """A replica that has fallen silent counts no more after that."""
        return self.silence_s * (1 + RATE_ERROR)

    @property
    def stopped_within_s(self) -> float:
        """When both have come to pass, no process is left after that."""
        return CHECK_S + STOP_S + _MARGIN_S


@dataclasses.dataclass(frozen=True, slots=True)
class HostClock:
    """A host's own clock, in hundredths of a second since it was started as `boot`; `at_s` is when its answer came, on ours."""

    boot: str
    hundredths: int
    at_s: float

    def end_of(self, lease_s: float, now_s: float) -> int:
        """When a lease of that length that begins now ends on the host's clock. The time its answer took shortens it, never lengthens."""
        return self.hundredths + int((now_s - self.at_s + lease_s) * 100)


def host_clock(said: Mapping[str, str], at_s: float) -> HostClock | None:
    """The clock in an answer, if there is one."""
    boot, now = said.get("boot", ""), said.get("now", "")
    return HostClock(boot, int(now), at_s) if boot and re.fullmatch(r"\d{1,15}", now) else None


@dataclasses.dataclass(slots=True)
class Known:
    """What fence_lease knows of one server between calls. `proofs` counts the proofs that were begun: a renewal that began before one is not sent after it.

    `rested_on`: a proof is under way, or was given and not taken back: nothing may be renewed.
    """

    clock: HostClock | None = None
    renewed_at_s: float | None = None
    proofs: int = 0
    rested_on: bool = False
    told: tuple[str, ...] = ()


def name_of(cluster: str, server: str) -> str:
    """What the lease of a server is called on its host: for people, and no other cluster's."""
    mark = hashlib.sha256(f"{cluster}/{server}".encode()).hexdigest()[:8]
    return f"handyrep-lease-{re.sub(r'[^A-Za-z0-9_-]', '_', server)[:60]}-{mark}"


async def remembered(plugin: "handyrepplugin") -> dict[str, Terms]:
    """The terms on which each server's lease is kept. Raises PluginError, NoAnswerError."""
    if "terms" not in plugin.memory:
        ran = await plugin.run_local("sh", "-c", _READ, "read", _place(plugin), timeout_s=plugin.call.left_s() * _SHARE)
        if ran.exit_status != 0:
            raise PluginError(f"{_place(plugin)} cannot be read: {last_words(ran)}")
        plugin.memory["terms"] = _parsed(ran.stdout, _place(plugin))
    return dict(plugin.memory["terms"])


async def remember(plugin: "handyrepplugin", server: str, terms: Terms | None) -> None:
    """Write it down before it is so; None: there is none any more, which holds even if it cannot be written. Raises PluginError, NoAnswerError."""
    async with plugin.memory.setdefault("writing", asyncio.Lock()):
        await _written(plugin, server, terms)


async def _written(plugin: "handyrepplugin", server: str, terms: Terms | None) -> None:
    known = await remembered(plugin)
    if known.get(server) == terms and "unwritten" not in plugin.memory:
        return
    new = {name: one for name, one in {**known, server: terms}.items() if one is not None}
    if terms is None:
        plugin.memory["terms"] = new
    plugin.memory["unwritten"] = True
    text = json.dumps({name: dataclasses.asdict(one) for name, one in new.items()})
    limit_s = plugin.call.left_s() * _SHARE
    ran = await plugin.run_local("sh", "-c", _WRITE, "write", _place(plugin), stdin=text.encode(), timeout_s=limit_s)
    if ran.exit_status != 0:
        raise PluginError(f"{_place(plugin)} cannot be written: {last_words(ran)}")
    plugin.memory["terms"] = new
    plugin.memory.pop("unwritten", None)


def _place(plugin: "handyrepplugin") -> str:
    return str(PurePosixPath(plugin.settings.handyrep.state_dir) / _FILE)


def _parsed(text: str, place: str) -> dict[str, Terms]:
    try:
        given: dict[str, Any] = json.loads(text or "{}")
        return {
            name: Terms(float(one["lease_s"]), float(one["silence_s"]), tuple(map(str, one["peers"])))
            for name, one in given.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PluginError(f"{place} is not what fence_lease writes ({type(error).__name__})") from None
