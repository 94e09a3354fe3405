"""The lab for tests: one image a session, fresh hosts a test, a HandyRep that watches them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handyrep.app import running
from handyrep.model.status import Health
from handyrep.operations import OPERATIONS
from handyrep.operations.declare import Running, invoke
from tests.lab.cluster import LabCluster
from tests.lab.lab import Lab

PATIENCE_S = 60.0
CALL_TIMEOUT_S = 1.0
"""The 0.2 s of profile = fast are for hosts that have a processor to themselves; here a dozen share two."""


@pytest.fixture(scope="session")
def whole_lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    """The lab, whose hosts are gone after the test."""
    yield whole_lab
    whole_lab.remove_hosts()


@pytest.fixture(scope="module")
def ground() -> Iterator[Lab]:
    """A lab of a test module's own, beside the session's."""
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def trio(ground: Lab) -> LabCluster:
    """A cluster that a module's tests share, and leave as they found it."""
    return ground.cluster(15, disk_mb=400)


class Watched:
    """A HandyRep at work on a lab cluster."""

    def __init__(self, on: Running, conf: Path) -> None:
        self.on = on
        self.conf = conf

    async def until(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait for something, and say what HandyRep thought when it did not come."""
        end = asyncio.get_running_loop().time() + patience_s
        while not holds():
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(
                    f"{patience_s:g} s without: {what}\n{self.rule}: {self.said}\n{self.statuses()}\n{self.story()}"
                )
            await asyncio.sleep(0.01)

    def story(self) -> str:
        """The newest events."""
        return "\n".join(f"{event['at']} {event['text']}" for event in self.on.history.newest(60))

    def statuses(self) -> str:
        """What HandyRep says of each server now."""
        return "\n".join(f"{name}: {member.status}" for name, member in self.on.engine.cluster.members.items())

    @property
    def master(self) -> str:
        return self.on.engine.cluster.master.name if self.on.engine.cluster.master else ""

    @property
    def rule(self) -> str:
        """The id of the rule of the last verdict."""
        return self.on.engine.last_verdict.rule if self.on.engine.last_verdict else ""

    @property
    def said(self) -> str:
        return self.on.engine.last_verdict.sentence if self.on.engine.last_verdict else ""

    async def settled(self, cluster: LabCluster) -> None:
        """Wait until every service has started for good, and look at everything. Debian's takes two seconds to say so."""
        for host in cluster.hosts:
            await asyncio.to_thread(host.inside, "systemctl", "start", cluster.layout.unit)
        await self.call("verify_all")

    async def seen_healthy(self) -> str:
        """Look at everything until all is well, as the loop would: a first login by SSH may take longer than call_timeout here.

        What is said of the cluster then. Raises AssertionError.
        """
        for _ in range(10):
            await self.call("verify_all")
            if self.on.engine.cluster.status.health is Health.HEALTHY:
                return self.on.engine.cluster.status.reason
        raise AssertionError(f"not healthy after ten looks\n{self.statuses()}\n{self.story()}")

    async def healthy(self) -> None:
        await self.until(lambda: self.on.engine.cluster.status.health is Health.HEALTHY, "a healthy cluster")

    async def failed_over(self, old: str) -> str:
        """Wait for another master and a closed journal; its name."""
        await self.until(lambda: self.master not in ("", old), f"a master other than {old}")
        await self.until(lambda: self.on.engine.journal.open_run() is None, "the failover closed")
        return self.master

    async def manages_proxies(self, templates: Path) -> None:
        """The pgbouncers' own files become HandyRep's templates, as the docs tell it."""
        foreign = await self.call("connection_proxy_init")
        (templates / "pgbouncer.ini.j2").write_text(foreign["template"])
        done = await self.call("connection_proxy_init")
        assert done["result"] == "SUCCESS", done["details"]

    async def call(self, name: str, **arguments: object) -> dict[str, Any]:
        """An operation; its RD."""
        assert name in OPERATIONS
        return await invoke(self.on, name, arguments)


@asynccontextmanager
async def watching(conf: Path, *, monitor: bool = True) -> AsyncIterator[Watched]:
    """HandyRep on this configuration, with or without its loop."""
    async with running(conf) as on:
        watched = Watched(on, conf)
        task = asyncio.create_task(on.monitor.run()) if monitor else None
        try:
            yield watched
        except Exception as error:
            error.add_note(f"What HandyRep did:\n{watched.story()}\n{watched.statuses()}")
            raise
        finally:
            if task is not None:
                task.cancel()


Watch = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """`async with watch(cluster, failover="…") as handyrep:`"""

    def started(
        cluster: LabCluster, *, monitor: bool = True, failover: str = "", **sections: str
    ) -> AbstractAsyncContextManager[Watched]:
        if "call_timeout" not in failover:
            failover += f"\ncall_timeout = {CALL_TIMEOUT_S}"
        return watching(cluster.handyrep_conf(tmp_path, failover=failover, **sections), monitor=monitor)

    return started
