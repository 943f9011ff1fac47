"""Replay without limiter or processes: of a table or a queue, of batches that are given out again, and of nothing."""

from collections.abc import Mapping, Sequence

import numpy as np

from rlsys.api import ReplayNotReady
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.testing.requirement import require
from rlsys.types import Array, Batch


class TableReplay:
    """A table or a queue.

    Attributes:
      table: what it draws from.
      batches: what it has given out; whoever looks at it clears it.
      priorities: keys and priorities of each update of them, likewise.
    """

    def __init__(self, table: Table | UnrollQueue, min_size: int = 1) -> None:
        """Gives out nothing before so many items were inserted."""
        self.table = table
        self.batches: list[Batch] = []
        self.priorities: list[tuple[Array, Array]] = []
        self._min_size = min_size

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch."""
        if self.table.inserted_items < self._min_size:
            raise ReplayNotReady(f"{self.table.inserted_items:,} of {self._min_size:,} items")
        if isinstance(self.table, UnrollQueue):
            batch = self.table.sample(batch_size)
        else:
            batch = self.table.sample(batch_size, length, rows)
        self.batches.append(batch)
        return batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities; the table refuses what is not finite."""
        require(isinstance(self.table, Table), "a learner from a queue sends no priorities")
        assert isinstance(self.table, Table)
        self.table.update_priorities(keys, priorities)
        self.priorities.append((keys.copy(), priorities.copy()))


class RepeatedReplay:
    """Gives out batches once more, in the order in which they were given out before.

    Attributes:
      priorities: keys and priorities of each update of them.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = list(batches)
        self.priorities: list[tuple[Array, Array]] = []

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the next one."""
        require(bool(self._batches), "a restored learner samples as often as the one that was saved; it samples again")
        batch = self._batches.pop(0)
        require(
            len(batch.reward) == batch_size,
            f"a restored learner samples as the one that was saved; it asks for {batch_size} items, not for "
            f"{len(batch.reward)}",
        )
        return batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Keeps them."""
        self.priorities.append((np.array(keys), np.array(priorities)))


class NeverReady:
    """Has nothing, ever."""

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Says so."""
        raise ReplayNotReady("nothing will ever come")

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Refuses: nothing was sampled."""
        require(False, "priorities are of what was sampled; some were sent before a sample")
