"""The composition root: builds an engine from a configuration file, with the real adapters. Nothing else wires parts."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from handyrep.adapters.clock import SystemClock
from handyrep.adapters.history import Both, History
from handyrep.adapters.hosts import RealHosts
from handyrep.adapters.journal_file import RecordFile
from handyrep.adapters.lock import StateLock
from handyrep.adapters.postgres import Account, RealDatabases
from handyrep.adapters.status_table import StatusTable
from handyrep.adapters.store import StateFile
from handyrep.adapters.verdicts import VerdictFile
from handyrep.config.read import Loaded, read
from handyrep.config.settings import Settings
from handyrep.engine.check import Check
from handyrep.engine.engine import Engine
from handyrep.engine.monitor import Monitor
from handyrep.engine.state import State, from_json
from handyrep.errors import ConfigurationError, StateError
from handyrep.model.cluster import Cluster, Member
from handyrep.operations.declare import Running
from handyrep.plugin_api.call import World
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.check import check_plugins
from handyrep.plugin_api.registry import Registry
from handyrep.ports import EventSink, Login


def load_checked(file: Path) -> tuple[Loaded, Registry | None]:
    """The configuration with its plugins checked too. Never raises: problems stand in the result."""
    loaded = read(file)
    if loaded.settings is None:
        return loaded, None
    registry = _registry(loaded.settings)
    problems, warnings = check_plugins(loaded.settings, registry)
    kept = None if problems else loaded.settings
    checked = dataclasses.replace(
        loaded, settings=kept, problems=(*loaded.problems, *problems), warnings=(*loaded.warnings, *warnings)
    )
    return checked, registry


def _registry(settings: Settings) -> Registry:
    folder = settings.handyrep.plugins_dir
    return Registry(Path(folder) if folder else None)


@asynccontextmanager
async def running(
    file: Path, *, beside_a_daemon: bool = False, also_tell: EventSink | None = None
) -> AsyncIterator[Running]:
    """A HandyRep for one configuration file, holding the lock of its state directory.

    `beside_a_daemon` takes no lock: only for what changes neither servers nor state. `also_tell` hears every event too.

    Raises ConfigurationError, StateError, BusyError (another HandyRep works with this state directory).
    """
    loaded, registry = load_checked(file)
    if loaded.settings is None or registry is None:
        raise ConfigurationError(loaded.problems, source=str(file))
    settings = loaded.settings
    folder = _state_dir(settings)
    hosts, clock = RealHosts(), SystemClock()
    lock = StateLock(folder, clock)
    if not beside_a_daemon:
        lock.take()
    databases = RealDatabases(_accounts(settings), settings.handyrep.handyrep_db)
    history, verdicts = History(folder / "history.db", clock), VerdictFile(folder / "history.db", clock)
    try:
        events: EventSink = history if also_tell is None else Both(history, also_tell)
        state = _state(settings, folder, events, clock)
        caller = Caller(registry, World(settings, hosts, databases, clock))
        engine = Engine(settings, caller, state, RecordFile(folder / "journal.jsonl"), events, clock)
        table = StatusTable(databases, settings, settings.failover.call_timeout * 5)
        check = Check(engine, verdicts)
        monitor = Monitor(engine, check)
        databases.on_lost = lambda _server: monitor.look_now()
        try:
            yield Running(engine, check, monitor, history, table, loaded)
        finally:
            await check.close()
    finally:
        await hosts.close()
        await _closed(databases)
        history.close()
        verdicts.close()
        lock.release()


async def _closed(databases: RealDatabases) -> None:
    try:
        async with asyncio.timeout(2):
            await databases.close()
    except TimeoutError:
        return


def _state_dir(settings: Settings) -> Path:
    folder = Path(settings.handyrep.state_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"the state directory {folder} cannot be made ({error.strerror})", remedy="Set state_dir."
        ) from None
    return folder


def _state(settings: Settings, folder: Path, events: EventSink, clock: SystemClock) -> State:
    store = StateFile(folder / settings.handyrep.server_file)
    saved = store.load()
    configured = Cluster(
        name=settings.handyrep.cluster_name,
        members=MappingProxyType({server.name: Member(server) for server in settings.servers}),
    )
    known = configured if saved is None else _merged(from_json(saved), configured, settings)
    for name, changed in _differences(known, configured):
        text = (
            f"{name} is defined differently in {settings.source} ({', '.join(changed)}): what HandyRep has saved wins"
        )
        events.record(
            "warning", f"{text}. To let the file win, start once with override_server_file = True", {"server": name}
        )
    return State(known, store, events, clock)


def _merged(saved: Cluster, configured: Cluster, settings: Settings) -> Cluster:
    """servers.save is the authority on servers; with override_server_file the configuration is, epochs and memory excepted."""
    if settings.handyrep.override_server_file:
        return dataclasses.replace(saved, name=configured.name, members=configured.members)
    return dataclasses.replace(saved, name=configured.name)


def _differences(known: Cluster, configured: Cluster) -> list[tuple[str, list[str]]]:
    """Servers whose definition in the file is not the one in use, with the directives. Role and enabled change by themselves."""
    found = []
    for name, member in configured.members.items():
        used = known.members[name].server if name in known.members else None
        names = [field.name for field in dataclasses.fields(member.server) if field.name not in ("role", "enabled")]
        changed = [key for key in names if used is not None and getattr(used, key) != getattr(member.server, key)]
        if used is None:
            found.append((name, ["it is not known"]))
        elif changed:
            found.append((name, changed))
    return found


def _accounts(settings: Settings) -> dict[Login, Account]:
    names, secrets = settings.handyrep, settings.passwords
    handyrep = Account(names.handyrep_user, secrets.handyrep_db_pass)
    admin_user = secrets.pgbouncer_admin_user or names.handyrep_user
    admin_pass = secrets.pgbouncer_admin_pass or secrets.handyrep_db_pass
    return {
        Login.HANDYREP: handyrep,
        Login.SUPERUSER: Account(names.postgres_superuser, secrets.superuser_pass),
        Login.REPLICATION: Account(names.replication_user, secrets.replication_pass),
        Login.BOUNCER_ADMIN: Account(admin_user, admin_pass),
    }
