"""Which fences keep something up on which server. Asks them to; owns nothing of what they do."""

from handyrep.config.settings import Settings
from handyrep.engine.hands import Hands
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind

Pair = tuple[str, str]
"""A fence and a server."""
_LONGEST_S = 15.0
"""What one call may take."""


def wanted(hands: Hands, settings: Settings, cluster: Cluster) -> tuple[Pair, ...]:
    """What is to be kept up on the recorded master."""
    master = cluster.master
    fences = settings.failover.fence_methods if master is not None else ()
    return tuple((name, master.name) for name in fences if master and hands.able(Kind.FENCE, "keep", name))


async def called(hands: Hands, pair: Pair, method: str) -> Result:
    """`keep` or `leave` of a fence on a server."""
    fence, server = pair
    return await hands.use(Kind.FENCE, method, name=fence, servername=server, patience_s=_LONGEST_S)


async def let_start(hands: Hands, settings: Settings, cluster: Cluster, name: str) -> None:
    """Before the recorded master is started on purpose: a fence that holds it down while HandyRep is away must let it go."""
    for pair in wanted(hands, settings, cluster):
        if pair[1] == name and pair in cluster.kept_up:
            await called(hands, pair, "keep")


async def let_promote(hands: Hands, cluster: Cluster, name: str) -> None:
    """Before a former master is promoted again: what was kept up there in its former time would hold it down."""
    for pair in cluster.kept_up:
        if pair[1] == name:
            await called(hands, pair, "leave")
