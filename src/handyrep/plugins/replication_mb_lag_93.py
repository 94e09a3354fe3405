"""replication_mb_lag_93: how many MB a replica has still to replay, as its master sees it."""

from collections.abc import Sequence

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin, nothing_known
from handyrep.ports import Row

_LOOK = """
select application_name, host(client_addr) as client_addr, state,
       (pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) / 1048576)::float8 as lag_mb,
       pg_has_role('pg_read_all_stats', 'usage') as may_look
from (select 1) as always left join pg_stat_replication on true
"""


class replication_mb_lag_93(handyrepplugin):
    """Lag in MB (1 MB = 1048576 bytes) from pg_stat_replication on the master.

    Does: one SELECT on the master. Returns lag (float, not yet replayed) and replicating. (2014's worked with 9.3 only; this with 13-18.)
    Touches on the server: reads a system view.
    Needs: handyrep_user with pg_monitor or superuser: others see an empty view. Replicas use their server name as
    application_name (HandyRep sees to that); one with another name is found by its address, where no other PostgreSQL of the
    cluster has the same and it has told what it replayed.
    Safe to repeat?: yes.
    When it cannot tell: FAIL: the master is away, or handyrep_user may not read the view. That says nothing about the replica.
    Options: none.
    """

    kinds = (Kind.REPLICATION_STATUS,)

    async def run(self, replicaserver: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS with lag and replicating."""
        master, replica = self.master(), self.server(replicaserver)
        try:
            rows = await self.query(master.name, _LOOK)
        except DatabaseError as error:
            return self.fail(f"master {master.name} answered with an error: {error.what}")
        except NoAnswerError as error:
            return self.fail(f"master {master.name}: {nothing_known(error)}")
        if not rows[0]["may_look"]:
            return self.fail(
                "handyrep_user may not read pg_stat_replication: GRANT pg_monitor to it. Whether replicas replicate is not known"
            )
        return self._meaning(self._of(replica, rows))

    def _of(self, replica: Server, rows: Sequence[Row]) -> list[Row]:
        """Its rows. By address only where that means nobody else: a clone under way comes from there too, and replays nothing."""
        named = [row for row in rows if row["application_name"] == replica.name]
        others = [server for server in self.cluster.servers if server.is_postgres and server.name != replica.name]
        addresses = {replica.hostname, replica.client_address}
        if named or any(addresses & {other.hostname, other.client_address} for other in others):
            return named
        names = {other.name for other in others}
        at_its_address = [row for row in rows if row["client_addr"] in addresses and row["lag_mb"] is not None]
        return [row for row in at_its_address if row["application_name"] not in names]

    def _meaning(self, rows: list[Row]) -> Result:
        streaming = [row for row in rows if row["state"] == "streaming"]
        if streaming:
            lag = streaming[0]["lag_mb"]
            return self.success("", lag=None if lag is None else max(round(lag, 3), 0.0), replicating=True)
        if rows:
            return self.success(f"the master sees it in state {rows[0]['state']}", lag=None, replicating=False)
        return self.success("the master does not see it in pg_stat_replication", lag=None, replicating=False)

    async def test(self) -> Result:
        """FAIL when the view cannot be read."""
        replicas = self.cluster.replicas
        if not replicas:
            return self.success("there is no replica to measure")
        return await self.run(replicas[0].name)
