"""Replay without limiter or processes: of a store, of batches that are given out again, and of nothing."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlsys.api import ReplayNotReady, TurnTooSmall
from rlsys.replay.stores import Store
from rlsys.testing.requirement import require
from rlsys.types import Array, Batch


class StoreReplay:
    """A store.

    Attributes:
      store: what it draws from.
      batches: what it has given out; whoever looks at it clears it.
      priorities: keys and priorities of each update of them, likewise.
    """

    def __init__(self, store: Store, has_come: Callable[[], bool] | None = None) -> None:
        """Takes a store, and, where it is filled in turns, whether all of the one that was asked for has come."""
        self.store = store
        self._has_come = has_come
        self.batches: list[Batch] = []
        self.priorities: list[tuple[Array, Array]] = []

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch."""
        if self._has_come is not None and not self._has_come():
            raise ReplayNotReady("what a turn brings")
        try:
            batch = self.store.sample(batch_size, length, rows)
        except ReplayNotReady as waiting:
            if self._has_come is None:
                raise
            raise TurnTooSmall(str(waiting)) from waiting
        self.batches.append(batch)
        return batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities; a table refuses what is not finite, a queue all."""
        self.store.update_priorities(keys, priorities)
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
