"""select_replica_priority: healthy replicas before lagged ones, then by failover_priority."""

from handyrep.model.result import Result
from handyrep.model.status import Health
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin


class select_replica_priority(handyrepplugin):
    """Orders replicas: healthy before lagged, then by failover_priority (lower first), then by name.

    Does: returns a list of names; empty when no replica is healthy or lagged.
    Touches on the server: nothing.
    Needs: statuses, from the last verify.
    Safe to repeat?: yes.
    When it cannot tell: a replica that was never verified is left out.
    Options: none. It uses failover_priority of each server.
    """

    kinds = (Kind.SELECTION,)

    def run(self) -> list[str]:  # type: ignore[override] # the contract of its kind
        """Names, best first."""
        fit = [m for m in self.cluster.replicas if m.status.health in (Health.HEALTHY, Health.LAGGED)]
        fit.sort(key=lambda m: (m.status.health, m.server.failover_priority, m.name))
        return [member.name for member in fit]

    async def test(self) -> Result:
        """SUCCESS: it needs nothing."""
        return self.success(f"would order {', '.join(self.run()) or 'nothing: no replica is healthy or lagged'}")
