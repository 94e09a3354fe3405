"""Who has a session at a master without coming through a proxy, as the master itself tells. Only looks.

Whom it counts: every client's session over TCP that comes neither from a proxy's host nor from what belongs to HandyRep and replication.
"""

import dataclasses
import ipaddress
from typing import TYPE_CHECKING

from handyrep.errors import DatabaseError, HandyRepError
from handyrep.ports import Login, Row

if TYPE_CHECKING:
    from handyrep.plugins.handyrepplugin import handyrepplugin

_MAY_SEE = (
    "select pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all, host(inet_client_addr()) as ours"
)
# Replication itself is no client backend; a replica's host also comes as a superuser, to rewind.
_SESSIONS = """
select distinct host(a.client_addr) as address, coalesce(a.usename, '') as role, coalesce(r.rolsuper, false) as superuser,
       exists (select from pg_stat_replication s where s.client_addr = a.client_addr) as from_a_replica
from pg_stat_activity a left join pg_roles r on r.oid = a.usesysid
where a.backend_type = 'client backend' and a.client_addr is not null and a.pid <> pg_backend_pid()
"""
_RULES = """
select line_number, type, database, user_name, address, netmask, auth_method
from pg_hba_file_rules where error is null order by line_number
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """`seen`: direct clients, each with role and address, None when nobody could be asked; `told`: what else people should know."""

    seen: tuple[str, ...] | None
    told: str


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What the master told. `ours`: the address that HandyRep is seen with. `untold`: why something could not be asked."""

    sessions: tuple[Row, ...] | None = None
    rules: tuple[Row, ...] | None = None
    ours: str = ""
    untold: str = ""


async def ask(plugin: "handyrepplugin", master: str) -> Heard:
    """Ask the master for its sessions, and whom pg_hba.conf lets in."""
    try:
        login, ours = await _asks_as(plugin, master)
        sessions = await _ask(plugin, master, _SESSIONS, login)
    except HandyRepError as error:
        return Heard(untold=error.what)
    try:
        return Heard(sessions, await _ask(plugin, master, _RULES, Login.SUPERUSER), ours)
    except HandyRepError as error:
        return Heard(sessions, ours=ours, untold=error.what)


def audit(heard: Heard, proxies: frozenset[str], own_roles: frozenset[str]) -> Audit:
    """`proxies` are the addresses from which sessions may come, `own_roles` those of HandyRep and replication."""
    if heard.sessions is None:
        return Audit(None, f"whether clients come directly was not asked: {heard.untold}")
    seen = tuple(
        sorted(
            f"{row['role']} from {row['address']}"
            for row in heard.sessions
            if is_direct(row, proxies, own_roles, heard.ours)
        )
    )
    if heard.rules is None:
        return Audit(seen, f"pg_hba.conf was not looked at: {heard.untold}")
    return Audit(seen, _wide(heard.rules, proxies | {heard.ours}, own_roles))


async def _asks_as(plugin: "handyrepplugin", master: str) -> tuple[Login, str]:
    """(a login that sees every session, the address that it is seen with). Raises HandyRepError."""
    for login in (Login.HANDYREP, Login.SUPERUSER):
        row = (await _ask(plugin, master, _MAY_SEE, login))[0]
        if row["sees_all"]:
            return login, str(row["ours"] or "")
    raise DatabaseError("neither handyrep_user nor postgres_superuser may see other sessions", server=master)


async def _ask(plugin: "handyrepplugin", master: str, statement: str, login: Login) -> tuple[Row, ...]:
    return await plugin.query(master, statement, login=login, timeout_s=plugin.settings.failover.call_timeout)


def is_direct(row: Row, proxies: frozenset[str], own_roles: frozenset[str], ours: str) -> bool:
    """Whether a session is a client's that came past the proxies.

    HandyRep's roles may come from anywhere; a superuser from the master itself, from where HandyRep is, and from a replica.
    """
    if row["address"] in proxies or row["role"] in own_roles:
        return False
    at_home = row["address"] == ours or row["from_a_replica"] or ipaddress.ip_address(row["address"]).is_loopback
    return not (row["superuser"] and at_home)


def _wide(rules: tuple[Row, ...], known: frozenset[str], own_roles: frozenset[str]) -> str:
    """Which lines of pg_hba.conf let in more than is known; '' when none does."""
    lines = []
    for row in rules:
        if row["auth_method"] == "reject" and _is_for_all(row):
            break
        if lets_others_in(row, known, own_roles):
            lines.append(str(row["line_number"]))
    return f"pg_hba.conf lets others in by line {', '.join(lines)}, where nothing else stops them" if lines else ""


def lets_others_in(row: Row, known: frozenset[str], own_roles: frozenset[str]) -> bool:
    """Whether a line of pg_hba.conf lets clients in from more than these addresses and the master itself."""
    if not row["type"].startswith("host") or row["auth_method"] == "reject" or row["database"] == ["replication"]:
        return False
    if set(row["user_name"]) <= own_roles:
        return False
    try:
        network = ipaddress.ip_network(f"{row['address']}/{row['netmask']}") if row["netmask"] else None
    except ValueError:
        network = None
    if network is None:
        return bool(row["address"] != "samehost")
    return not (network.is_loopback or (network.num_addresses == 1 and str(network.network_address) in known))


def _is_for_all(row: Row) -> bool:
    everywhere = row["address"] == "all"
    return bool(row["type"] == "host" and row["database"] == ["all"] and row["user_name"] == ["all"] and everywhere)
