"""Real servers on loopback, one of each per module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.postgresql import PostgreSQL, running_pgbouncer, running_postgresql
from tests.adapters.sshd import Sshd, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd for one test, which may break it."""
    with running_sshd(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL."""
    with running_postgresql() as running:
        yield running


@pytest.fixture(scope="module")
def pgbouncer() -> Iterator[int]:
    """The port of a pgbouncer."""
    with running_pgbouncer() as port:
        yield port
