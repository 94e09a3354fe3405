"""Where the names of a pgbouncer should lead, given the cluster. Pure."""

from handyrep.model.cluster import Cluster, Member
from handyrep.model.server import Server
from handyrep.model.status import Health
from handyrep.plugins._bouncer_config import Place

_LOCAL_NAMES = ("", "localhost", "127.0.0.1", "::1")


def place_of(server: Server) -> Place:
    """Where clients reach a server."""
    return server.client_address, server.port


def readers(cluster: Cluster, master: str) -> tuple[Place, ...]:
    """The replicas that are fit to read from, best first: healthy before lagged, then by failover_priority."""

    def rank(member: Member) -> tuple[Health, int, str]:
        return member.status.health, member.server.failover_priority, member.name

    fit = [m for m in cluster.replicas if m.name != master and m.status.health in (Health.HEALTHY, Health.LAGGED)]
    return tuple(place_of(member.server) for member in sorted(fit, key=rank))


def places(cluster: Cluster, bouncer: Server) -> frozenset[Place]:
    """Host and port of every server of the cluster, as a connection string of this pgbouncer may name them."""
    found: set[Place] = set()
    own = {bouncer.hostname, bouncer.client_address}
    for server in (server for server in cluster.servers if server.is_postgres):
        hosts = {server.hostname, server.client_address}
        beside = _LOCAL_NAMES if hosts & own else ()
        found |= {(host, server.port) for host in (*hosts, *beside)}
    return frozenset(found)
