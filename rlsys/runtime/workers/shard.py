"""A replay shard: one store, serving many writers and readers."""

import abc
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlsys.api import Refreshed, ReplayNotReady, SequenceQuery, StoredRows, TurnTooSmall
from rlsys.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.checkpoints.part import write_part
from rlsys.checkpoints.storage import FileRecord
from rlsys.files.json_tree import check_tree
from rlsys.metrics.process_stats import ProcessMeter, ProcessStats
from rlsys.metrics.timing import Stopwatch
from rlsys.runs.dataset import segments_of
from rlsys.runs.spec import RunSpec
from rlsys.types import Array, Batch, Item, Sequences


@dataclass(frozen=True)
class ShardStatus:
    """What a reader must know of a shard to draw across all of them.

    Attributes:
      num_items: items now in the table.
      mass: sum of their priorities.
      asked_mass: how much there is of what a query of sequences asks for, where that is what was answered.
      inserted_items: items ever inserted.
      stats: figures for the metrics.
      turns: worker -> the newest turn of which everything that it collected has come to its shards.
    """

    num_items: int
    mass: float
    inserted_items: int
    stats: Mapping[str, float]
    turns: Mapping[int, int] = field(default_factory=dict)
    asked_mass: float = 0.0


def total_stats(statuses: Sequence[ShardStatus]) -> dict[str, float]:
    """Returns the sums of the shards' figures, for metrics."""
    names = dict.fromkeys(name for status in statuses for name in status.stats)
    stats = {name: sum(status.stats.get(name, 0.0) for status in statuses) for name in names}
    return {**stats, "items": float(sum(status.num_items for status in statuses))}


@dataclass
class ShardReport:
    """What a shard did since its last report.

    Attributes:
      worker: its index.
      process_stats: of its process.
      inserted_items: items stored.
      batches: batches given out, or parts of them.
      spent: seconds computing per kind of call (insert, sample, priorities, refresh, save); the rest is wait.
      stats: figures of its table or queue.
    """

    worker: int
    process_stats: ProcessStats
    inserted_items: int = 0
    batches: int = 0
    spent: dict[str, float] = field(default_factory=dict)
    stats: Mapping[str, float] = field(default_factory=dict)


class Shard(abc.ABC):
    """What the shards of tables and of queues share; all methods run on one event loop, so nothing needs a lock."""

    def __init__(self, spec: RunSpec, index: int) -> None:
        from rlsys.replay.stores import Store, make_store  # with numba, which who only calls a shard does without

        share, seed = spec.runtime.replay_shards, spec.seeds("replay", index)[0]
        self.name = f"replay-{index}"
        self.store: Store = make_store(spec.store, spec.stored_env, spec.cut, share=share, seed=seed)
        self._held = ""
        self._index = index
        self._moved = asyncio.Event()
        self._watch = Stopwatch("wait")  # no part of it may hold an await
        self._meter = ProcessMeter()
        self._inserted_items = 0
        self._batches = 0
        self._turns: dict[int, int] = {}

    async def report(self) -> ShardReport:
        """Returns what happened since the last report and starts a new one."""
        report = ShardReport(
            self._index,
            self._meter.take(),
            self._inserted_items,
            self._batches,
            spent=self._watch.take(),
            stats=self.store.stats(),
        )
        self._inserted_items = self._batches = 0
        return report

    async def insert(self, items: Sequence[Item], patience_s: float) -> str:
        """Stores items one by one as there is room; what is stored already is passed over.

        Returns:
          The empty string when all are stored, or, after `patience_s`, what the rest waits for (send all again).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        for item in items:
            while reason := self._held or self.store.waits_for_room(item):
                left = deadline - loop.time()
                if left <= 0:
                    return reason
                await self._wait(left)
            with self._watch.part("insert"):
                is_new = self.store.insert(item)
            if is_new:
                self._inserted_items += item.num_items
                self._wake()
        return ""

    async def end_turn(self, worker: int, turn: int) -> None:
        """Notes that all that a worker collected in a turn has been inserted, here or at other shards."""
        self._turns[worker] = turn
        self._wake()

    async def hold(self, reason: str) -> None:
        """Lets inserts wait for `reason` until they are let go on by an empty one."""
        self._held = reason
        self._wake()

    @abc.abstractmethod
    async def save_to(self, place: str, step: int, committed: int | None) -> list[FileRecord]:
        """Writes this shard, as it is now, as a part of a checkpoint; it serves meanwhile.

        Args:
          place: of the draft.
          step: of the draft.
          committed: step of the newest checkpoint, None if there is none.
        """

    async def restore(self, checkpoints: str, step: int) -> int:
        """Takes over this shard's part of a committed checkpoint; returns the number of items."""
        self.load(Checkpoints(checkpoints, keep=1).open(step, parts=[self.name]))
        return self.store.num_items

    @abc.abstractmethod
    def load(self, opened: Opened) -> None:
        """Goes on from what `save_to` wrote; the shard must be new."""

    def _status(self) -> ShardStatus:
        store = self.store
        return ShardStatus(store.num_items, store.mass, store.inserted_items, store.stats(), dict(self._turns))

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._moved.wait(), seconds)
        except TimeoutError:
            return


class ReplayShard(Shard):
    """Owns one table behind a rate limiter.

    Inserts wait here, at the shard, while replay is ahead of the learner; each shard holds its share of the ratio,
    because writers take turns among the shards. Samples wait at the reader (`RemoteReplay`), who alone knows all
    shards. A reader reports with every call how much all of its samples come to, which is what frees the writers.
    """

    def __init__(self, spec: RunSpec, index: int) -> None:
        from rlsys.checkpoints.table_writer import TableWriter
        from rlsys.replay.stores import LimitedTable

        super().__init__(spec, index)
        assert isinstance(self.store, LimitedTable), "queues have shards of their own"
        self._limited, self._table, self._limiter = self.store, self.store.table, self.store.limiter
        self._writer = TableWriter(self.name, lambda: self._watch.part("save"))
        self._spec, self._shards = spec, spec.runtime.replay_shards
        self._environments_per_worker = spec.environments_per_worker
        self._sampled_by_rank: dict[int, int] = {}

    async def sample(
        self, positions: Array, length: int, rows: Mapping[str, int] | None, rank: int, sampled: int
    ) -> tuple[Batch | None, ShardStatus]:
        """Draws the items at `positions` (fractions of this shard's mass).

        Args:
          positions: `[B]` in [0, 1).
          length: as in `rlsys.api.Replay.sample`.
          rows: likewise.
          rank: the learner rank that asks.
          sampled: items that this rank has sampled from all shards so far.

        Returns:
          The batch, None if the shard's mass has gone since the reader looked, and the shard's numbers.
        """
        self._note_sampled(rank, sampled)
        try:
            with self._watch.part("sample"):
                batch = self._table.sample(len(positions), length, rows, positions)
        except ReplayNotReady:
            return None, self._status()
        self._batches += 1
        return batch, self._status()

    async def sequences(
        self, query: SequenceQuery, positions: Array, rank: int, sampled: int
    ) -> tuple[Sequences | None, ShardStatus]:
        """Draws the windows at `positions`, fractions of what this shard has of what is asked for; see `sample`."""
        self._note_sampled(rank, sampled)
        with self._watch.part("sample"):
            mass = self._table.mass_of(query)
            windows = self._table.sequences(query, positions) if mass else None
        self._batches += windows is not None
        return windows, replace(self._status(), asked_mass=mass)

    async def look(self, query: SequenceQuery, rank: int, sampled: int) -> ShardStatus:
        """Returns the shard's numbers, and how much it has of what is asked for."""
        self._note_sampled(rank, sampled)
        return replace(self._status(), asked_mass=self._table.mass_of(query))

    async def collected(
        self, unrolls: int, length: int, turn: int, rank: int, num_ranks: int
    ) -> tuple[Batch | None, str]:
        """Returns what a rank's share of the environments of this shard did in a turn; see `rlsys.api.Replay`.

        Returns:
          The unrolls, and the empty string; or what is lost, of any environment, so that all ranks hear of it.
        """
        size = self._environments_per_worker
        ended = sorted(worker for worker, newest in self._turns.items() if newest == turn)
        environments = [worker * size + index for worker in ended for index in range(size)]
        try:
            with self._watch.part("sample"):
                batch = self._table.collected(turn, unrolls, length, environments, rank, num_ranks)
        except TurnTooSmall as lost:
            return None, str(lost)
        self._batches += 1
        return (batch if len(batch.reward) else None), ""

    async def status(self, rank: int, sampled: int, inserted_at_least: int = 0, patience_s: float = 0.0) -> ShardStatus:
        """Returns the shard's numbers when so many items were inserted, at the latest after `patience_s`."""
        self._note_sampled(rank, sampled)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while self._limiter.inserted < inserted_at_least and (left := deadline - loop.time()) > 0:
            await self._wait(left)
        return self._status()

    async def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities; evicted items are skipped and counted."""
        with self._watch.part("priorities"):
            self._table.update_priorities(keys, priorities)

    async def fill(self) -> None:
        """Stores this shard's part of the data set, if the run has one; the shard must be new."""
        self._limited.begin_with(segments_of(self._spec, self._index))

    async def draw(self, count: int, patience_s: float) -> StoredRows | str:
        """Returns rows that are to be refreshed, at the latest after `patience_s`; or what they wait for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while True:
            try:
                with self._watch.part("sample"):
                    rows = self._limited.rows_to_refresh(count)
            except ReplayNotReady as waiting:
                if (left := deadline - loop.time()) <= 0:
                    return str(waiting)
                await self._wait(left)
            else:
                self._wake()
                return rows

    async def refresh(self, keys: Array, refreshed: Refreshed, weights_version: int) -> None:
        """Replaces extras of rows; evicted rows are skipped and counted."""
        with self._watch.part("refresh"):
            self._table.refresh(keys, refreshed, weights_version)

    async def save_to(self, place: str, step: int, committed: int | None) -> list[FileRecord]:
        """See `Shard`; rows that the newest checkpoint holds are not written again."""
        sampled = {str(rank): count for rank, count in self._sampled_by_rank.items()}
        state = {**self._limited.save_limits(), "sampled_by_rank": sampled}
        return await self._writer.write(self._table, state, place, step, committed)

    def load(self, opened: Opened) -> None:
        """See `Shard`."""
        with opened.loading(self.name) as saved:
            self._writer.load(saved, opened, self._table)
            self._limited.load_limits(saved)
            counts = check_tree(saved["sampled_by_rank"], dict[str, int])
            self._sampled_by_rank = {int(rank): count for rank, count in counts.items()}

    def _note_sampled(self, rank: int, sampled: int) -> None:
        if self._sampled_by_rank.get(rank) != sampled:
            self._sampled_by_rank[rank] = sampled
            self._limiter.sampled = sum(self._sampled_by_rank.values()) / self._shards
            self._wake()


class QueueShard(Shard):
    """Owns one queue of unrolls. Inserts wait while it is full, takers while it holds less than a batch.

    A block that was inserted stays in Ray's shared memory until its last unroll has been taken; nothing is copied.
    """

    async def take(self, batch_size: int, patience_s: float) -> tuple[Batch | None, ShardStatus]:
        """Gives out the oldest unrolls; None if so many have not come within `patience_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while self.store.num_items < batch_size and (left := deadline - loop.time()) > 0:
            await self._wait(left)
        if self.store.num_items < batch_size:
            return None, self._status()
        with self._watch.part("sample"):
            batch = self.store.sample(batch_size, length=0)
        self._batches += 1
        self._wake()
        return batch, self._status()

    async def save_to(self, place: str, step: int, committed: int | None) -> list[FileRecord]:
        """See `Shard`; blocks never change, so only references to them are copied."""
        return await asyncio.to_thread(write_part, place, self.name, {"queue": self.store.save()})

    def load(self, opened: Opened) -> None:
        """See `Shard`."""
        with opened.loading(self.name) as saved:
            self.store.load(saved["queue"])
