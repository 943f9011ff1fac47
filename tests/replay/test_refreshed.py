"""Extras of stored rows that are replaced: which rows, by what, what is saved of them, and how often."""

from dataclasses import replace

import numpy as np
import pytest
from support.tables import EXTRAS, PIXELS, RAM, SEGMENTS, random_segment

from rlsys.api import Refreshed, Refreshing, ReplayNotReady, TableSpec
from rlsys.errors import ReplayError
from rlsys.replay.stores import LimitedTable, LocalReplay
from rlsys.replay.table import Table

_SPEC = TableSpec(max_size=200, sampler="prioritized", refreshing=Refreshing(0.5, 8))
_BOOTSTRAPPED = replace(SEGMENTS, bootstrap_extras=True)


def filled(env=RAM, spec=_SPEC, segments=_BOOTSTRAPPED, count=40, seed=0):
    """A table after so many segments, most of which have left, and the segments."""
    rng = np.random.default_rng(seed)
    table = Table(spec, env, segments, seed=seed)
    inserted = [random_segment(rng, env, sequence) for sequence in range(count)]
    for segment in inserted:
        table.insert(segment)
    return table, inserted


def everything(table, length=1):
    """Each item once, in the order of their keys."""
    size = table.num_items
    mass = table._tree.priorities
    keys = np.sort(table._ring.keys(np.flatnonzero(table._is_item)))
    assert len(keys) == size
    table.update_priorities(keys, np.ones(size))
    assert mass.max() == 1.0
    return table.sample(size, length, None, (np.arange(size) + 0.5) / size)


def refreshed(rng, count, **extras):
    values = {name: rng.random((count, *spec.shape)).astype(np.float32) for name, spec in EXTRAS.items()}
    return Refreshed(values | extras)


@pytest.mark.parametrize("bootstraps", [True, False])
def test_the_rows_are_those_whose_extras_windows_read_each_equally_likely(bootstraps):
    table, inserted = filled(segments=replace(SEGMENTS, bootstrap_extras=bootstraps))
    expected = 0
    for entry, segment in zip(table._ring.entries, inserted[-len(table._ring.entries) :], strict=True):
        assert entry.num_slots == segment.num_rows + 1
        expected += segment.num_rows - segment.first_item + (bootstraps and segment.is_cut_short)
    keys, counts = np.unique(table.rows_to_refresh(400 * expected).key, return_counts=True)
    assert len(keys) == expected
    assert counts.min() > 300
    assert counts.max() < 500


@pytest.mark.parametrize("env", [RAM, PIXELS], ids=["rows as they are", "stacked and compressed"])
def test_observations_are_those_that_a_learner_sees(env):
    table, _ = filled(env)
    rows = table.rows_to_refresh(500)
    items = everything(table)
    of_key = dict(zip(items.key.tolist(), items.observation[:, 0], strict=True))
    found = [index for index, key in enumerate(rows.key.tolist()) if key in of_key]
    assert len(found) > 200
    assert rows.observation.shape[1:] == env.policy_observation.shape
    for index in found:
        np.testing.assert_array_equal(rows.observation[index], of_key[int(rows.key[index])])


def test_new_extras_and_their_version_come_to_the_rows_that_are_still_there():
    table, _ = filled()
    rng = np.random.default_rng(7)
    rows = table.rows_to_refresh(60)
    for sequence in range(100, 110):
        table.insert(random_segment(rng, RAM, sequence))
    before = everything(table)
    _, first = np.unique(rows.key, return_index=True)
    rows.key = rows.key[first]
    new = refreshed(rng, len(first))
    skipped = table.refresh(rows.key, new, 1_234)
    assert 0 < skipped < len(first)
    assert table.stats()["skipped_refreshes"] == skipped
    assert table.stats()["refreshed_rows"] == len(first) - skipped
    after = everything(table)
    changed = np.isin(after.key, rows.key)
    assert changed.sum() > 10
    place = np.searchsorted(rows.key, after.key[changed])
    for name in EXTRAS:
        np.testing.assert_array_equal(after.extras[name][changed, 0], new.extras[name][place])
        np.testing.assert_array_equal(after.extras[name][~changed], before.extras[name][~changed])
    assert (after.weights_version[changed] == 1_234).all()
    np.testing.assert_array_equal(after.weights_version[~changed], before.weights_version[~changed])
    np.testing.assert_array_equal(after.observation, before.observation)


def test_priorities_of_items_change_where_they_are_given():
    table, _ = filled()
    rows = table.rows_to_refresh(80)
    _, first = np.unique(rows.key, return_index=True)
    keys = rows.key[first]
    rng = np.random.default_rng(1)
    before = table._tree.priorities.copy()
    table.refresh(keys, refreshed(rng, len(keys)), 1)
    np.testing.assert_array_equal(table._tree.priorities, before)
    priority = 10.0 + np.arange(len(keys))
    table.refresh(keys, replace(refreshed(rng, len(keys)), priority=priority), 1)
    slots = keys % table.capacity
    is_item = table._is_item[slots]
    assert 0 < is_item.sum() < len(keys), "rows that complete targets are no items"
    np.testing.assert_array_equal(table._tree.priorities[slots], np.where(is_item, priority, 0.0))


def test_what_does_not_fit_is_refused():
    table, _ = filled()
    rows = table.rows_to_refresh(3)
    with pytest.raises(ReplayError, match=r"'polcy' was refreshed, which is no extra .* Did you mean 'policy'"):
        table.refresh(rows.key, Refreshed({"polcy": np.zeros((3, 4), np.float32)}), 1)
    with pytest.raises(ReplayError, match=r"refreshed 'policy' has shape \(3, 5\), expected \(3, 4\)"):
        table.refresh(rows.key, Refreshed({"policy": np.zeros((3, 5), np.float32)}), 1)
    with pytest.raises(ReplayError, match=r"priority\[1\] = nan"):
        table.refresh(rows.key, Refreshed({}, np.array([1.0, np.nan, 1.0])), 1)


def test_an_empty_table_has_no_rows():
    with pytest.raises(ReplayNotReady, match="a row to refresh"):
        Table(_SPEC, RAM, SEGMENTS).rows_to_refresh(1)


@pytest.mark.parametrize(("before", "after"), [(None, _SPEC.refreshing), (_SPEC.refreshing, None)])
def test_a_table_is_taken_over_where_refreshing_begins_or_ends(before, after):
    table, _ = filled(spec=replace(_SPEC, refreshing=before))
    if before is not None:
        rows = table.rows_to_refresh(50)
        table.refresh(rows.key, refreshed(np.random.default_rng(3), 50), 99)
    for _ in range(2):  # what was written once, and is written again
        saved = table.save()
        again = Table(replace(_SPEC, refreshing=after), RAM, _BOOTSTRAPPED)
        again.load(saved)
        one, other = everything(table), everything(again)
        for name in EXTRAS:
            np.testing.assert_array_equal(one.extras[name], other.extras[name])
        np.testing.assert_array_equal(one.weights_version, other.weights_version)
        table = again


def test_workers_of_their_own_and_inserts_wait_for_each_other():
    refreshing = Refreshing(0.75, 10, workers=1)
    spec = TableSpec(max_size=1_000, sampler="uniform", min_size_to_sample=20, refreshing=refreshing)
    store = LimitedTable(spec, RAM, SEGMENTS)
    rng = np.random.default_rng(0)
    sequence = 0

    def insert(most):
        nonlocal sequence
        for _ in range(most):
            segment = random_segment(rng, RAM, sequence)
            if store.waits_for_room(segment):
                return
            store.insert(segment)
            sequence += 1

    def refresh(most):
        for _ in range(most):
            try:
                rows = store.rows_to_refresh(10)
            except ReplayNotReady:
                return
            store.table.refresh(rows.key, refreshed(rng, 10), 1)

    insert(1)
    with pytest.raises(ReplayNotReady, match="min_size_to_sample"):
        store.rows_to_refresh(10)
    insert(1_000)
    assert "refreshed rows per insert" in store.waits_for_room(random_segment(rng, RAM, 10_000))
    for _ in range(300):
        refresh(int(rng.integers(1, 20)))
        insert(int(rng.integers(1, 4)))
    refresh(1_000)
    owed = 3.0 * (store.inserted_items - 20) - store.table.stats()["refreshed_rows"]
    assert store.inserted_items > 1_000
    assert abs(owed) <= 10 + 2 * 3 * 16
    with pytest.raises(ReplayNotReady, match="refreshed rows per insert 3"):
        store.rows_to_refresh(10)
    again = LimitedTable(spec, RAM, SEGMENTS)
    again.load(store.save())
    with pytest.raises(ReplayNotReady, match="refreshed rows per insert 3"):
        again.rows_to_refresh(10)


def test_local_replay_gives_rows_out_and_takes_back_what_was_found_out():
    store = LimitedTable(replace(_SPEC, min_size_to_sample=5), RAM, SEGMENTS)
    local = LocalReplay(store, 1, None)
    with pytest.raises(ReplayNotReady, match="0 of 5 items"):
        local.draw(2, 0.0)
    rng = np.random.default_rng(0)
    for sequence in range(5):
        store.insert(random_segment(rng, RAM, sequence))
    rows = local.draw(2, 0.0)
    local.write(rows, refreshed(rng, 2), 3)
    assert local.stats()["refreshed_rows"] == 2
