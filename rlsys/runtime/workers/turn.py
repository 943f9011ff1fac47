"""Whose turn it is where collecting and learning alternate, from the side of a worker that collects."""

import time
from collections.abc import Sequence

import numpy as np

from rlsys.api import Saved
from rlsys.types import Segment, Unrolls

_PATIENCE_S = 30.0
"""After so long without news a worker collects again: its batch may have been lost with a shard."""


class Turn:
    """Counts what each environment has completed, and remembers with which weights."""

    def __init__(self, unrolls: int, num_environments: int) -> None:
        """Takes the unrolls that each environment collects in one turn; 0: it is always the worker's."""
        self.unrolls = unrolls
        self._completed = np.zeros(num_environments, np.int64)
        self._collected_with = -2
        self._over_since = 0.0

    def collected(self, completed: Sequence[Segment | Unrolls], learner_step: int) -> None:
        """Notes what one step completed, with weights of some learner step."""
        if not self.unrolls:
            return
        for block in completed:
            assert isinstance(block, Unrolls)
            np.add.at(self._completed, block.environment % len(self._completed), 1)
        if (self._completed >= self.unrolls).all():
            self._completed -= self.unrolls  # after a time limit an environment may be an unroll ahead
            self._collected_with = learner_step
            self._over_since = time.monotonic()

    def is_over(self, learner_step: int) -> bool:
        """Tells whether the learner has yet to learn from the last turn, or another worker to collect its share.

        A learner that goes on from a checkpoint has lost what was collected: then the turn begins again, too.
        """
        if self._collected_with != learner_step or not self.unrolls:
            return False
        return time.monotonic() - self._over_since < _PATIENCE_S

    def save(self) -> Saved:
        """Returns what was collected, and with which weights."""
        return {"completed": self._completed.copy(), "collected_with": self._collected_with}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._completed[:] = saved["completed"]
        self._collected_with = saved["collected_with"]
        self._over_since = time.monotonic()
