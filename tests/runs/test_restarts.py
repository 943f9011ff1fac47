"""When workers are started again, and when they count as broken."""

import pytest

from rlsys.errors import WorkerError
from rlsys.runs import restarts
from rlsys.runs.restarts import Restarts
from rlsys.runs.workers import Worker


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(restarts.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_first_restart_is_at_once_and_later_ones_wait_longer(clock: Clock) -> None:
    book = Restarts(most=10)
    assert book.join(Worker.rollout(3), first_incarnation=1_000_000) == 1_000_000
    waits = []
    for _ in range(8):
        book.failed(Worker.rollout(3), "killed")
        book.book(Worker.rollout(3))
        started = clock.now
        while not list(book.due()):
            assert book.is_booked(Worker.rollout(3))
            clock.now += 0.5
        waits.append(clock.now - started)
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]
    assert not book.is_booked(Worker.rollout(3))
    assert book.join(Worker.rollout(3)) == 1_000_001


def test_a_worker_that_fails_too_often_within_ten_minutes_is_broken_and_others_are_not(clock: Clock) -> None:
    book = Restarts(most=2)
    for worker in (Worker.rollout(0), Worker.rollout(1)):
        book.join(worker)
    for _ in range(5):  # far apart
        book.failed(Worker.rollout(0), "killed")
        clock.now += 400
    book.failed(Worker.rollout(0), "killed")
    book.failed(Worker.rollout(1), "killed")
    with pytest.raises(WorkerError, match=r"rollout worker 0 failed 3 times .*worker_restarts = 2\); last: it hangs\."):
        book.failed(Worker.rollout(0), "it hangs")
    assert book.count(Worker.rollout(1)) == 1


def test_a_restart_that_is_cancelled_does_not_come(clock: Clock) -> None:
    book = Restarts(most=2)
    book.join(Worker.rollout(0))
    book.failed(Worker.rollout(0), "killed")
    book.book(Worker.rollout(0))
    book.cancel(Worker.rollout(0))
    clock.now += 100
    assert not list(book.due())
