"""What of the state is on the disk, and when."""

import dataclasses

import pytest

from handyrep.adapters.clock import SystemClock
from handyrep.engine.state import State, from_json
from handyrep.errors import StateError
from handyrep.model.status import Health, Status
from tests.engine.world import Events, Imagined, MemoryStore
from tests.factories import make_cluster


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def state(store: MemoryStore) -> State:
    return State(make_cluster(), store, Events(), SystemClock())


def changed(state: State, frozen: str = "a question") -> None:
    state.update(dataclasses.replace(state.cluster, frozen=frozen))


def lost(state: State) -> None:
    """r1 is seen to be down, and that may be saved later."""
    ill = dataclasses.replace(state.cluster.members["r1"], status=Status(Health.DOWN, "gone"))
    state.heed(state.cluster.with_member(ill))


def test_what_is_heeded_counts_and_is_told_at_once_and_saved_with_the_next_change(
    state: State, store: MemoryStore
) -> None:
    lost(state)
    assert state.cluster.members["r1"].status.health is Health.DOWN
    assert store.load() is None
    changed(state)
    assert from_json(store.load() or {}).members["r1"].status.reason == "gone"


def test_what_is_heeded_and_is_more_than_a_status_is_saved_at_once(state: State, store: MemoryStore) -> None:
    """A proof may rest on it, and HandyRep may be killed before the next change."""
    lost(state)
    state.heed(dataclasses.replace(state.cluster, synchronous_standby_names="ANY 1 (r1)"))
    kept = from_json(store.load() or {})
    assert (kept.synchronous_standby_names, kept.members["r1"].status.reason) == ("ANY 1 (r1)", "gone")


def test_what_is_heeded_is_saved_by_an_update_that_changes_nothing_itself(state: State, store: MemoryStore) -> None:
    lost(state)
    state.update(state.cluster)
    assert store.content is not None


def test_an_update_that_changes_nothing_saves_nothing(state: State, store: MemoryStore) -> None:
    state.update(state.cluster)
    changed(state)
    store.content = None
    state.update(state.cluster)
    assert (store.content, state.saved) == (None, True)


def test_what_could_not_be_saved_is_saved_by_the_next_update_that_can(state: State, store: MemoryStore) -> None:
    store.broken = True
    with pytest.raises(StateError):
        changed(state)
    state.update(state.cluster)
    assert not state.saved
    store.broken = False
    state.update(state.cluster)
    assert (state.saved, (store.content or {})["frozen"]) == (True, "a question")


async def test_what_is_seen_of_a_suspected_master_is_saved_where_no_failover_begins() -> None:
    world = Imagined(auto_failover=False)
    await world.look()
    world.boxes["m1"].up = False
    await world.look()
    assert world.master == "m1"
    assert from_json(world.store.content or {}).members["m1"].status.health in (Health.DOWN, Health.UNAVAILABLE)
