"""HandyRep's own disk in memory: state, journal and events. It may be full, and HandyRep may be killed before or after each write."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from handyrep.errors import StateError
from tests.simulation.cluster import Begun, Saved, World
from tests.simulation.weather import Weather


class Disk:
    """What outlives HandyRep: the saved state and what fence_lease remembers, as text, and the journal's records, each as it is read back from its text.

    `noted`: so many of the last records are not durable yet.
    """

    def __init__(self) -> None:
        self.state = self.leases = ""
        self.records: list[Mapping[str, Any]] = []
        self.noted = 0

    def lose_power(self) -> None:
        """What was not durable is gone."""
        del self.records[len(self.records) - self.noted :]
        self.noted = 0


class _Writing:
    def __init__(self, disk: Disk, world: World, weather: Weather, watch: Callable[[], None]) -> None:
        self._disk = disk
        self._world = world
        self._weather = weather
        self._watch = watch

    def _before(self, what: str) -> None:
        self._weather.maybe_killed(f"before it wrote its {what}")
        if self._weather.no_room():
            self._world.tell(f"HandyRep's disk has no room for its {what}")
            raise StateError("no room")

    def _after(self, what: str) -> None:
        self._watch()
        self._weather.maybe_killed(f"just after it wrote its {what}")


class Store(_Writing):
    """ports.StateStore."""

    def load(self) -> Mapping[str, Any] | None:
        """The state last saved."""
        return json.loads(self._disk.state) if self._disk.state else None

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace it, or not at all."""
        self._before("state")
        self._disk.state = json.dumps(content)
        self._world.happened.append(Saved(self._disk.state))
        self._after("state")


class Log(_Writing):
    """ports.RecordLog."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one, or not at all."""
        self._add(record)
        self._disk.noted = 0
        self._after("journal")

    def note(self, record: Mapping[str, Any]) -> None:
        """Add one, or not at all; it may be lost with the power."""
        self._add(record)
        self._disk.noted += 1
        self._after("journal")

    def _add(self, record: Mapping[str, Any]) -> None:
        self._before("journal")
        self._disk.records.append(json.loads(json.dumps(record)))
        begun = (record["epoch"], record.get("began_at"), record.get("reason"))
        if record["what"] == "open" and begun not in self._world.begun:
            self._world.begun.add(begun)
            rule = record["reason"].partition(":")[0] if record["reason"].startswith("F") else ""
            self._world.happened.append(Begun(record["epoch"], rule, record["old_master"]))
        self._world.tell(f"journal: {_sentence(record)}")

    def read(self) -> list[Mapping[str, Any]]:
        """All of them."""
        return list(self._disk.records)


class Events:
    """ports.EventSink: what HandyRep tells goes into the story."""

    def __init__(self, world: World) -> None:
        self._world = world

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """Keep one event; steps stand in the journal already."""
        if kind not in ("step", "status", "cluster"):
            self._world.tell(f"HandyRep says ({kind}): {text}")


class Clock:
    """ports.Clock: only sleeping and calls move it."""

    def __init__(self, world: World, weather: Weather, watch: Callable[[], None]) -> None:
        self._world = world
        self._weather = weather
        self._watch = watch
        self.monotonic = world.monotonic
        self.now = world.now

    async def sleep(self, duration_s: float) -> None:
        """Time passes; a busy host oversleeps."""
        self._weather.maybe_killed("while it waited")
        self._world.pass_time(max(duration_s, 1.0))
        self._watch()


def _sentence(record: Mapping[str, Any]) -> str:
    words = (
        str(record[key])
        for key in ("what", "stage", "subject", "outcome", "kind", "how", "reason", "details", "text")
        if record.get(key)
    )
    return f"{record['epoch']} {' '.join(words)}"
