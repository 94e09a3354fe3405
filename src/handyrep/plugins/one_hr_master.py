"""one_hr_master: there is only one HandyRep, so it is the master."""

from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin


class one_hr_master(handyrepplugin):
    """For networks with a single HandyRep: it is always the HandyRep master.

    Does: nothing.
    Touches on the server: nothing.
    Needs: that there is no second HandyRep for this cluster. Nobody checks that.
    Safe to repeat?: yes.
    When it cannot tell: it always succeeds.
    Options: none.
    """

    kinds = (Kind.MASTER_CHECK,)

    def run(self) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS."""
        return self.success("the only HandyRep")

    async def test(self) -> Result:
        """SUCCESS."""
        return self.success("nothing to check")
