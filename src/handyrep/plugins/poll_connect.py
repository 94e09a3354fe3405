"""poll_connect: connects as the handyrep user and disconnects."""

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin


class poll_connect(handyrepplugin):
    """Polls by logging in on a new connection and leaving at once.

    Does: one connection per attempt; after no answer, fail_retries more, fail_retry_interval apart.
    Touches on the server: one short session.
    Needs: a login for handyrep_user.
    Safe to repeat?: yes.
    When it cannot tell: FAIL; with alive = True when PostgreSQL answered with an error (too many clients, wrong password).
    Options: none.
    """

    kinds = (Kind.POLL,)

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when a login worked."""
        failover = self.settings.failover
        answer = await self.once(servername)
        for _ in range(failover.fail_retries):
            if answer.extra.get("alive") is True:
                break
            await self.call.world.clock.sleep(failover.fail_retry_interval)
            answer = await self.once(servername)
        return answer

    async def once(self, servername: str) -> Result:
        """The same, by one attempt."""
        try:
            await self.query(servername, "select 1", fresh=True, timeout_s=self.settings.failover.call_timeout)
        except DatabaseError as error:
            return self.fail(f"PostgreSQL answered, but let us not in: {error.what}", alive=True)
        except NoAnswerError as error:
            return self.fail(f"no answer: {error.what}")
        return self.success("a login worked", alive=True)

    async def test(self, servername: str | None = None) -> Result:
        """Log in once everywhere."""
        servers = [servername] if servername else [s.name for s in self.cluster.servers if s.enabled and s.is_postgres]
        for name in servers:
            try:
                await self.query(name, "select 1", fresh=True)
            except (DatabaseError, NoAnswerError) as error:
                return self.fail(str(error))
        return self.success(f"logged in to {', '.join(servers) or 'nothing: no server is enabled'}")
