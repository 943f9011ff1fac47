"""A snapshot is the table of one moment, whatever the table does until the snapshot has been handed out."""

import contextlib

import numpy as np
import pytest

from rlsys.api import Refreshed, Refreshing, Segments, TableSpec
from rlsys.replay import ring
from rlsys.replay import snapshot as snapshots
from rlsys.replay.table import Table
from rlsys.types import ArraySpec, EnvSpec, Segment, Source

_RAM = EnvSpec("ram", ArraySpec((7,), "uint8"), ArraySpec((), "int64"), num_actions=4)
_PIXELS = EnvSpec("pixels", ArraySpec((40, 30), "uint8"), ArraySpec((), "int64"), num_actions=4, num_stack=3)
_SEGMENTS = Segments(length=12, overlap=4, extras={"value": ArraySpec((), "float32")})


class _Life:
    """A table, and all that happens to it: inserts, draws and new priorities, at random."""

    def __init__(self, env, spec, seed):
        self.env = env
        self.spec = spec
        self.table = Table(spec, env, _SEGMENTS, seed=seed)
        self.rng = np.random.default_rng(seed)
        self.sequence = 0

    def go_on(self, steps):
        for _ in range(steps):
            assert self.table.insert(self._segment())
            if self.table.mass > 0.0:
                batch = self.table.sample(3, 4)
                if self.spec.sampler == "prioritized":
                    self.table.update_priorities(batch.key, self.rng.random(3))
            if self.spec.refreshing is not None:
                rows = self.table.rows_to_refresh(5)
                self.table.refresh(rows.key, Refreshed({"value": self.rng.random(5, np.float32)}), self.sequence)

    def _segment(self):
        num_rows = int(self.rng.integers(1, 17))
        num_items = int(self.rng.integers(1, num_rows + 1))
        self.sequence += 1
        return Segment(
            observation=self.rng.integers(0, 9, (num_rows + 1, *self.env.observation.shape), np.uint8),
            action=self.rng.integers(0, 4, num_rows),
            reward=self.rng.random(num_rows, np.float32),
            terminated=np.zeros(num_rows, bool),
            truncated=np.zeros(num_rows, bool),
            extras={"value": self.rng.random(num_rows + 1, np.float32)},
            first_item=0,
            num_items=num_items,
            priority=self.rng.random(num_items),
            weights_version=self.sequence,
            source=Source(0, 0, self.sequence),
        )


def _assert_goes_on_alike(env, spec, one, other):
    """Draws every item of both tables, and then lets both live the same life for a while."""
    assert one.stats() == other.stats()
    size = one.num_items
    if size:
        everywhere = (np.arange(4 * size) + 0.5) / (4 * size)
        _assert_same(one.sample(4 * size, 5, None, everywhere), other.sample(4 * size, 5, None, everywhere))
    lives = [_Life(env, spec, 99), _Life(env, spec, 99)]
    for life, table in zip(lives, (one, other), strict=True):
        life.table, life.sequence = table, 1_000_000
        life.go_on(30)
    assert one.stats() == other.stats()
    if one.mass > 0.0:
        _assert_same(one.sample(8, 5), other.sample(8, 5))


def _assert_same(one, other):
    for name in ("observation", "action", "reward", "num_rows", "key", "probability", "weights_version"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.extras["value"], other.extras["value"])


@pytest.mark.parametrize(
    ("env", "spec"),
    [
        (_RAM, TableSpec(max_size=300, sampler="prioritized")),
        (_RAM, TableSpec(max_size=300, sampler="uniform", initial_size=100)),
        (_PIXELS, TableSpec(max_size=300, sampler="prioritized", max_bytes=500_000)),
        (_RAM, TableSpec(max_size=300, sampler="uniform", refreshing=Refreshing(0.5, 5))),
    ],
    ids=["prioritized", "growing window", "compressed, bound in bytes", "refreshed"],
)
def test_a_snapshot_is_the_table_of_its_moment_though_inserts_and_draws_go_on(env, spec, monkeypatch):
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 1200)
    monkeypatch.setattr(snapshots, "_BLOCK", 8)
    monkeypatch.setattr(snapshots, "_BLOCKS_AT_ONCE", 9)
    handed_out = needed = 0
    for seed in range(4):
        life = _Life(env, spec, seed)
        rng = np.random.default_rng(1000 + seed)
        store = {}  # what a reader keeps of the snapshot before
        for _ in range(6):
            life.go_on(int(rng.integers(1, 25)))
            of_the_moment = _Life(env, spec, seed)
            of_the_moment.go_on(life.sequence)
            chunks = {}
            with contextlib.closing(life.table.snapshot()) as snapshot:
                life.go_on(int(rng.integers(0, 3)))
                snapshot.skip(store)
                while snapshot.settle():
                    life.go_on(1)
                while (chunk := snapshot.take()) is not None:
                    chunks[chunk["number"]] = chunk
                    life.go_on(int(rng.integers(0, 3)))
            handed_out, needed = handed_out + len(chunks), needed + len(snapshot.chunks)
            assert not chunks.keys() & store.keys()
            kept = {number: store[number] for number in snapshot.chunks if number in store} | chunks
            assert sorted(kept) == snapshot.chunks
            again = Table(spec, env, _SEGMENTS, seed=77)
            again.load({**snapshot.head, "chunks": (kept[number] for number in snapshot.chunks)})
            _assert_goes_on_alike(env, spec, of_the_moment.table, again)
            store = {number: chunk for number, chunk in kept.items() if number in snapshot.lasting}
    assert handed_out < needed


def test_a_loaded_table_still_knows_its_chunks(monkeypatch):
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 1200)
    spec = TableSpec(max_size=300, sampler="prioritized")
    life = _Life(_RAM, spec, 0)
    life.go_on(80)
    saved = life.table.save()
    lasting = {chunk["number"] for chunk in saved["chunks"] if chunk["is_closed"]}
    again = Table(spec, _RAM, _SEGMENTS, seed=1)
    again.load(saved)
    with contextlib.closing(again.snapshot()) as snapshot:
        snapshot.skip(lasting)
        assert [chunk["number"] for chunk in iter(snapshot.take, None)] == [
            chunk["number"] for chunk in saved["chunks"] if not chunk["is_closed"]
        ]
    assert len(lasting) > 3


def test_a_snapshot_that_is_closed_keeps_nothing_alive(monkeypatch):
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 1200)
    life = _Life(_RAM, TableSpec(max_size=100, sampler="uniform"), 0)
    life.go_on(40)
    snapshot = life.table.snapshot()
    snapshot.close()
    left = len(snapshot.chunks)
    life.go_on(200)
    assert sum(1 for _ in iter(snapshot.take, None)) <= left
    assert life.table._ring.watchers == []
