"""rejoin_rewind right after the promotion, before the new master's first checkpoint: pg_rewind of version 15 then saw nothing to do."""

from collections.abc import Iterator

import pytest

from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import Kind
from tests.plugins.pair import Estate, Node, estate, plugins, until


@pytest.fixture
def house() -> Iterator[Estate]:
    with estate() as made:
        yield made


def parted(house: Estate) -> tuple[Node, Node]:
    """A stopped master with a row of its own, and its replica, promoted so newly that its control file names the old timeline."""
    old = house.master("old")
    new = house.replica("new", old, "checkpoint_timeout = 1h", "checkpoint_completion_target = 1.0")
    old.sql("insert into t select generate_series(1, 10000)")
    until(lambda: new.value("(select count(*) from t)") == 10000, new)
    new.sql("alter system set primary_conninfo = ''")
    new.sql("select pg_reload_conf()")
    until(lambda: old.value("(select count(*) from pg_stat_replication)") == 0, old)
    old.sql("insert into t values (-1)")
    old.stop("immediate")
    new.sql("select pg_promote()")
    assert new.control("Latest checkpoint's TimeLineID") == "1"
    return old, new


async def test_a_master_promoted_a_moment_ago_still_takes_the_old_one_back(house: Estate) -> None:
    old, new = parted(house)
    async with plugins(new.server("master"), old.server("replica", restart_method="restart_pg_ctl")) as called:
        done = await called.call(Kind.REJOIN, "rejoin_rewind", servername="old", newmaster="new")
    assert (done.outcome, done.extra.get("rewound")) == (Outcome.SUCCESS, True), done.details
    new.sql("insert into t values (-2)")
    until(lambda: old.value("(select count(*) from t where x = -2)") == 1, old)
    assert old.value("(select count(*) from t where x = -1)") == 0
