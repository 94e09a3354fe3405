"""What follow_conninfo, and the fences that starve replicas, have left on a server, and how it is taken back.

Must never take from a replica what it receives by.
"""

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from handyrep.model.answer import Outcome
from handyrep.plugins import _starving
from handyrep.plugins._left_in_pgdata import Left, delete
from handyrep.plugins._replication import STARVED
from handyrep.ports import Login

if TYPE_CHECKING:
    from handyrep.model.server import Server
    from handyrep.plugins.handyrepplugin import handyrepplugin

_PURPOSES = {
    "primary_conninfo": "whom it receives from",
    "primary_slot_name": "through which slot it receives",
    "recovery_target_timeline": "that it goes with its master's timeline",
}
_TOLD = """
select pg_is_in_recovery() as in_recovery, (select system_identifier::text from pg_control_system()) as identifier,
       array(select lower(name) from pg_file_settings where sourcefile ~ '/postgresql[.]auto[.]conf$') as names
"""
_FEED_SHARE = 0.5


def traces(plugin: "handyrepplugin", server: "Server", left: Left) -> list[dict[str, str]]:
    """What is there, settings first."""
    receives = (
        f"{server.name} is a replica, or would be one when it is started: it receives by it" if left.is_standby else ""
    )
    stopped = "" if left.runs else "PostgreSQL does not run there, so nothing can be told to it"
    found = [
        plugin.trace("setting", f"setting {name}", f"{_PURPOSES[name]}, by ALTER SYSTEM", stays=receives or stopped)
        for name in _ours(plugin, server, left.auto)
        if not (name == "primary_conninfo" and is_starved(left))
    ]
    if is_starved(left):
        purpose = "lets it receive from nobody, by ALTER SYSTEM"
        found.append(plugin.trace("setting", "setting primary_conninfo", purpose, stays=stopped))
    yours = f"a line of {server.replica_conf}, which is yours"
    found += [
        plugin.trace("setting", f"{server.replica_conf}: {name}", _PURPOSES[name], stays=receives or yours)
        for name in _ours(plugin, server, left.conf)
    ]
    return [*found, *(_kept(plugin, server, name, stopped) for name in _starved_files(left))]


def _kept(plugin: "handyrepplugin", server: "Server", name: str, stopped: str) -> dict[str, str]:
    purpose = "keeps primary_conninfo while it receives from nobody; may hold a password"
    return plugin.trace("kept setting", f"{server.pgdata}/{name}", purpose, stays=stopped)


def is_starved(left: Left) -> bool:
    """Whether ALTER SYSTEM has emptied primary_conninfo: HandyRep alone does that."""
    return left.auto.get("primary_conninfo") == ""


def _starved_files(left: Left) -> list[str]:
    return sorted(name for name in left.names if name.startswith(STARVED))


def _ours(plugin: "handyrepplugin", server: "Server", settings: dict[str, str]) -> list[str]:
    """Those of these settings that stand there as HandyRep writes them. Somebody else's are not told of."""
    conninfo = settings.get("primary_conninfo")
    written = conninfo == "" or (conninfo is not None and _is_written_by_us(plugin, server, conninfo))
    if not written:
        return []
    names = [name for name in _PURPOSES if name in settings]
    if conninfo:
        return names
    usual = {"recovery_target_timeline": "latest", "primary_slot_name": "", "primary_conninfo": ""}
    return [name for name in names if settings[name] == usual[name]]


def _is_written_by_us(plugin: "handyrepplugin", server: "Server", conninfo: str) -> bool:
    try:
        told = conninfo_to_dict(conninfo)
    except psycopg.Error:
        return False
    settings = plugin.settings.handyrep
    wanted = {"user": settings.replication_user, "dbname": settings.handyrep_db, "application_name": server.name}
    return all(told.get(name) == value for name, value in wanted.items())


async def take_back(plugin: "handyrepplugin", server: "Server", left: Left) -> str:
    """Why something is still there that could go, or ''. Raises DatabaseError, NoAnswerError."""
    if not left.runs:
        return ""
    if left.is_standby:
        return await _fed(plugin, server, left)
    problem = await delete(plugin, server, *_starved_files(left))
    names = _ours(plugin, server, left.auto)
    return problem or (await reset(plugin, server.name, names, in_recovery=False) if names else "")


async def _fed(plugin: "handyrepplugin", server: "Server", left: Left) -> str:
    """A replica that was left starving receives again; what was only kept goes."""
    if is_starved(left):
        kept = (await _starving.look(plugin, server.name)).kept
        if kept is None or not _leads_to_the_master(plugin, kept):
            return f"what {server.name} received by is not known, or leads to another server than the master: handyrep remaster {server.name}"
        end = plugin.call.world.clock.monotonic() + plugin.call.left_s() * _FEED_SHARE
        fed = await _starving.feed(plugin, server, end)
        if fed.outcome is not Outcome.SUCCESS:
            return fed.details
    return await delete(plugin, server, *_starved_files(left))


def _leads_to_the_master(plugin: "handyrepplugin", conninfo: str) -> bool:
    master = plugin.master()
    try:
        told = conninfo_to_dict(conninfo)
    except psycopg.Error:
        return False
    return (told.get("host"), str(told.get("port", 5432))) == (master.client_address, str(master.port))


async def reset(plugin: "handyrepplugin", name: str, settings: list[str], *, in_recovery: bool) -> str:
    """Take what ALTER SYSTEM has set away, on a server that is, or is not, in recovery at that moment; why not, or ''.

    Raises DatabaseError, NoAnswerError.
    """
    told = (await plugin.query(name, _TOLD, login=Login.SUPERUSER))[0]
    if told["identifier"] != (plugin.cluster.system_identifier or told["identifier"]):
        return f"in the place of {name} answers a PostgreSQL of another cluster: it is left alone"
    if told["in_recovery"] is not in_recovery:
        return f"{name} is {'a master' if in_recovery else 'in recovery'} now: its settings are left alone"
    for setting in settings:
        if setting in told["names"]:
            statement = sql.SQL("alter system reset {}").format(sql.Identifier(setting))
            await plugin.query(name, statement.as_string(None), login=Login.SUPERUSER)
    await plugin.query(name, "select pg_reload_conf()", login=Login.SUPERUSER)
    return ""
