"""Replay without limiter or processes: of a store, of batches that are given out again, and of nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from rlsys.api import NothingToDraw, ReplayNotReady, SequenceQuery, TurnTooSmall
from rlsys.replay.stores import Store
from rlsys.testing.requirement import require
from rlsys.types import Array, Batch, Sequences

_Drawn = TypeVar("_Drawn", Batch, Sequences)


class StoreReplay:
    """A store.

    Attributes:
      store: what it draws from.
      turn: the newest that was asked for.
      batches: what it has given out, or that there was nothing; whoever looks at it clears it.
      priorities: keys and priorities of each update of them, likewise.
    """

    def __init__(
        self, store: Store, has_come: Callable[[], bool] | None = None, environments: Sequence[int] = ()
    ) -> None:
        """Takes a store.

        Args:
          store: what it draws from.
          has_come: where it is filled in turns: whether all of the one that was asked for has come.
          environments: that take turns.
        """
        self.store = store
        self.turn = -1
        self._has_come = has_come
        self._environments = environments
        self.batches: list[Batch | Sequences | NothingToDraw] = []
        self.priorities: list[tuple[Array, Array]] = []

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch."""
        return self._given(lambda: self.store.sample(batch_size, length, rows))

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes."""
        try:
            return self._given(lambda: self.store.sequences(query))
        except NothingToDraw as nothing:
            if self._has_come is None:
                raise ReplayNotReady(str(query)) from None
            self.batches.append(nothing)
            raise

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what the newest turn brought."""
        return self._given(lambda: self.store.collected(self.turn, unrolls, length, self._environments))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities; a table refuses what is not finite, a queue all."""
        self.store.update_priorities(keys, priorities)
        self.priorities.append((keys.copy(), priorities.copy()))

    def _given(self, draw: Callable[[], _Drawn]) -> _Drawn:
        if self._has_come is not None and not self._has_come():
            raise ReplayNotReady("what a turn brings")
        try:
            batch: _Drawn = draw()
        except ReplayNotReady as waiting:
            if self._has_come is None:
                raise
            raise TurnTooSmall(str(waiting)) from waiting
        for array in (*vars(batch).values(), *batch.extras.values()):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False  # as what comes from another process is
        self.batches.append(batch)
        return batch


class RepeatedReplay:
    """Gives out batches once more, in the order in which they were given out before.

    Attributes:
      priorities: keys and priorities of each update of them.
    """

    def __init__(self, batches: Sequence[Batch | Sequences | NothingToDraw]) -> None:
        self._batches = list(batches)
        self.priorities: list[tuple[Array, Array]] = []

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the next one."""
        batch = self._next(Batch)
        require(
            len(batch.reward) == batch_size,
            f"a restored learner samples as the one that was saved; it asks for {batch_size} items, not for "
            f"{len(batch.reward)}",
        )
        return batch

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Returns the next one."""
        windows = self._next(Sequences)
        require(
            windows.mask.shape == (query.batch_size, query.length),
            f"a restored learner draws as the one that was saved; it asks for {query.batch_size} windows of "
            f"{query.length} rows, not for {windows.mask.shape}",
        )
        return windows

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns the next one."""
        return self._next(Batch)

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Keeps them."""
        self.priorities.append((np.array(keys), np.array(priorities)))

    def _next(self, kind: type[_Drawn]) -> _Drawn:
        require(bool(self._batches), "a restored learner samples as often as the one that was saved; it samples again")
        batch = self._batches.pop(0)
        if isinstance(batch, NothingToDraw):
            raise batch
        require(
            isinstance(batch, kind),
            f"a restored learner draws as the one that was saved; it asks for {kind.__name__}, not for "
            f"{type(batch).__name__}",
        )
        return cast("_Drawn", batch)


class NeverReady:
    """Has nothing, ever."""

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Says so."""
        raise ReplayNotReady("nothing will ever come")

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Says so."""
        raise ReplayNotReady("nothing will ever come")

    def collected(self, unrolls: int, length: int) -> Batch:
        """Says so."""
        raise ReplayNotReady("nothing will ever come")

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Refuses: nothing was sampled."""
        require(False, "priorities are of what was sampled; some were sent before a sample")
