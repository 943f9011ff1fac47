"""Where items are kept and drawn from: segments in tables, unrolls in queues.

    store = make_store(spec, env, cut)
    store.insert(item)
    batch = store.sample(batch_size, length)                        # each update of a learner

Another way to keep them is a class and a line in `make_store`. It comes with numba, which who only calls a store in
another process does without.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from rlsys.api import (
    Cut,
    NothingToDraw,
    QueueSpec,
    Refreshed,
    ReplayNotReady,
    Saved,
    Segments,
    SequenceQuery,
    StoredRows,
    StoreSpec,
    TableSpec,
    TurnTooSmall,
    Unrolls,
)
from rlsys.replay.limiter import RateLimiter
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.types import Array, Batch, EnvSpec, Item, Segment, Sequences

_SEGMENTS_OF_SLACK = 2
_Drawn = TypeVar("_Drawn", Batch, Sequences)


class Store(Protocol):
    """A table or a queue, or one shard of it. Not thread-safe."""

    @property
    def num_items(self) -> int:
        """Items that can be drawn."""

    @property
    def mass(self) -> float:
        """Sum of their priorities; their number where there are none."""

    @property
    def inserted_items(self) -> int:
        """Items ever inserted."""

    def waits_for_room(self, item: Item) -> str:
        """Says what inserting an item has to wait for; empty if nothing."""

    def insert(self, item: Item) -> bool:
        """Stores an item; returns False, changing nothing, where its source has been seen before.

        Raises:
          ReplayError: it does not fit the specs.
        """

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch at once; see `rlsys.api.Replay.sample`.

        Raises:
          ReplayNotReady: it cannot yet; nothing has changed.
          ReplayError: there is no such window.
        """

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes at once; see `rlsys.api.Replay.sequences`.

        Raises:
          ReplayNotReady: it cannot yet; nothing has changed.
          NothingToDraw: there is no such window.
          ReplayError: it keeps no episodes.
        """

    def collected(self, turn: int, unrolls: int, length: int, environments: Sequence[int]) -> Batch:
        """Returns what environments did in a turn, as unrolls; see `rlsys.api.Replay.collected`.

        Raises:
          TurnTooSmall: an environment did less.
          ReplayError: it keeps no episodes.
        """

    def update_priorities(self, keys: Array, priorities: Array) -> int:
        """Sets priorities (`[B]`) of drawn items; returns how many were skipped, for their items have left.

        Raises:
          ReplayError: it keeps none, or one is not finite or is negative.
        """

    def stats(self) -> dict[str, float]:
        """Returns present sizes and counts since the beginning, for metrics."""

    def save(self) -> Saved:
        """Returns everything."""

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned; the store must be new.

        Raises:
          RlsysError: it was saved with other columns, or another size.
        """


class LimitedTable:
    """A table behind its rate limiter: whoever inserts or samples waits for the other side.

    Attributes:
      table: may be drawn from directly where somebody else holds the ratio.
      limiter: counts what is inserted, and what `sample` draws.
      refreshes: counts what is inserted, and what `rows_to_refresh` draws.
    """

    def __init__(self, spec: TableSpec, env: EnvSpec, segments: Segments, *, share: int = 1, seed: int = 0) -> None:
        """Makes an empty table; arguments are those of `Table`."""
        self.table = Table(spec, env, segments, share=share, seed=seed)
        self.limiter = RateLimiter.for_shard(spec, share)
        self.refreshes = _refreshes(spec, segments, share)
        self._nobody_decides = spec.refreshing is not None and spec.refreshing.share == 1.0

    @property
    def num_items(self) -> int:
        """See `Store`."""
        return self.table.num_items

    @property
    def mass(self) -> float:
        """See `Store`."""
        return self.table.mass

    @property
    def inserted_items(self) -> int:
        """See `Store`."""
        return self.limiter.inserted

    def waits_for_room(self, item: Item) -> str:
        """See `Store`."""
        limiters = (self.limiter, self.refreshes)
        return next((one.insert_wait_reason() for one in limiters if not one.can_insert(item.num_items)), "")

    def insert(self, item: Item) -> bool:
        """See `Store`; the table makes room by itself."""
        assert isinstance(item, Segment), "unrolls go into queues"
        is_new = self.table.insert(item)
        for limiter in (self.limiter, self.refreshes):
            limiter.inserted += item.num_items if is_new else 0
        return is_new

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """See `Store`."""
        if not self.limiter.can_sample(batch_size):
            raise ReplayNotReady(self.limiter.wait_reason())
        batch = self.table.sample(batch_size, length, rows)
        self.limiter.sampled += batch_size
        return batch

    def sequences(self, query: SequenceQuery) -> Sequences:
        """See `Store`."""
        if not self.limiter.can_sample(query.num_samples):
            raise ReplayNotReady(self.limiter.wait_reason())
        windows = self.table.sequences(query)
        self.limiter.sampled += query.num_samples
        return windows

    def collected(self, turn: int, unrolls: int, length: int, environments: Sequence[int]) -> Batch:
        """See `Store`."""
        return self.table.collected(turn, unrolls, length, environments)

    def update_priorities(self, keys: Array, priorities: Array) -> int:
        """See `Store`."""
        return self.table.update_priorities(keys, priorities)

    def begin_with(self, segments: Iterable[Segment]) -> None:
        """Stores what was collected elsewhere. Ratios count no more of it than has to be there before the first sample.

        Where nobody decides, rows that are refreshed count as inserted.
        """
        for segment in segments:
            self.table.insert(segment)
        for limiter in (self.limiter, self.refreshes):
            limiter.inserted = min(self.table.num_items, limiter.minimum)

    def rows_to_refresh(self, count: int) -> StoredRows:
        """Draws rows to refresh at once; see `Table.rows_to_refresh`.

        Raises:
          ReplayNotReady: there are too few rows yet, or enough were refreshed.
        """
        if not self.refreshes.can_sample(count):
            raise ReplayNotReady(self.refreshes.wait_reason())
        if self._nobody_decides and not self.limiter.can_insert(count):
            raise ReplayNotReady(self.limiter.insert_wait_reason())
        rows = self.table.rows_to_refresh(count)
        self.refreshes.sampled += count
        self.limiter.inserted += count if self._nobody_decides else 0
        return rows

    def stats(self) -> dict[str, float]:
        """See `Store`."""
        return self.table.stats()

    def save(self) -> Saved:
        """See `Store`."""
        return {"table": self.table.save(), **self.save_limits()}

    def load(self, saved: Saved) -> None:
        """See `Store`."""
        self.table.load(saved["table"])
        self.load_limits(saved)

    def save_limits(self) -> Saved:
        """Returns what is counted."""
        return {"limiter": self.limiter.save(), "refreshes": self.refreshes.save()}

    def load_limits(self, saved: Saved) -> None:
        """Takes over what `save_limits` returned; before rows were refreshed there was one limiter."""
        self.limiter.load(saved["limiter"])
        self.refreshes.load(saved.get("refreshes", {"inserted": self.limiter.inserted, "sampled": 0}))


class LocalReplay:
    """One store, used directly; implements `rlsys.api.Replay`. Nobody waits for room: sampling alone holds the ratio.

    Where rows are refreshed it gives them out, and takes back what was found out (`rlsys.collector.Stored`).

    Attributes:
      store: what was collected.
      turn: see `rlsys.ranks.agreed_replay.PatientReplay`.
    """

    def __init__(self, store: Store, num_environments: int, has_come: Callable[[int], bool] | None) -> None:
        """Draws from a store.

        Args:
          store: what was collected.
          num_environments: of all workers.
          has_come: where collecting and learning take turns, tells whether all workers have collected their share of
            one; else None.
        """
        self.store = store
        self.deadline = float("inf")
        self.turn = -1
        self._table = store if isinstance(store, LimitedTable) else None
        self._environments = range(num_environments)
        self._has_come = has_come if self._table is not None else None

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch, or raises ReplayNotReady at once."""
        return self._drawn(lambda: self.store.sample(batch_size, length, rows))

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes, or raises ReplayNotReady at once."""
        try:
            return self._drawn(lambda: self.store.sequences(query))
        except NothingToDraw:
            if self._has_come or query.part == "held_out":  # nothing comes while it is the learner's turn
                raise
            raise ReplayNotReady(str(query)) from None

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what the newest turn brought, or raises ReplayNotReady at once."""
        return self._drawn(lambda: self.store.collected(self.turn, unrolls, length, self._environments))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities."""
        self.store.update_priorities(keys, priorities)

    def draw(self, count: int, timeout_s: float) -> StoredRows:
        """Draws rows to refresh, or raises ReplayNotReady at once."""
        assert self._table is not None, "queues keep nothing that could be refreshed"
        return self._table.rows_to_refresh(count)

    def write(self, rows: StoredRows, refreshed: Refreshed, weights_version: int) -> None:
        """Replaces extras of rows."""
        assert self._table is not None, "queues keep nothing that could be refreshed"
        self._table.table.refresh(rows.key, refreshed, weights_version)

    def stats(self) -> dict[str, float]:
        """Returns the store's figures and, of a table, the ratio."""
        stats = self.store.stats()
        inserted, sampled = float(self.store.inserted_items), stats["sampled_items"]
        ratio = {"samples_per_insert": sampled / max(1, inserted)} if self._table else {}
        return {**stats, "inserted": inserted, "sampled": sampled, **ratio}

    def _drawn(self, draw: Callable[[], _Drawn]) -> _Drawn:
        if self._has_come is None:
            return draw()
        if not self._has_come(self.turn):
            raise ReplayNotReady(f"what turn {self.turn:,} brings")
        try:
            return draw()
        except ReplayNotReady as waiting:
            raise TurnTooSmall(str(waiting)) from waiting


def _refreshes(spec: TableSpec, segments: Segments, share: int) -> RateLimiter:
    """Returns the limiter of refreshed rows, which holds their ratio where workers of their own refresh them."""
    refreshing = spec.refreshing
    counted = TableSpec(spec.max_size, "uniform", min_size_to_sample=-(-spec.min_size_to_sample // share))
    if refreshing is not None and refreshing.workers and refreshing.share < 1.0:
        ratio, largest_insert = refreshing.rows_per_decision, segments.length + segments.overlap
        buffer = refreshing.batch_size + _SEGMENTS_OF_SLACK * ratio * largest_insert
        counted = replace(counted, samples_per_insert=ratio, error_buffer=buffer)
    return RateLimiter(counted, "refreshed rows")


def make_store(spec: StoreSpec, env: EnvSpec, cut: Cut, *, share: int = 1, seed: int = 0) -> Store:
    """Makes an empty store.

    Args:
      spec: of the whole.
      env: as replay knows it.
      cut: what comes.
      share: number of shards; a table gets 1/share of all sizes, a queue's are those of each shard.
      seed: of the draws; each shard needs its own.

    Raises:
      ConfigError: it could not work.
    """
    if isinstance(spec, QueueSpec):
        assert isinstance(cut, Unrolls), "segments go into tables"
        return UnrollQueue(spec, env, cut)
    assert isinstance(cut, Segments), "unrolls go into queues"
    return LimitedTable(spec, env, cut, share=share, seed=seed)
