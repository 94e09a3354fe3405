"""What the tests of plugins share: a place for real masters and replicas, made once for a file."""

from collections.abc import Iterator

import pytest

from tests.plugins.pair import Estate, estate


@pytest.fixture(scope="module")
def house() -> Iterator[Estate]:
    """Empty; removed at the end with all that runs in it."""
    with estate() as made:
        yield made
