"""What the operator allows by saying nothing."""

from handyrep.decide.policy import Policy
from handyrep.engine.engine import policy_from
from tests.factories import make_settings


def test_what_the_operator_does_not_say_is_allowed_as_the_configuration_has_it() -> None:
    assert policy_from(make_settings()) == Policy()


def test_nothing_that_may_lose_data_is_allowed_by_saying_nothing() -> None:
    silent = Policy()
    assert not (silent.auto_failover)
    assert not (silent.restart_master)
    assert not (silent.estimate_lost_wal)
    assert not (silent.loss_accepted)
    assert silent.max_lost_wal_bytes == 16 * 1024**2
