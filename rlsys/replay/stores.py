"""Where items are kept and drawn from: segments in tables, unrolls in queues.

    store = make_store(spec, env, cut)
    store.insert(item)
    batch = store.sample(batch_size, length)                        # each update of a learner

Another way to keep them is a class and a line in `make_store`. It comes with numba, which who only calls a store in
another process does without.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rlsys.api import Cut, QueueSpec, ReplayNotReady, Saved, Segments, SequenceQuery, StoreSpec, TableSpec, Unrolls
from rlsys.replay.limiter import RateLimiter
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.types import Array, Batch, EnvSpec, Item, Segment, Sequences


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
    """

    def __init__(self, spec: TableSpec, env: EnvSpec, segments: Segments, *, share: int = 1, seed: int = 0) -> None:
        """Makes an empty table; arguments are those of `Table`."""
        self.table = Table(spec, env, segments, share=share, seed=seed)
        self.limiter = RateLimiter.for_shard(spec, share)

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
        return "" if self.limiter.can_insert(item.num_items) else self.limiter.insert_wait_reason()

    def insert(self, item: Item) -> bool:
        """See `Store`; the table makes room by itself."""
        assert isinstance(item, Segment), "unrolls go into queues"
        is_new = self.table.insert(item)
        self.limiter.inserted += item.num_items if is_new else 0
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

    def stats(self) -> dict[str, float]:
        """See `Store`."""
        return self.table.stats()

    def save(self) -> Saved:
        """See `Store`."""
        return {"table": self.table.save(), "limiter": self.limiter.save()}

    def load(self, saved: Saved) -> None:
        """See `Store`."""
        self.table.load(saved["table"])
        self.limiter.load(saved["limiter"])


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
