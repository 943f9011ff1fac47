"""Which workers are to be started again: when, under which incarnation, and how often that may happen."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlsys.errors import WorkerError
from rlsys.runs.workers import Worker

_WINDOW_S = 600.0
_LONGEST_DELAY_S = 30.0


@dataclass
class _Slot:
    """The place of one worker: its incarnation, its recent failures, and when to start it again."""

    incarnation: int
    failures: deque[float] = field(default_factory=deque)
    start_at: float | None = None


class Restarts:
    """Books restarts with exponential delay, within a budget per worker."""

    def __init__(self, most: int) -> None:
        """Takes the failures within ten minutes after which a worker counts as broken."""
        self._most = most
        self._slots: dict[Worker, _Slot] = {}

    def join(self, worker: Worker, first_incarnation: int = 0) -> int:
        """Returns the incarnation of a worker that is started now: the first of its place, or the next one."""
        if worker in self._slots:
            self._slots[worker].incarnation += 1
        else:
            self._slots[worker] = _Slot(first_incarnation)
        return self._slots[worker].incarnation

    def failed(self, worker: Worker, reason: str) -> None:
        """Notes that a worker failed.

        Raises:
          WorkerError: it has failed too often.
        """
        failures, now = self._slots[worker].failures, time.monotonic()
        while failures and now - failures[0] > _WINDOW_S:
            failures.popleft()
        failures.append(now)
        if len(failures) > self._most:
            raise WorkerError(
                f"{worker.title} failed {len(failures)} times within ten minutes "
                f"(runtime.worker_restarts = {self._most}); last: {reason}. "
                "See the worker's log in Ray's session folder, or run with --inline to debug."
            )

    def book(self, worker: Worker) -> None:
        """Has a worker started again: at once after a first failure, later and later after more."""
        count = self.count(worker)
        delay = 0.0 if count <= 1 else min(_LONGEST_DELAY_S, 2.0 ** (count - 2))
        self._slots[worker].start_at = time.monotonic() + delay

    def cancel(self, worker: Worker) -> None:
        """Has a worker not started again."""
        self._slots[worker].start_at = None

    def is_booked(self, worker: Worker) -> bool:
        """Returns whether a worker is gone and will be started again."""
        return self._slots[worker].start_at is not None

    def due(self) -> Iterator[Worker]:
        """Yields the workers that are to be started now, each once."""
        for worker, slot in self._slots.items():
            if slot.start_at is not None and slot.start_at <= time.monotonic():
                slot.start_at = None
                yield worker

    def count(self, worker: Worker) -> int:
        """Returns how often a worker failed within the last ten minutes."""
        return len(self._slots[worker].failures)
