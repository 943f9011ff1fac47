"""Rows are refreshed as often as decisions were made for them."""

from typing import Any

import numpy as np
import pytest

from rlsys.api import Refreshed, Refreshing, ReplayNotReady, StoredRows
from rlsys.collector import Refresher


class Rows:
    """Rows that are all alike; none, or none in time, where a test says so."""

    def __init__(self) -> None:
        self.waits: str | None = None
        self.is_late = False
        self.written: list[tuple[int, float, int]] = []

    def draw(self, count: int, timeout_s: float) -> StoredRows | None:
        if self.waits is not None:
            raise ReplayNotReady(self.waits)
        return None if self.is_late else StoredRows(np.full((count, 2), 3.0), np.arange(count))

    def write(self, rows: StoredRows, refreshed: Refreshed, weights_version: int) -> None:
        self.written.append((len(rows.key), float(refreshed.extras["sum"].sum()), weights_version))


class Summing:
    """A policy that finds out the sum of an observation."""

    def refresh(self, observation: np.ndarray) -> Refreshed:
        return Refreshed({"sum": observation.sum(axis=1)})


def make(share: float, workers: int = 0) -> Refresher:
    policy: Any = Summing()
    return Refresher(policy, Refreshing(share, batch_size=10, workers=workers))


@pytest.mark.parametrize(("share", "per_decision"), [(0.5, 1.0), (0.8, 4.0), (0.2, 0.25)])
def test_the_share_is_that_of_all_that_a_policy_is_asked(share: float, per_decision: float) -> None:
    refresher, rows, refreshed = make(share), Rows(), 0
    for step in range(1, 200):
        refresher.decided(3)
        while refresher.is_due:
            refreshed += refresher.step(rows, weights_version=step)
        assert 0 <= 3 * step * per_decision - refreshed < 10 + 1e-6
    assert rows.written[0][:2] == (10, 60.0)
    assert rows.written[-1][2] > 190 - 10 / per_decision


def test_rows_that_do_not_come_in_time_are_still_owed_and_those_that_replay_has_not_are_not() -> None:
    refresher, rows = make(0.5), Rows()
    refresher.decided(25)
    rows.is_late = True
    assert refresher.step(rows, 0) == 0
    assert refresher.is_due
    rows.is_late, rows.waits = False, "3 of 5 items"
    with pytest.raises(ReplayNotReady, match="3 of 5"):
        refresher.step(rows, 0)
    assert not refresher.is_due
    assert not rows.written


def test_it_goes_on_from_what_was_saved() -> None:
    refresher, again = make(0.8), make(0.8)
    refresher.decided(3)
    again.load(refresher.save())
    assert refresher.is_due and again.is_due
    again.step(Rows(), 0)
    assert not again.is_due


@pytest.mark.parametrize("workers", [0, 1])
def test_where_nobody_decides_a_batch_is_always_owed(workers: int) -> None:
    refresher, rows = make(1.0, workers), Rows()
    assert refresher.is_due
    rows.waits = "the learner"
    with pytest.raises(ReplayNotReady):
        refresher.step(rows, 0)
    assert refresher.is_due


def test_who_has_workers_of_their_own_for_it_or_refreshes_nothing_owes_nothing() -> None:
    policy: Any = Summing()
    for refresher in (make(0.5, workers=1), Refresher(policy, None)):
        refresher.decided(1_000)
        assert not refresher.is_due
