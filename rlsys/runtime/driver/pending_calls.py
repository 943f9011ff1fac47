"""The calls that the supervisor has on their way, each to one worker."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError

from rlsys.runs.workers import Worker, WorkerKind

CallKind = Literal[
    "rollout",
    "successor",
    "start",
    "join",
    "learner",
    "begin",
    "snapshot",
    "evaluator",
    "shard",
    "inference",
    "reanalyse",
    "server",
]

_OWED_BY: dict[CallKind, WorkerKind] = {
    "rollout": WorkerKind.ROLLOUT,
    "join": WorkerKind.ROLLOUT,
    "learner": WorkerKind.LEARNER,
    "begin": WorkerKind.LEARNER,
    "shard": WorkerKind.SHARD,
    "inference": WorkerKind.INFERENCE,
    "reanalyse": WorkerKind.REANALYSE,
    "server": WorkerKind.SERVER,
}
_STORE_IS_FULL = (
    "Ray's object store on its machine is full, and so is the disk that it would spill to; give it more (free "
    "/dev/shm, docker run --shm-size, ray start --object-store-memory), or lower runtime.batches_in_flight, "
    "segments_in_flight or environments_per_worker"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DETAIL = re.compile(r"(class_name|actor_id|pid|name|namespace|ip):( |$)")
"""Begins lines with which Ray says which actor it was, after what happened to it."""


@dataclass(frozen=True)
class Call:
    """One call on its way: of which kind, to which worker, since when (monotonic seconds)."""

    kind: CallKind
    index: int
    since: float

    @property
    def age_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.since

    @property
    def worker(self) -> Worker | None:
        """Who owes the answer, where being late says something about the worker."""
        kind = _OWED_BY.get(self.kind)
        return None if kind is None else Worker(kind, self.index)


class PendingCalls:
    """Remembers what each reference that Ray returned stands for, until it is there or nobody wants it any more."""

    def __init__(self) -> None:
        self._calls: dict[ray.ObjectRef, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    def track(self, kind: CallKind, index: int, reference: ray.ObjectRef) -> None:
        """Takes in a call that was made now."""
        self._calls[reference] = Call(kind, index, time.monotonic())

    def busy(self, *kinds: CallKind, index: int | None = None) -> bool:
        """Returns whether calls of these kinds are on their way, to anybody or to one worker."""
        return any(call.kind in kinds and index in (None, call.index) for call in self._calls.values())

    def forget(self, *kinds: CallKind, index: int | None = None) -> None:
        """Drops the calls of these kinds, to anybody or to one worker: who owes the answer is gone, or about to be."""
        for reference, call in list(self._calls.items()):
            if call.kind in kinds and index in (None, call.index):
                del self._calls[reference]

    def ended(self, timeout_s: float) -> Iterator[tuple[Call, Any]]:
        """Yields each call that has ended with its result, or its RayError, waiting up to `timeout_s` for the first."""
        if not self._calls:
            time.sleep(timeout_s)
            return
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is None:  # what came of an earlier one made it pointless
                continue
            try:
                result = ray.get(reference)
            except RayError as error:
                result = error
            yield call, result


def brief(error: BaseException) -> str:
    """Returns an error's type and its last line, which in a traceback says what happened."""
    if isinstance(error, ObjectStoreFullError | OutOfDiskError):
        return _STORE_IS_FULL
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not _DETAIL.match(line)]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__
