"""successplugin: always SUCCESS."""

from handyrep.model.result import Result
from handyrep.plugins.handyrepplugin import handyrepplugin


class successplugin(handyrepplugin):
    """Always succeeds. For trying things out, and where nothing needs to be done.

    Does: nothing.
    Touches on the server: nothing.
    Needs: nothing.
    Safe to repeat?: yes.
    When it cannot tell: it always succeeds. As a fence it proves nothing, and HandyRep does not count it.
    Options: none.
    """

    def run(self, *_positional: object, **_named: object) -> Result:
        """SUCCESS."""
        return self.success("successplugin did nothing")

    async def test(self) -> Result:
        """SUCCESS."""
        return self.success("successplugin always succeeds")
