"""promote_sql: pg_promote() over SQL, the fastest way."""

from handyrep.errors import DatabaseError, NoAnswerError
from handyrep.model.result import Result
from handyrep.plugin_api.contract import Kind
from handyrep.plugins.handyrepplugin import handyrepplugin

_MAY = "select pg_is_in_recovery() as in_recovery, has_function_privilege('pg_promote(boolean, integer)', 'execute') as may"


class promote_sql(handyrepplugin):
    """Promotes with pg_promote(wait := false), without waiting: HandyRep looks by itself whether it happened.

    Does: one SELECT pg_promote.
    Touches on the server: makes it leave recovery, on a new timeline. There is no way back.
    Needs: handyrep_user may execute pg_promote: superuser, or GRANT EXECUTE ON FUNCTION pg_promote.
    Safe to repeat?: HandyRep never does.
    When it cannot tell: UNCERTAIN: the order may have arrived.
    Options: none.
    """

    kinds = (Kind.PROMOTION,)

    async def run(self, servername: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS when the order was taken."""
        try:
            row = (await self.query(servername, "select pg_promote(wait := false) as taken"))[0]
        except DatabaseError as error:
            return self.fail(f"pg_promote was refused: {error.what}")
        except NoAnswerError as error:
            return self.uncertain(f"pg_promote may have arrived: {error.what}")
        return self.success("pg_promote was taken") if row["taken"] is True else self.fail("pg_promote said no")

    async def test(self, servername: str | None = None) -> Result:
        """FAIL when handyrep_user may not execute pg_promote on a server concerned."""
        names = [servername] if servername else [s.name for s in self.concerned("promotion_method")]
        for name in names:
            try:
                row = (await self.query(name, _MAY))[0]
            except (DatabaseError, NoAnswerError) as error:
                return self.fail(str(error))
            if not row["may"]:
                return self.fail(
                    f"{name}: handyrep_user may not execute pg_promote: GRANT EXECUTE ON FUNCTION pg_promote TO it"
                )
        return self.success(f"pg_promote may be called on {', '.join(names) or 'no server: none uses it'}")
