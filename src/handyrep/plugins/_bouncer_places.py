"""Where the names of a pgbouncer should lead, given the cluster. Pure."""

from handyrep.model.answer import Answer
from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Server
from handyrep.model.status import Health
from handyrep.plugins._bouncer_config import Place, Target

_LOCAL_NAMES = ("", "localhost", "127.0.0.1", "::1")


def place_of(server: Server) -> Place:
    """Where clients reach a server."""
    return server.client_address, server.port


def readers(cluster: Cluster, master: str) -> tuple[Place, ...]:
    """The replicas that new readers are led to, by failover_priority: healthy ones, so none beyond its lag_limit."""

    def rank(member: Member) -> tuple[int, str]:
        return member.server.failover_priority, member.name

    fit = [m for m in cluster.replicas if m.name != master and _as_reader(m) is Health.HEALTHY]
    return tuple(place_of(member.server) for member in sorted(fit, key=rank))


def readable(cluster: Cluster) -> frozenset[Place]:
    """Where a reader's session may come to its end: at replicas that were seen in recovery, and were no master before."""
    alive = [m for m in cluster.replicas if _as_reader(m) in (Health.HEALTHY, Health.LAGGED)]
    sure = [m for m in alive if m.in_recovery is Answer.YES and m.name not in cluster.deposed]
    return frozenset(place_of(member.server) for member in sure)


def _as_reader(member: Member) -> Health | None:
    """How it is for readers: a warning about its host moves nobody while it was not seen to stop replicating."""
    return member.last_well if member.status.health is Health.WARNING else member.status.health


def places(cluster: Cluster, bouncer: Server) -> frozenset[Place]:
    """Host and port of every server of the cluster, as a connection string of this pgbouncer may name them."""
    return frozenset[Place]().union(*(_places_of(s, bouncer) for s in cluster.servers if s.is_postgres))


def places_of_others(cluster: Cluster, bouncer: Server, server: Server) -> frozenset[Place]:
    """The same of every server but this one."""
    others = (_places_of(s, bouncer) for s in cluster.servers if s.is_postgres and s.name != server.name)
    return frozenset[Place]().union(*others) - _places_of(server, bouncer)


def leads_to(target: Target, of_servers: frozenset[Place]) -> bool:
    """Whether a session may end at one of these places."""
    return any((host, target.port) in of_servers for host in target.hosts)


def may_lead_to(target: Target, cluster: Cluster, bouncer: Server, server: Server) -> bool:
    """Whether a session may end at this server, by whatever name it goes: all that is not known to be another server."""
    known = places_of_others(cluster, bouncer, server)
    return any((host, target.port) not in known for host in target.hosts)


def _places_of(server: Server, bouncer: Server) -> frozenset[Place]:
    hosts = {server.hostname, server.client_address}
    beside = _LOCAL_NAMES if hosts & {bouncer.hostname, bouncer.client_address} else ()
    return frozenset((host, server.port) for host in (*hosts, *beside))
