"""What a learner asks the shards of a table for, and how their parts become one batch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from rlsys.api import SequenceQuery
from rlsys.runtime.cluster.placement import Handle
from rlsys.types import Array, Batch, Sequences

Drawn = TypeVar("Drawn", Batch, Sequences)


@dataclass(frozen=True)
class ItemQuery:
    """What `sample` is asked for."""

    batch_size: int
    length: int
    rows: tuple[tuple[str, int], ...] | None

    @property
    def num_items(self) -> int:
        """What a batch counts in the ratio."""
        return self.batch_size

    def ask(self, shard: Handle, positions: Array, rank: int, sampled: int) -> Any:
        """Asks a shard for its part of a batch."""
        rows = dict(self.rows) if self.rows is not None else None
        return shard.sample.remote(positions, self.length, rows, rank, sampled)

    def look(self, shard: Handle, rank: int, sampled: int) -> Any:
        """Asks a shard for its numbers."""
        return shard.status.remote(rank, sampled)


@dataclass(frozen=True)
class WindowQuery:
    """What `sequences` is asked for."""

    query: SequenceQuery

    @property
    def batch_size(self) -> int:
        """Windows of a batch."""
        return self.query.batch_size

    @property
    def num_items(self) -> int:
        """What a batch counts in the ratio."""
        return self.query.num_samples

    def ask(self, shard: Handle, positions: Array, rank: int, sampled: int) -> Any:
        """Asks a shard for its part of a batch."""
        return shard.sequences.remote(self.query, positions, rank, sampled)

    def look(self, shard: Handle, rank: int, sampled: int) -> Any:
        """Asks a shard for its numbers, and how much it has of what is asked for."""
        return shard.look.remote(self.query, rank, sampled)


Query = ItemQuery | WindowQuery


def joined(parts: Sequence[Drawn]) -> Drawn:
    """Joins the shards' parts of a batch; what is not an array is that of the first."""
    whole = parts[0]
    if len(parts) == 1:
        return whole
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(whole)}
    return type(whole)(**{name: _join(values) for name, values in columns.items()})


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _join([value[name] for value in values]) for name in first}
    return np.concatenate(values) if isinstance(first, np.ndarray) else first
