"""Whether all is well again without a hand, and what the servers hold then."""

import asyncio
import time
from contextlib import suppress

import psycopg
from tests.lab.shell import LabError

from handyrep.model.status import Health
from soak.ground import Ground
from soak.judge import Verdict, judged

_STREAMING = "select coalesce(string_agg(application_name, ',' order by application_name), '') from pg_stat_replication where state = 'streaming'"
_LOOK_EVERY_S = 0.3


async def wait_until_green(ground: Ground, patience_s: float) -> str:
    """Why it is not green when patience has ended; '' when it is."""
    since = time.monotonic()
    while True:
        why = _as_handyrep_sees_it(ground) or await asyncio.to_thread(_as_servers_and_clients_see_it, ground, since)
        if not why or time.monotonic() - since > patience_s:
            return why
        await asyncio.sleep(_LOOK_EVERY_S)


def _as_handyrep_sees_it(ground: Ground) -> str:
    cluster = ground.handyrep.on.engine.cluster
    if cluster.frozen:
        return f"frozen: {cluster.frozen}"
    if cluster.deposed:
        return f"not back yet: {', '.join(cluster.deposed)}"
    if ground.handyrep.on.engine.journal.open_run() is not None:
        return "a run stands open"
    return "" if cluster.status.health is Health.HEALTHY else cluster.status.reason


def _as_servers_and_clients_see_it(ground: Ground, since: float) -> str:
    master = ground.handyrep.master
    others = ",".join(sorted(name for name in ground.cluster.names if name != master))
    with suppress(psycopg.Error):
        streaming = ground.cluster.value(master, _STREAMING)
        if streaming != others:
            return f"from {master} only {streaming or 'nobody'} receives"
        idle = ground.clients.idle_since(since, [master, *ground.proxies])
        return f"clients of {idle} cannot write" if idle else ""
    return f"{master} cannot be asked"


def looked_at(ground: Ground, patience_s: float) -> tuple[Verdict, str]:
    """The judge's verdict on all that clients were told by now, and which servers could not be looked at, so that it may say too little."""
    ground.clients.history.read()
    acks, doubts = list(ground.clients.history.acks), list(ground.clients.history.doubts)
    master = ground.handyrep.master
    others: dict[str, frozenset[int]] = {}
    try:
        position = str(ground.cluster.value(master, "select pg_current_wal_flush_lsn()"))
        for name in ground.cluster.names:
            if name != master:
                _wait_until_replayed(ground, name, position, patience_s)
                others[name] = _rows(ground, name)
        return judged(acks, doubts, _rows(ground, master), others), ""
    except (LabError, psycopg.Error) as error:
        rows = _rows_if_any(ground, master)
        known = frozenset(ack.row for ack in acks) if rows is None else rows
        return judged(acks, doubts, known, others), f"not every server could be looked at: {error}"


def _wait_until_replayed(ground: Ground, name: str, position: str, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not ground.cluster.value(name, f"select pg_last_wal_replay_lsn() >= '{position}'"):
        if time.monotonic() > end:
            raise LabError(f"{name} does not replay to {position}")
        time.sleep(0.05)


def _rows(ground: Ground, name: str) -> frozenset[int]:
    with ground.cluster.connect(name) as connection:
        return frozenset(row[0] for row in connection.execute("select n from written").fetchall())


def _rows_if_any(ground: Ground, name: str) -> frozenset[int] | None:
    try:
        return _rows(ground, name)
    except psycopg.Error:
        return None
