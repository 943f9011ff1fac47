"""A policy that finds out anew what replay keeps of stored rows, in turns with decisions in environments.

Schrittwieser et al. 2020, appendix H, https://arxiv.org/abs/1911.08265, calls it Reanalyze.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rlsys.api import Policy, Refreshed, Refreshing, ReplayNotReady, Saved, StoredRows


class Stored(Protocol):
    """Rows of replay that wait to be refreshed."""

    def draw(self, count: int, timeout_s: float) -> StoredRows | None:
        """Returns rows, each of replay's equally likely; None where none came in time: ask again.

        Raises:
          ReplayNotReady: there are too few rows yet, or enough were refreshed.
        """

    def write(self, rows: StoredRows, refreshed: Refreshed, weights_version: int) -> None:
        """Writes back what was found out about the rows that were drawn last."""


class Refresher:
    """Holds the share of refreshed rows in all that a policy is asked: of itself, for it owes rows for decisions."""

    def __init__(
        self,
        policy: Policy,
        refreshing: Refreshing | None,
        timed: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Begins owing nothing.

        Args:
          policy: of the algorithm.
          refreshing: how much it refreshes; None for nothing.
          timed: part of a step ("wait_rows", "refresh") -> a context around it.
        """
        self._policy = policy
        self._timed = timed
        self._batch_size = refreshing.batch_size if refreshing else 1
        owes = refreshing is not None and not (refreshing.workers and refreshing.share < 1.0)
        self._rows_per_decision = refreshing.rows_per_decision if refreshing and owes else 0.0
        self._owed = 0.0

    def decided(self, count: int) -> None:
        """Takes in decisions in environments."""
        self._owed += count * self._rows_per_decision

    @property
    def is_due(self) -> bool:
        """Whether a batch of rows is owed: always, where nobody decides."""
        return self._owed >= self._batch_size or self._rows_per_decision == math.inf

    def step(self, stored: Stored, weights_version: int, timeout_s: float = 0.0) -> int:
        """Refreshes a batch of rows; returns how many, 0 where they did not come in time.

        Raises:
          ReplayNotReady: replay has none to refresh; nothing is owed for decisions until then.
        """
        try:
            with self._timed("wait_rows"):
                rows = stored.draw(self._batch_size, timeout_s)
        except ReplayNotReady:
            self._owed = 0.0
            raise
        if rows is None:
            return 0
        with self._timed("refresh"):
            stored.write(rows, self._policy.refresh(rows.observation), weights_version)
        self._owed -= len(rows.key)
        return len(rows.key)

    def save(self) -> Saved:
        """Returns what is owed."""
        return {"owed": self._owed}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._owed = saved["owed"]
