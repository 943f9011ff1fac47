"""A replay table: which of its items are drawn, and when they leave.

Schaul et al. 2016, https://arxiv.org/abs/1511.05952, for prioritized draws; the words are Reverb's, Cassirer et al.
2021, https://arxiv.org/abs/2102.04736.

Shape legend: B windows, L rows of a window.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rlsys.api import (
    NothingToDraw,
    Refreshed,
    ReplayNotReady,
    Saved,
    Segments,
    SequenceQuery,
    StoredRows,
    TableSpec,
)
from rlsys.errors import ReplayError
from rlsys.replay import ring, schema
from rlsys.replay.episodes import Episodes, is_held_out, read_unrolls
from rlsys.replay.refreshed import RefreshedRows
from rlsys.replay.ring import Entry, SegmentRing
from rlsys.replay.schema import TABLE_COUNTS
from rlsys.replay.snapshot import Frozen, Snapshot
from rlsys.replay.sources import SeenSources
from rlsys.replay.sum_tree import SumTree
from rlsys.types import Array, Batch, EnvSpec, Segment, Sequences


class Table:
    """One shard of a table whose spec counts all of them.

    An item is a row that may be the first row of a sample. Whole segments leave, oldest first, but the newest stays
    however small the window. Not thread-safe.
    """

    def __init__(self, spec: TableSpec, env: EnvSpec, segments: Segments, *, share: int = 1, seed: int = 0) -> None:
        """Makes an empty table.

        Args:
          spec: of the whole table.
          env: gives the observation and action columns and the frame stack.
          segments: gives the extras, and how large a segment can be.
          share: number of shards; this one gets 1/share of all sizes.
          seed: of the draws; each shard needs its own.

        Raises:
          ConfigError: see `ring.check_budget`.
        """
        ring.check_budget(spec, env, segments, share)
        self._spec = spec
        self._specs = schema.column_specs(env, segments)
        self._max_rows = schema.max_segment_rows(env, segments)
        self._max_size = -(-spec.max_size // share)
        self._initial_size = -(-spec.initial_size // share)
        self._max_bytes = spec.max_bytes // share
        capacity = ring.choose_capacity(spec, env, segments, share)
        self._ring = SegmentRing(self._specs, capacity, env.num_stack, segments.extras if spec.refreshing else ())
        self._tree = SumTree(self._ring.capacity)
        self._is_item = np.zeros(self._ring.capacity, np.bool_)
        self._num_items = 0
        self._episodes = Episodes() if spec.keeps_episodes else None
        self._refreshed = RefreshedRows(self._ring, bootstraps=segments.bootstrap_extras)
        self._sources = SeenSources()
        self._rng = np.random.default_rng(seed)
        self._counts = dict.fromkeys(TABLE_COUNTS, 0)

    @property
    def capacity(self) -> int:
        """Rows that the table has memory for, bootstrap rows included."""
        return self._ring.capacity

    @property
    def num_items(self) -> int:
        """Items that can be drawn."""
        return self._num_items

    @property
    def mass(self) -> float:
        """Sum of the items' priorities, each 1 where the sampler does not use them."""
        return self._tree.total

    @property
    def inserted_items(self) -> int:
        """Items ever inserted."""
        return self._counts["inserted_items"]

    @property
    def sampled_items(self) -> int:
        """Items ever drawn, repetitions included."""
        return self._counts["sampled_items"]

    @property
    def num_bytes(self) -> int:
        """Bytes that the stored rows take, bookkeeping included."""
        return self._ring.num_bytes

    @property
    def window(self) -> int:
        """Items kept at present: `initial_size`, and that many more each time all of them have been replaced once."""
        step = self._initial_size
        if not 0 < step < self._max_size:
            return self._max_size
        # A window of k steps is filled by one step and then replaced by k more, so it grows for the k-th time when
        # k (k + 3) / 2 steps have been inserted.
        growths = (math.isqrt(9 + 4 * (2 * self.inserted_items // step)) - 3) // 2
        return min((growths + 1) * step, self._max_size)

    def stats(self) -> dict[str, float]:
        """Returns present sizes and counts since the beginning, for metrics."""
        sizes = {
            "items": self._num_items,
            "segments": len(self._ring.entries),
            "bytes": self.num_bytes,
            "window": self.window,
            "mass": self.mass,
        }
        return {name: float(value) for name, value in (sizes | self._counts).items()}

    def insert(self, segment: Segment) -> bool:
        """Stores a copy of a segment; returns False, changing nothing, where its source has been seen before.

        Raises:
          ReplayError: it does not fit the specs, or a priority is not finite or is negative.
        """
        schema.check_segment(segment, self._specs, self._max_rows)
        if not self._sources.add(segment.source):
            self._counts["duplicate_segments"] += 1
            return False
        while self._ring.entries and self._num_items + segment.num_items > self.window:
            self._evict("size")
        while self._ring.is_full_for(segment):
            self._evict("slots")
        entry = self._ring.add(segment)
        self._announce(entry.items)
        self._is_item[entry.items] = True
        self._tree.set_range(entry.items.start, self._first_priorities(segment))
        self._num_items += entry.num_items
        self._join(entry)
        self._counts["inserted_items"] += entry.num_items
        self._counts["inserted_segments"] += 1
        while self._max_bytes and self.num_bytes > self._max_bytes:
            self._evict("bytes")
        return True

    def sample(
        self, batch_size: int, length: int, rows: Mapping[str, int] | None = None, positions: Array | None = None
    ) -> Batch:
        """Draws windows, all or none.

        One item comes from each of B strata of equal mass; its probability is the item's share of the mass.

        Args:
          batch_size: number of windows B.
          length: rows per window L.
          rows: column -> how many of the L rows are wanted; columns not named come with L.
          positions: `[B]` in [0, 1), fractions of `mass`, to draw at those instead.

        Raises:
          ReplayNotReady: no item has mass; nothing has changed.
          ReplayError: `rows` names an unknown column, or asks for more than L rows.
        """
        lengths = schema.window_lengths(self._specs, length, rows)
        slots_B = self._draw(batch_size, positions)
        probability_B = self._tree.priorities[slots_B] / self._tree.total
        data = self._ring.gather(slots_B, lengths)
        batch = Batch(
            observation=data.pop("observation"),
            action=data.pop("action"),
            reward=data.pop("reward"),
            terminated=data.pop("terminated"),
            truncated=data.pop("truncated"),
            extras=data,
            num_rows=np.minimum(self._ring.rows_left(slots_B), length),
            key=self._ring.keys(slots_B),
            probability=probability_B,
            num_items=self._num_items,
            weights_version=self._ring.versions[slots_B],
            age=self._ring.ages(slots_B),
        )
        self._counts["sampled_items"] += batch_size
        return batch

    def mass_of(self, query: SequenceQuery) -> float:
        """Returns how much of what a query asks for there is, in rows, runs or priorities; 0 where it is nothing.

        Raises:
          ReplayError: the table does not keep episodes.
        """
        return self.mass if query.by == "priority" else self._kept().runs(query).mass

    def sequences(self, query: SequenceQuery, positions: Array | None = None) -> Sequences:
        """Draws windows of episodes, all or none.

        Args:
          query: what is asked for.
          positions: `[B]` in [0, 1), fractions of `mass_of`, to draw at those instead of at one of each stratum.

        Raises:
          NothingToDraw: there is no such window.
          ReplayError: the table does not keep episodes.
        """
        if not self.mass_of(query):
            raise NothingToDraw(query)
        positions = self._strata(query.batch_size) if positions is None else positions
        runs = self._kept().runs(query)
        if query.by == "priority":
            assert query.part == "all" or query.held_out_every == self._spec.held_out_every, (
                "what is held out is agreed"
            )
            slots = self._tree.find(np.multiply(positions, self._tree.total))
            windows = runs.at(slots, self._tree.priorities[slots] / self._tree.total)
        else:
            windows = runs.draw(positions)
        self._counts["sampled_items"] += windows.mask.size
        return windows.read(self._ring, self._num_items, query.num_frames)

    def collected(
        self, turn: int, unrolls: int, length: int, environments: Sequence[int], rank: int = 0, num_ranks: int = 1
    ) -> Batch:
        """Returns what environments did in a turn, as unrolls: see `rlsys.api.Replay.collected`.

        Args:
          turn: its number.
          unrolls: of each environment.
          length: rows of each.
          environments: all that must have done as much.
          rank: whose share of these is given.
          num_ranks: ranks that share them.

        Raises:
          TurnTooSmall: an environment did less.
          ReplayError: the table does not keep episodes.
        """
        slots = self._kept().turn(turn, unrolls, length, environments)
        environment = np.repeat(environments, unrolls)
        own = environment % num_ranks == rank
        return read_unrolls(self._ring, slots[own], turn, environment[own])

    def update_priorities(self, keys: Array, priorities: Array) -> int:
        """Sets the priorities of drawn items; of a key that comes twice the last priority stays.

        Args:
          keys: `[B]` int64, from `Batch.key`.
          priorities: `[B]` float64, each finite and ≥ 0.

        Returns:
          The number of keys that were skipped because their item has left.

        Raises:
          ReplayError: a priority is not finite or is negative, or the sampler does not use priorities.
        """
        if self._spec.sampler != "prioritized":
            raise ReplayError(
                f"priorities were sent to a table with sampler = {self._spec.sampler}; only 'prioritized' uses them. "
                "Set the sampler to prioritized, or send none."
            )
        schema.check_priorities(priorities, "the learner")
        slots, live = self._ring.find(keys)
        live &= self._is_item[slots]
        num_live = int(np.count_nonzero(live))
        if num_live < len(keys):
            slots, priorities = slots[live], priorities[live]
        self._announce(slots)
        self._tree.set(slots, priorities)
        self._counts["updated_priorities"] += num_live
        self._counts["skipped_priorities"] += len(keys) - num_live
        return len(keys) - num_live

    def rows_to_refresh(self, count: int) -> StoredRows:
        """Draws rows whose extras are read by windows, each equally likely.

        Raises:
          ReplayNotReady: there are none.
        """
        slots = self._refreshed.draw(self._rng, count)
        return StoredRows(self._ring.stacks(slots), self._ring.keys(slots))

    def refresh(self, keys: Array, refreshed: Refreshed, weights_version: int) -> int:
        """Replaces extras of rows, and priorities of those that are items, by what weights of a version say of them.

        Returns:
          The number of rows that were skipped because they have left.

        Raises:
          ReplayError: the table has no such extras, or a priority is not finite or is negative.
        """
        slots, live = self._refreshed.find(keys)
        self._announce(slots[live])
        extras = {name: rows[live] for name, rows in refreshed.extras.items()}
        self._refreshed.write(slots[live], extras, weights_version)
        if refreshed.priority is not None:
            schema.check_priorities(refreshed.priority, "who refreshes rows")
            items = live & self._is_item[slots]
            self._tree.set(slots[items], refreshed.priority[items])
        num_live = int(np.count_nonzero(live))
        self._counts["refreshed_rows"] += num_live
        self._counts["skipped_refreshes"] += len(keys) - num_live
        return len(keys) - num_live

    def snapshot(self) -> Snapshot:
        """Returns the table as it is now: everything that decides about coming draws, and the rows bit by bit."""
        span = self._ring.span()
        priorities = Frozen(self._tree.priorities)
        head = {
            "ring": self._ring.save(),
            "priorities": [priorities.values[run] for run in span],
            "sources": self._sources.save(),
            "counts": dict(self._counts),
            "rng": self._rng.bit_generator.state,
        }
        if frozen := self._refreshed.freeze():
            head["refreshed"] = {name: [one.values[run] for run in span] for name, one in frozen.items()}
        return Snapshot(head, [priorities, *frozen.values()], self._ring)

    def save(self) -> Saved:
        """Returns all of a snapshot at once."""
        with contextlib.closing(self.snapshot()) as snapshot:
            while snapshot.settle():
                continue
            return {**snapshot.head, "chunks": list(iter(snapshot.take, None))}

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned; the table must be new. The same draws follow.

        `saved["chunks"]` may be any iterable, so that not all rows need be in memory twice.

        Raises:
          CheckpointError: it was saved by a table of another size or with other columns.
        """
        self._ring.load(saved["ring"], saved["chunks"])
        for entry in self._ring.entries:
            self._is_item[entry.items] = True
            self._join(entry)
        self._refreshed.load(saved.get("refreshed", {}))
        for part, run in enumerate(self._ring.span()):
            self._tree.set_range(run.start, saved["priorities"][part])
        self._num_items = sum(entry.num_items for entry in self._ring.entries)
        self._sources.load(saved["sources"])
        self._counts.update(saved["counts"])
        self._rng.bit_generator.state = saved["rng"]

    def _draw(self, batch_size: int, positions: Array | None) -> Array:
        if self._tree.total <= 0.0:
            raise ReplayNotReady(f"{self._num_items:,} items, none with a priority above 0")
        positions = self._strata(batch_size) if positions is None else positions
        assert len(positions) == batch_size, (len(positions), batch_size)
        return self._tree.find(np.multiply(positions, self._tree.total))

    def _strata(self, batch_size: int) -> Array:
        """Returns a random position in each of B strata of [0, 1)."""
        positions_B: Array = (np.arange(batch_size) + self._rng.random(batch_size)) / batch_size
        return positions_B

    def _first_priorities(self, segment: Segment) -> Array:
        if is_held_out(segment.episode, self._spec.held_out_every):
            return np.zeros(segment.num_items)
        if self._spec.sampler == "prioritized" and segment.priority is not None:
            return segment.priority
        return np.ones(segment.num_items)

    def _kept(self) -> Episodes:
        if self._episodes is None:
            raise ReplayError(
                "episodes were asked for, of a table that keeps none; it gives its items to different shards. Set "
                "keeps_episodes in the algorithm's TableSpec."
            )
        return self._episodes

    def _join(self, entry: Entry) -> None:
        """Lets those know of a segment who keep something about rows."""
        if self._episodes is not None:
            self._episodes.add(entry)
        self._refreshed.add(entry)

    def _announce(self, slots: Array | slice) -> None:
        """Says that priorities of these slots are about to change."""
        for watcher in self._ring.watchers:
            watcher.changing(slots)

    def _evict(self, reason: str) -> None:
        """Removes the oldest segment and counts why: for "size", "slots" or "bytes"."""
        entry = self._ring.remove_oldest()
        self._announce(entry.slots)
        self._num_items -= entry.num_items
        if self._episodes is not None:
            self._episodes.remove_oldest()
        self._refreshed.remove(entry)
        self._is_item[entry.items] = False
        self._tree.clear_range(entry.items.start, entry.items.stop)
        self._counts[f"evicted_by_{reason}"] += 1
