"""The demo's story: build a cluster, let a client write, kill the master, watch HandyRep, count what was lost."""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handyrep.adapters.history import Both
from handyrep.app import running
from handyrep.errors import HandyRepError
from handyrep.model.answer import Outcome
from handyrep.model.server import Role
from handyrep.model.status import Health
from handyrep.operations.declare import Running
from handyrep.sandbox.servers import NAMES, DemoError, Servers, free_ports
from handyrep.sandbox.writer import Writer
from handyrep.surfaces.control import listening
from handyrep.surfaces.progress import Audience

_PATIENCE_S = 60.0
_CONF = """
[handyrep]
cluster_name = demo
state_dir = {folder}/state
profile = fast

[failover]
auto_failover = True
poll_method = poll_connect
fence_methods = fence_stop,
# The story itself brings the old master back: two at once would stop each other's.
rejoin_up_to = nothing

[server_defaults]
control = local
ssh_user = {account}
postgres_os_user = {account}
bin_dir = {bin_dir}
promotion_method = promote_sql

[servers]
{servers}
"""
_SERVER = """
[[{name}]]
hostname = 127.0.0.1
port = {port}
role = {role}
pgdata = {data}
pgconf = {conf}
failover_priority = {priority}
"""


def main() -> None:
    """Entry point of the demo. Ends with 0 only if the failover worked and no acknowledged row was lost."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Watch a PostgreSQL master die and a replica take over."
    )
    parser.add_argument("--once", action="store_true", help="one failover, then end")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end and nothing else")
    parser.add_argument(
        "--port",
        type=int,
        action="append",
        help=f"ports of the {len(NAMES)} servers (give it {len(NAMES)} times)",
        default=[],
    )
    options = parser.parse_args()
    if options.port and len(options.port) != len(NAMES):
        parser.error(f"--port is given {len(NAMES)} times or not at all")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    sys.exit(_run(options))


def _run(options: argparse.Namespace) -> int:
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # the client's broken connections are part of the story
    story = Story(quiet=options.json)
    try:
        return asyncio.run(_told(story, options))
    except HandyRepError as error:
        sys.stderr.write(f"The demo cannot go on: {error}\n")
        return 1
    except KeyboardInterrupt:
        story.say("Stopped; nothing is left behind.")
        return 0 if story.told_all else 130


async def _told(story: "Story", options: argparse.Namespace) -> int:
    ports = free_ports(len(NAMES), options.port)
    with tempfile.TemporaryDirectory(prefix="handyrep-demo-", ignore_cleanup_errors=True) as name:
        servers = Servers(Path(name), ports)
        try:
            report = await story.tell(servers, once=options.once)
        finally:
            servers.remove()
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["verdict"] == "ok" else 1


class Story:
    """Tells what happens in plain sentences, or keeps quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.told_all = False

    def say(self, sentence: str) -> None:
        """One sentence."""
        if not self._quiet:
            sys.stdout.write(sentence + "\n")
            sys.stdout.flush()

    def record(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:  # noqa: ARG002 - the port's form
        """An event of HandyRep, as ports.EventSink has it."""
        if kind in ("verdict", "step", "begin", "finished", "abandoned", "ask", "cluster", "error"):
            self.say(f"  HandyRep: {text}")

    async def tell(self, servers: Servers, *, once: bool) -> dict[str, Any]:
        """The whole story; returns the report."""
        self.say(
            f"Building a strictly synchronous cluster on loopback: master {NAMES[0]}, replicas {NAMES[1]} and {NAMES[2]} …"
        )
        await asyncio.to_thread(servers.create)
        conf = _write_conf(servers)
        audience = Audience()
        async with running(conf, also_tell=Both(self, audience)) as on:
            with _background(on.monitor.run()), _background((writer := Writer(servers.ports)).run()):
                async with listening(on, servers.folder / "state", audience):
                    report = await self._one_failover(on, servers, writer)
                    self._report(report)
                    if not once:
                        await self._stay(conf)
        return report

    async def _one_failover(self, on: Running, servers: Servers, writer: Writer) -> dict[str, Any]:
        await _until(lambda: on.engine.cluster.status.health is Health.HEALTHY, "HandyRep to see the cluster healthy")
        await _until(lambda: len(writer.acknowledged) > 300, "the client to write")
        self.say(
            f"All is well: {len(writer.acknowledged)} rows written. Now the postmaster of {NAMES[0]} is killed with kill -9."
        )
        writer.forget_gaps()
        before = len(writer.acknowledged)
        servers.kill_postmaster(NAMES[0])
        await _until(
            lambda: on.engine.cluster.master is not None and on.engine.cluster.master.name != NAMES[0], "a new master"
        )
        master = on.engine.cluster.master
        new_master = master.name if master is not None else ""
        await _until(lambda: len(writer.acknowledged) > before + 200, "the client to write again")
        downtime_s = writer.longest_gap_s
        await _until(lambda: on.engine.journal.open_run() is None, "the failover to be closed")
        rejoined = await self._bring_back(on, NAMES[0])
        lost = await writer.lost(servers.ports[new_master])
        return {
            "downtime_s": round(downtime_s, 3),
            "rows_acknowledged": len(writer.acknowledged),
            "rows_lost": len(lost),
            "new_master": new_master,
            "old_master_rejoined": rejoined,
            "verdict": _verdict(new_master, lost=len(lost), rejoined=rejoined),
        }

    async def _bring_back(self, on: Running, old: str) -> bool:
        self.say(f"Bringing {old} back as a replica …")
        master = on.engine.cluster.master
        async with on.engine.changing(f"bringing {old} back"):
            result = await on.engine.executor.rejoin(old, master.name if master is not None else "")
        self.say(f"  HandyRep: {result.details}")
        if result.outcome is not Outcome.SUCCESS:
            return False
        await _until(lambda: on.engine.cluster.members[old].status.health is Health.HEALTHY, f"{old} healthy again")
        return on.engine.cluster.members[old].server.role == Role.REPLICA

    def _report(self, report: dict[str, Any]) -> None:
        self.told_all = True
        self.say(
            f"Done. {report['new_master']} is the master. The client could not write for {report['downtime_s']:.3f} s. "
            f"Of {report['rows_acknowledged']} acknowledged rows {report['rows_lost']} were lost. "
            f"{NAMES[0]} {'is a replica now' if report['old_master_rejoined'] else 'DID NOT COME BACK'}."
        )

    async def _stay(self, conf: Path) -> None:
        self.say(
            f"The cluster stays up until Ctrl-C. Look at it from another terminal:\n  {_command()} -c {conf} status"
        )
        await asyncio.Event().wait()


def _verdict(new_master: str, *, lost: int, rejoined: bool) -> str:
    return "ok" if new_master and not lost and rejoined else "failed"


def _command() -> str:
    beside = Path(sys.executable).with_name("handyrep")
    return str(beside) if beside.exists() else f"{sys.executable} -m handyrep"


def _write_conf(servers: Servers) -> Path:
    sections = [
        _SERVER.format(
            name=name, port=servers.ports[name], role="master" if number == 0 else "replica",
            data=servers.data(name), conf=servers.conf(name), priority=number + 1,
        )
        for number, name in enumerate(NAMES)
    ]  # fmt: skip
    conf = servers.folder / "handyrep.conf"
    text = _CONF.format(
        folder=servers.folder, account=servers.account, bin_dir=servers.bin_dir, servers="".join(sections)
    )
    conf.write_text(text, encoding="utf-8")
    conf.chmod(0o600)
    return conf


@contextlib.contextmanager
def _background(coroutine: Any) -> Any:
    task = asyncio.ensure_future(coroutine)
    try:
        yield
    finally:
        task.cancel()


async def _until(holds: Any, what: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - a story may look at anything
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise DemoError(f"the demo waited {_PATIENCE_S:g} s in vain for {what}") from None
