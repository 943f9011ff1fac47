"""Where time goes: parts within parts, and what is made of their shares."""

import time

import pytest

from rlsys.metrics import timing
from rlsys.metrics.timing import Stopwatch, by_kind, mean_row, share_name, shares_in, shares_of


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    return clock


def test_every_moment_belongs_to_the_innermost_part(clock: Clock) -> None:
    watch = Stopwatch()
    clock.now = 1.0
    with watch.part("update"):
        clock.now = 3.0
        with watch.part("wait_replay"):
            clock.now = 7.0
        clock.now = 15.0
    clock.now = 31.0
    assert watch.take() == {"other": 17.0, "update": 10.0, "wait_replay": 4.0}


def test_a_part_that_is_under_way_is_told_up_to_now_and_goes_on(clock: Clock) -> None:
    watch = Stopwatch("wait")
    with watch.part("insert"):
        clock.now = 2.0
        assert watch.take() == {"wait": 0.0, "insert": 2.0}
        clock.now = 5.0
    assert watch.take() == {"wait": 0.0, "insert": 3.0}


def test_a_part_ends_with_what_is_raised_in_it(clock: Clock) -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.part("act"):
        clock.now = 1.0
        raise ValueError("no")
    clock.now = 3.0
    assert watch.take() == {"other": 2.0, "act": 1.0}


def test_parts_add_up_to_the_time_that_has_passed() -> None:
    started = time.perf_counter()
    watch = Stopwatch()
    for _ in range(1_000):
        with watch.part("env"), watch.part("act"):
            pass
    spent = watch.take()
    assert set(spent) == {"other", "env", "act"}
    assert 0.0 < sum(spent.values()) <= time.perf_counter() - started


def test_shares_are_told_by_kind_the_largest_first() -> None:
    shares = shares_of({"env": 3.0, "act": 1.0})
    assert shares == {"env": 0.75, "act": 0.25}
    assert shares_of({}) == shares_of({"env": 0.0}) == {}
    row = {share_name("rollout", part): share for part, share in reversed(shares.items())}
    row |= {"workers/learner_wait_replay_share": 1.0}
    others = {"learner/idle_share": 1.0, "workers/restarts": 2.0, "inference/busy_share": 0.5}
    assert shares_in(row | others) == row
    assert by_kind(row) == {"learner": {"wait_replay": 1.0}, "rollout": shares}
    assert list(by_kind(row)["rollout"]) == ["env", "act"]


def test_rows_are_averaged_by_their_seconds_and_unknown_values_do_not_count() -> None:
    rows = [(1.0, {"a": 1.0, "b": 4.0}), (3.0, {"a": 5.0, "b": float("nan")})]
    assert mean_row(rows) == {"a": 4.0, "b": 4.0}
    assert mean_row([]) == {}
