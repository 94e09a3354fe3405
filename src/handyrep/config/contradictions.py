"""What is wrong, or odd, only when several directives are seen together. Owns no reading and no wording of places."""

from collections.abc import Iterable, Iterator

from handyrep.config.findings import Place, hint
from handyrep.config.settings import Settings
from handyrep.model.server import Role, Server

Complaint = tuple[Place, str, str]
"""(section, key, what): the end of a sentence that begins with the place."""

_WITH_PORTS = frozenset({Role.MASTER, Role.REPLICA, Role.PGBOUNCER, Role.PROXY})


def contradictions(settings: Settings) -> Iterator[Complaint]:
    """Why these settings cannot be worked with."""
    yield from _masters(settings.servers)
    yield from clashes(settings.servers)
    names = {server.name for server in settings.servers}
    archive = settings.archive.archive_server
    if archive and archive not in names:
        yield ("archive",), "archive_server", f"names {archive!r}, which is not in [servers]{hint(archive, names)}"
    for name in settings.failover.synchronous_replicas:
        if name not in names:
            yield ("failover",), "synchronous_replicas", f"names {name!r}, which is not in [servers]{hint(name, names)}"
    for server in settings.servers:
        yield from unusable(server)


def oddities(settings: Settings) -> Iterator[Complaint]:
    """What can be worked with, but is hardly meant."""
    passwords, failover = settings.passwords, settings.failover
    replicas = [server for server in settings.servers if server.enabled and server.role == Role.REPLICA]
    if passwords.read_password is not None and passwords.read_password == passwords.admin_password:
        yield ("passwords",), "read_password", "is the same as admin_password: whoever may look may change everything"
    if failover.auto_failover and not replicas:
        yield ("failover",), "auto_failover", "is on, and no enabled server has the role replica"
    able = [one.name for one in replicas if one.name in (failover.synchronous_replicas or [one.name])]
    if failover.synchronous_required > len(able):
        known = f"{len(able)} ({', '.join(able)})" if able else "none"
        yield (
            ("failover",),
            "synchronous_required",
            f"is {failover.synchronous_required}; replicas that may confirm: {known}",
        )
    if settings.handyrep.authentication_method:
        yield (
            ("handyrep",),
            "authentication_method",
            "is set, and this HandyRep has no REST interface to check users of",
        )
    if settings.archive.archiving and not settings.archive.archive_script_method:
        yield ("archive",), "archiving", "is on, and archive_script_method is blank: HandyRep installs no archiving"


def clashes(servers: Iterable[Server]) -> Iterator[Complaint]:
    """Servers that cannot be told apart: the same name, the same port of a host, the same data directory."""
    seen: dict[tuple[object, ...], str] = {}
    for server in servers:
        for key, what, identity in _identities(server):
            if seen.setdefault(identity, server.name) != server.name:
                yield ("servers", server.name), key, f"{what} [[{seen[identity]}]]"


def _identities(server: Server) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    yield "", "differs only in capital letters from", ("name", server.name.lower())
    host = server.hostname.lower().strip("[]")
    if host and server.role in _WITH_PORTS:
        yield "hostname", f"and port ({server.port}) are the same as those of", ("port", host, server.port)
    if server.is_postgres and server.pgdata:
        machine = "" if server.control == "local" else (server.ssh_address.lower().strip("[]"), server.ssh_port)
        yield "pgdata", "is on the same host the same as that of", ("pgdata", machine, server.pgdata.rstrip("/"))


def _masters(servers: tuple[Server, ...]) -> Iterator[Complaint]:
    masters = [server.name for server in servers if server.enabled and server.role == Role.MASTER]
    if not servers:
        yield ("servers",), "", "names no server"
    elif not masters:
        yield ("servers",), "", "has no enabled server with the role master"
    for name in masters[1:]:
        yield ("servers", name), "role", f"is master, and [[{masters[0]}]] is the enabled master already"


def unusable(server: Server) -> Iterator[Complaint]:
    """What is wrong with one server by itself."""
    if server.is_postgres and server.pgdata and not server.pgdata.strip("/"):
        yield ("servers", server.name), "pgdata", "is the root of the file system, which is no data directory"
