"""failplugin: always FAIL. It stands in for a plugin that does not exist."""

from handyrep.model.result import Result
from handyrep.plugins.handyrepplugin import handyrepplugin


class failplugin(handyrepplugin):
    """Always fails, naming the plugin that was asked for.

    Does: nothing. HandyRep calls it in place of a plugin that does not exist or went away.
    Touches on the server: nothing.
    Needs: nothing.
    Safe to repeat?: yes.
    When it cannot tell: it always fails.
    Options: none.
    """

    def run(self, *_positional: object, **_named: object) -> Result:
        """FAIL."""
        return self._refusal()

    async def test(self) -> Result:
        """FAIL."""
        return self._refusal()

    init = poll = write = host = sees = release = block = unblock = start = stop = run
    keep = leave = follow = halt = resume = lost = tidy = read = run
    once = promoted = hindrances = hasten = bring = pause = leads = run
    """Every method of every kind: a stand-in must never lack what is asked of it."""

    def _refusal(self) -> Result:
        asked_for = self.options.get("asked_for")
        if asked_for is None:
            return self.fail("failplugin always fails")
        return self.fail(f"plugin {asked_for} cannot be used: {self.options.get('why', 'it does not exist')}")
