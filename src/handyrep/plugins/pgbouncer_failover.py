"""pgbouncer_failover: multi_pgbouncer for exactly one pgbouncer."""

from handyrep.directives import word
from handyrep.errors import PluginError
from handyrep.model.server import Server
from handyrep.plugin_api.options import option
from handyrep.plugins.multi_pgbouncer import multi_pgbouncer


class pgbouncer_failover(multi_pgbouncer):
    """The same as multi_pgbouncer, for one pgbouncer. On its way out: multi_pgbouncer does all of it.

    Does: what multi_pgbouncer does.
    Touches on the server: what multi_pgbouncer touches, on one server.
    Needs: exactly one enabled server of role pgbouncer, or its name in server.
    Safe to repeat?: yes.
    When it cannot tell: as multi_pgbouncer; which one is meant must be clear, or it fails.
    Options: server, and those of multi_pgbouncer.
    """

    server_ = option(word, "", "name of the one pgbouncer; blank: the only enabled one")

    def _bouncers(self) -> list[Server]:
        """The one pgbouncer. Raises PluginError when it is not clear which."""
        found = super()._bouncers()
        chosen = [server for server in found if server.name == self.server_] if self.server_ else found
        if len(chosen) != 1:
            raise PluginError(
                f"pgbouncer_failover needs exactly one pgbouncer, and {len(chosen)} fit: set server, or use multi_pgbouncer"
            )
        return chosen
