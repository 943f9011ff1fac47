"""Whose turn it is where collecting and learning alternate, from the side of a worker that collects."""

from collections.abc import Sequence

import numpy as np

from rlsys.api import Saved
from rlsys.types import Segment, Unrolls

_NONE = -1


class Turn:
    """Counts what each environment has completed, and remembers for which turn that was."""

    def __init__(self, unrolls: int, num_environments: int) -> None:
        """Takes the unrolls that each environment collects in one turn; 0: it is always the worker's."""
        self.unrolls = unrolls
        self._completed = np.zeros(num_environments, np.int64)
        self._collected = _NONE

    def collected(self, completed: Sequence[Segment | Unrolls], turn: int) -> None:
        """Notes what one step completed, with the weights of some turn."""
        if not self.unrolls:
            return
        for block in completed:
            assert isinstance(block, Unrolls)
            np.add.at(self._completed, block.environment % len(self._completed), 1)
        if (self._completed >= self.unrolls).all():
            self._completed -= self.unrolls  # after a time limit an environment may be an unroll ahead
            self._collected = turn

    def is_over(self, turn: int) -> bool:
        """Tells whether the worker has collected its share of this turn, the newest that the learner asked for.

        A learner that goes on from a checkpoint asks for an earlier one, whose unrolls are lost: it begins again, too.
        """
        return bool(self.unrolls) and self._collected == turn

    def save(self) -> Saved:
        """Returns what was collected, and for which turn."""
        return {"completed": self._completed.copy(), "collected": self._collected}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._completed[:] = saved["completed"]
        self._collected = saved["collected"]
