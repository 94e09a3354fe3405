"""select_replica_site: replicas of the master's own site first."""

from handyrep.directives import list_of, text
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.select_replica_priority import select_replica_priority as by_priority


class select_replica_site(by_priority):
    """Orders replicas as select_replica_priority does, but those of the master's own site before all others.

    A site is told by the beginning of a server's name: with sites = berlin-, paris- the server berlin-db2 is in Berlin.
    """

    kinds = (Kind.SELECTION,)
    sites = option(list_of(text), (), "beginnings of the servers' names, one for each site", required=True)

    def run(self):
        """Names, best first."""
        home = self.site_of(self.cluster.master.name) if self.cluster.master else ""
        return sorted(super().run(), key=lambda name: self.site_of(name) != home)

    def site_of(self, name):
        """The site of a server; "" when it is in none."""
        return next((site for site in self.sites if name.startswith(site)), "")

    def test(self, servername=None):
        """Fail when a server is in no site."""
        lost = [server.name for server in self.cluster.servers if server.is_postgres and not self.site_of(server.name)]
        if lost:
            return self.fail(f"{', '.join(lost)} is in none of the sites {', '.join(self.sites)}")
        return self.success(f"would order {', '.join(self.run()) or 'nothing: no replica is fit'}")
