"""Which segments leave a table, by count, by slots and by bytes."""

import numpy as np
import pytest
from support.tables import EXTRAS, PIXELS, RAM, SEGMENTS, random_segment

from rlsys.api import Segments, TableSpec
from rlsys.replay import columns
from rlsys.replay.table import Table


def test_keys_of_evicted_items_are_skipped_even_where_their_slot_is_used_again():
    rng = np.random.default_rng(9)
    table = Table(TableSpec(max_size=30, sampler="prioritized"), RAM, SEGMENTS)
    table.insert(random_segment(rng, RAM, 0, num_rows=16, with_priority=False))
    stale = table.sample(8, 1).key
    for step in range(1, 200):
        table.insert(random_segment(rng, RAM, step, num_rows=16, with_priority=False))
    mass = table.mass
    assert table.update_priorities(stale, np.full(8, 100.0)) == 8
    assert table.mass == mass


def test_the_newest_segment_stays_however_small_the_window():
    rng = np.random.default_rng(11)
    table = Table(TableSpec(max_size=2, sampler="uniform"), RAM, SEGMENTS)
    for step in range(50):
        segment = random_segment(rng, RAM, step)
        table.insert(segment)
        assert table.num_items >= segment.num_items
        assert table.sample(4, 20).num_items == table.num_items


def test_many_tiny_episodes_leave_for_want_of_slots_and_are_counted():
    rng = np.random.default_rng(12)
    table = Table(TableSpec(max_size=1000, sampler="uniform"), RAM, Segments(length=100, extras=EXTRAS))
    for step in range(1500):
        table.insert(random_segment(rng, RAM, step, num_rows=1))
    stats = table.stats()
    assert stats["evicted_by_slots"] == 1500 - table.num_items > 0
    assert table.num_items == table.capacity // 2


@pytest.mark.parametrize("env", [RAM, PIXELS], ids=lambda env: env.id)
def test_a_byte_budget_holds_after_every_insert(env):
    rng = np.random.default_rng(13)
    unlimited = Table(TableSpec(max_size=2000, sampler="uniform"), env, SEGMENTS)
    limited = Table(TableSpec(max_size=2000, sampler="uniform", max_bytes=240_000), env, SEGMENTS, share=3)
    sizes = []
    for step in range(200):
        segment = random_segment(rng, env, step)
        unlimited.insert(segment)
        limited.insert(segment)
        assert 0 < limited.num_bytes <= 80_000
        sizes.append(unlimited.num_bytes)
    assert sizes[-1] > 100_000
    assert limited.num_bytes > 40_000
    assert limited.sample(8, 4).num_items == limited.num_items


def test_compressed_and_plain_tables_give_the_same(monkeypatch):
    tables = []
    for limit in (1024, 10**9):
        monkeypatch.setattr(columns, "_COMPRESSED_FROM_BYTES", limit)
        rng = np.random.default_rng(14)
        table = Table(TableSpec(max_size=80, sampler="prioritized"), PIXELS, SEGMENTS, seed=3)
        for step in range(40):
            segment = random_segment(rng, PIXELS, step)
            segment.observation[:, 5:] = 3
            table.insert(segment)
        tables.append(table)
    assert tables[0].num_bytes < tables[1].num_bytes / 2
    for _ in range(10):
        first, second = (table.sample(16, 6) for table in tables)
        np.testing.assert_array_equal(first.observation, second.observation)
        np.testing.assert_array_equal(first.key, second.key)
