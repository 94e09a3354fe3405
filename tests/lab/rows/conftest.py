"""A cluster for a whole module in which the master falls again and again."""

import pytest

from tests.lab.cluster import LabCluster
from tests.lab.lab import Lab
from tests.lab.rows import falls


@pytest.fixture(scope="module")
def standing(ground: Lab) -> list[LabCluster]:
    """The module's cluster."""
    return [falls.fresh(ground)]


@pytest.fixture
def cluster(ground: Lab, standing: list[LabCluster]) -> LabCluster:
    """It, with the master of now as its first host and no row; another one when a test before has left it broken."""
    if not falls.stands(standing[0]):
        ground.remove_hosts()
        standing[0] = falls.fresh(ground)
    with standing[0].connect(standing[0].names[0]) as boss:
        boss.execute("truncate written")
    return standing[0]
