"""Whose turn it is where collecting and learning alternate, from the side of a worker that collects."""

from collections.abc import Sequence

import numpy as np

from rlsys.api import Saved, Turns
from rlsys.types import Array, Item, UnrollBlock

_NONE = -1


class Turn:
    """Counts what each environment has completed, and remembers for which turn that was."""

    def __init__(self, turns: Turns | None, num_environments: int, total: int) -> None:
        """Begins before the first turn.

        Args:
          turns: how much is collected in one; None: it is always the worker's.
          num_environments: of this worker.
          total: of all workers.
        """
        self._turns = turns
        self._share = turns.unrolls or turns.episodes or -(-turns.rows // total) if turns else 0
        self._completed = np.zeros(num_environments, np.int64)
        self._collected = _NONE

    @property
    def is_taken(self) -> bool:
        """Whether there are turns at all."""
        return self._turns is not None

    def ends_with(self, first: Array) -> bool:
        """Tells whether a step completes the share, so that all that waits to be sent is sent.

        Unrolls are sent when they are full.

        Args:
          first: `[E]` bool, where it ended an episode.
        """
        if self._turns is None or self._turns.unrolls:
            return False
        return bool((self._completed + self._counted(first) >= self._share).all())

    def collected(self, completed: Sequence[Item], first: Array, turn: int) -> None:
        """Notes what one step completed, with the weights of some turn."""
        if self._turns is None:
            return
        if self._turns.unrolls:
            for block in completed:
                assert isinstance(block, UnrollBlock), "segments are not counted"
                np.add.at(self._completed, block.environment % len(self._completed), 1)
        else:
            self._completed += self._counted(first)
        if (self._completed >= self._share).all():
            if self._turns.unrolls:  # after a time limit an environment may be an unroll ahead
                self._completed -= self._share
            else:
                self._completed[:] = 0
            self._collected = turn

    def is_over(self, turn: int) -> bool:
        """Tells whether the worker has collected its share of this turn, the newest that the learner asked for.

        A learner that goes on from a checkpoint asks for an earlier one, whose items are lost: it begins again, too.
        """
        return self._turns is not None and self._collected == turn

    def save(self) -> Saved:
        """Returns what was collected, and for which turn."""
        return {"completed": self._completed.copy(), "collected": self._collected}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._completed[:] = saved["completed"]
        self._collected = saved["collected"]

    def _counted(self, first: Array) -> Array:
        assert self._turns is not None
        return first.astype(np.int64) if self._turns.episodes else np.ones(len(first), np.int64)
