"""A queue of unrolls: each is given out once, in the order in which they came.

It is the table of algorithms that learn from what their newest weights did (IMPALA, PPO). Blocks are kept as they came,
so an unroll is copied once, into the batch.

Shape legend: B unrolls of a batch, S frames kept for stacking, T rows of an unroll, K frames of a stack.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from rlsys.api import QueueSpec, ReplayNotReady, Saved, SequenceQuery, Unrolls
from rlsys.compiled import njit
from rlsys.errors import ConfigError, ReplayError
from rlsys.replay import schema
from rlsys.replay.schema import QUEUE_COUNTS
from rlsys.replay.sources import SeenSources
from rlsys.types import Array, Batch, EnvSpec, Item, Sequences, Source, UnrollBlock


class UnrollQueue:
    """A queue, or one shard of several. Not thread-safe.

    Nothing leaves it but by `sample`: ask `waits_for_room` before `insert`.
    """

    def __init__(self, spec: QueueSpec, env: EnvSpec, unrolls: Unrolls) -> None:
        """Makes an empty queue.

        Args:
          spec: of each shard.
          env: gives the columns and the frame stack.
          unrolls: gives the extras, the state and the length of an unroll.

        Raises:
          ConfigError: it may never hold a batch.
        """
        if spec.max_size < spec.batch_size:
            raise ConfigError(
                f"max_size = {spec.max_size:,} of the queue cannot hold a batch of {spec.batch_size:,} unrolls. Raise "
                "it or lower the batch size."
            )
        self._specs = schema.column_specs(env, unrolls)
        self._state_specs = dict(unrolls.state)
        self._length = unrolls.length
        self._num_before = env.num_stack - 1
        self._max_size = spec.max_size
        self._blocks: deque[UnrollBlock] = deque()
        self._num_taken = 0
        """Unrolls of the oldest block that have been given out."""
        self._num_items = 0
        self._sources = SeenSources()
        self._counts = dict.fromkeys(QUEUE_COUNTS, 0)

    @property
    def num_items(self) -> int:
        """Unrolls that wait."""
        return self._num_items

    @property
    def mass(self) -> float:
        """The same; a table's readers weigh shards by it."""
        return float(self._num_items)

    @property
    def inserted_items(self) -> int:
        """Unrolls ever inserted."""
        return self._counts["inserted_items"]

    def waits_for_room(self, item: Item) -> str:
        """See `Store`; the last block may be larger than what was left."""
        return "" if self._num_items < self._max_size else f"room in the queue of {self._num_items:,} unrolls"

    def stats(self) -> dict[str, float]:
        """Returns the depth and counts since the beginning, for metrics."""
        return {name: float(value) for name, value in ({"items": self._num_items} | self._counts).items()}

    def insert(self, item: Item) -> bool:
        """Takes over a block; returns False, changing nothing, where its source has been seen before.

        Raises:
          ReplayError: it does not fit the specs.
        """
        assert isinstance(item, UnrollBlock), "segments go into tables"
        block = item
        self._check(block)
        if not self._sources.add(block.source):
            self._counts["duplicate_segments"] += 1
            return False
        self._blocks.append(block)
        self._num_items += block.num_items
        self._counts["inserted_items"] += block.num_items
        return True

    def sample(self, batch_size: int, length: int = 0, rows: Mapping[str, int] | None = None) -> Batch:
        """Gives out the oldest unrolls as one batch, whole: `length` and `rows` have no meaning.

        Raises:
          ReplayNotReady: fewer wait; nothing has changed.
        """
        if self._num_items < batch_size:
            raise ReplayNotReady(f"{self._num_items:,} of {batch_size:,} unrolls in the queue")
        parts: list[tuple[UnrollBlock, slice]] = []
        missing = batch_size
        while missing:
            block = self._blocks[0]
            part = slice(self._num_taken, min(block.num_items, self._num_taken + missing))
            parts.append((block, part))
            missing -= part.stop - part.start
            self._num_taken = part.stop
            if part.stop == block.num_items:
                self._blocks.popleft()
                self._num_taken = 0
        self._num_items -= batch_size
        self._counts["sampled_items"] += batch_size
        return self._batch(parts, batch_size)

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Refuses: a queue keeps nothing."""
        raise ReplayError("episodes were asked for, of a queue, which gives each unroll out once. Choose a table.")

    def collected(self, turn: int, unrolls: int, length: int, environments: Sequence[int]) -> Batch:
        """Refuses: what a turn brings are the queue's batches."""
        raise ReplayError("a turn was asked for, of a queue, whose batches are what a turn brings. Use sample().")

    def update_priorities(self, keys: Array, priorities: Array) -> int:
        """Refuses: a queue has none.

        Raises:
          ReplayError: always.
        """
        raise ReplayError("priorities were sent to a queue; only 'prioritized' tables use them. Send none.")

    def save(self) -> Saved:
        """Returns what waits and the counters."""
        return {
            "blocks": [_saved_block(block) for block in self._blocks],
            "num_taken": self._num_taken,
            "sources": self._sources.save(),
            "counts": dict(self._counts),
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned; the queue must be new.

        Raises:
          ReplayError: it was saved with other columns.
        """
        for block in saved["blocks"]:
            self._blocks.append(UnrollBlock(**{**block, "source": Source(*block["source"])}))
            self._check(self._blocks[-1])
        self._num_taken = saved["num_taken"]
        self._num_items = sum(block.num_items for block in self._blocks) - self._num_taken
        self._sources.load(saved["sources"])
        self._counts = dict(saved["counts"])

    def _check(self, block: UnrollBlock) -> None:
        size = block.num_items
        columns = {
            "observation": block.observation,
            "action": block.action,
            "reward": block.reward,
            "terminated": block.terminated,
            "truncated": block.truncated,
            **block.extras,
        }
        schema.check_names(columns, self._specs, "a block of unrolls")
        schema.check_names(block.state, self._state_specs, "the state of a block of unrolls")
        for name, array in columns.items():
            length = self._num_before + self._length + 1 if name == "observation" else self._length
            if array.shape[:2] != (size, length):
                raise ReplayError(
                    f"{name} of {size} unrolls has shape {array.shape}; it must begin with {(size, length)}. "
                    "What was collected and the queue's specs disagree."
                )
            schema.check_array(name, array.reshape(-1, *array.shape[2:]), size * length, self._specs[name])
        for name, array in block.state.items():
            schema.check_array(name, array, size, self._state_specs[name])

    def _batch(self, parts: Sequence[tuple[UnrollBlock, slice]], size: int) -> Batch:
        def join(name: str) -> Array:
            return np.concatenate([getattr(block, name)[part] for block, part in parts])

        def join_named(field: str) -> dict[str, Array]:
            names = getattr(parts[0][0], field)
            return {
                name: np.concatenate([getattr(block, field)[name][part] for block, part in parts]) for name in names
            }

        frames, terminated, truncated = join("observation"), join("terminated"), join("truncated")
        if self._num_before:
            frames = _stack(frames, join("age"), terminated, truncated, self._num_before + 1)
        versions = [np.full(part.stop - part.start, block.weights_version, np.int64) for block, part in parts]
        return Batch(
            observation=frames,
            action=join("action"),
            reward=join("reward"),
            terminated=terminated,
            truncated=truncated,
            extras=join_named("extras"),
            num_rows=np.full(size, self._length, np.int64),
            key=np.zeros(size, np.int64),
            probability=np.full(size, 1.0 / size),
            num_items=size,
            weights_version=np.concatenate(versions),
            state=join_named("state"),
            environment=join("environment"),
            position=join("position"),
        )


def _saved_block(block: UnrollBlock) -> Saved:
    source = block.source
    saved = {field.name: getattr(block, field.name) for field in fields(block)}
    return {**saved, "source": [source.worker, source.incarnation, source.sequence]}


def _stack(frames: Array, age_B: Array, terminated_BT: Array, truncated_BT: Array, num_stack: int) -> Array:
    """Returns `[B, T + 1, K, *frame]`, oldest frame first; a stack never reaches into the episode before.

    Where an episode has too few frames its first one is repeated, as gymnasium's frame stack does.
    """
    batch_size, length = terminated_BT.shape
    row_bytes = frames[0, 0].nbytes
    flat = np.ascontiguousarray(frames).view(np.uint8).reshape(batch_size, -1, row_bytes)
    stacked = np.empty((batch_size, length + 1, num_stack, row_bytes), np.uint8)
    _copy_stacks(flat, age_B, terminated_BT, truncated_BT, stacked)
    shape = (batch_size, length + 1, num_stack, *frames.shape[2:])
    return np.ndarray(shape, frames.dtype, stacked)


@njit(cache=True)
def _copy_stacks(
    frames_BNX: Array, age_B: Array, terminated_BT: Array, truncated_BT: Array, stacked_BTKX: Array
) -> None:
    batch_size, length = terminated_BT.shape
    num_stack = stacked_BTKX.shape[2]
    num_before = num_stack - 1
    for b in range(batch_size):
        origin = num_before - age_B[b]  # index of the oldest frame of the row's episode
        for t in range(length + 1):
            if t >= 1 and terminated_BT[b, t - 1]:
                origin = num_before + t
            elif t >= 2 and truncated_BT[b, t - 2] and not terminated_BT[b, t - 2]:
                origin = num_before + t  # row t - 1 was the bootstrap row
            for k in range(num_stack):
                source = frames_BNX[b, max(num_before + t - (num_stack - 1 - k), origin)]
                target = stacked_BTKX[b, t, k]
                for i in range(len(source)):
                    target[i] = source[i]
