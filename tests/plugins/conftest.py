"""What the tests of plugins share: a place for real masters and replicas, made once for a file."""

from collections.abc import Iterator

import pytest

from tests.adapters.postgresql import running_postgresql
from tests.plugins.bouncers import Bouncer, Pair, bouncer
from tests.plugins.pair import Estate, estate


@pytest.fixture(scope="module")
def house() -> Iterator[Estate]:
    """Empty; removed at the end with all that runs in it."""
    with estate() as made:
        yield made


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two servers that pgbouncers lead to."""
    with running_postgresql() as one, running_postgresql() as two:
        yield Pair(one, two)


@pytest.fixture(params=["session", "transaction"])
def one(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Bouncer]:
    """A pgbouncer that leads to the first of them, in either mode."""
    with bouncer(pair.master.port, pool_mode=request.param) as made:
        yield made
