"""Replay speed per CPU-second on one thread: windows, rows sampled, rows inserted, priorities updated.

    OMP_NUM_THREADS=1 python benchmarks/replay.py [--json FILE]

The table is MuZero's on RAM Breakout (100,000 items, observations of 128 bytes), full, with random priorities. A window
has one observation, six visit distributions and 16 rows of the rest; a transition has its next observation, too. Each
figure is the best of several repetitions: whatever else a machine does only takes time away.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rows import json_option, publish
from segments import random_segment

from rlsys.api import Segments, TableSpec
from rlsys.replay.table import Table
from rlsys.types import ArraySpec, EnvSpec, Source

_ENV = EnvSpec("ALE/Breakout-v5 (ram)", ArraySpec((128,), "uint8"), ArraySpec((), "int64"), num_actions=4)
_EXTRAS = {"visit_probabilities": ArraySpec((4,), "float32"), "root_value": ArraySpec((), "float32")}
_UNROLL, _TD_STEPS, _BATCH, _LENGTH = 5, 10, 256, 500
_SEGMENTS = Segments(length=_LENGTH, overlap=_UNROLL + _TD_STEPS, extras=_EXTRAS)
_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/replay.py"
_TABLE = TableSpec(max_size=100_000, sampler="prioritized")
_WINDOW = _UNROLL + _TD_STEPS + 1
_WINDOW_ROWS = {"observation": 1, "visit_probabilities": _UNROLL + 1}
_TRANSITION_ROWS = {
    "action": 1,
    "reward": 1,
    "terminated": 1,
    "truncated": 1,
    "visit_probabilities": 1,
    "root_value": 1,
}


@dataclass(frozen=True)
class Row:
    """One measurement: `value` in `unit` per CPU-second, what was to be reached, and what a peer was measured at."""

    what: str
    value: float
    unit: str
    target: float
    peer: str
    peer_value: float


def _per_second(work: Callable[[], object], amount: float, repetitions: int = 7, seconds: float = 0.3) -> float:
    """Returns `amount` per call, per CPU-second of this process, in the best repetition."""
    work()
    best = 0.0
    for _ in range(repetitions):
        start, calls = time.process_time(), 0
        while (spent := time.process_time() - start) < seconds:
            work()
            calls += 1
        best = max(best, calls * amount / spent)
    return best


def measure() -> list[Row]:
    """Fills a table and measures four kinds of work on it."""
    rng = np.random.default_rng(0)
    segments = [random_segment(rng, _ENV, _SEGMENTS, Source(0, 0, sequence)) for sequence in range(32)]
    table = Table(_TABLE, _ENV, _SEGMENTS)
    inserts, updates = itertools.count(), itertools.count()

    def insert() -> None:
        sequence = next(inserts)
        segment = segments[sequence % len(segments)]
        segment.source = Source(0, 0, sequence)
        assert table.insert(segment)

    for _ in range(300):
        insert()
    keys = [table.sample(_BATCH, 1).key for _ in range(64)]
    priorities = rng.random((64, _BATCH))

    def update() -> None:
        i = next(updates) % len(keys)
        assert table.update_priorities(keys[i], priorities[i]) == 0

    windows = _per_second(lambda: table.sample(_BATCH, _WINDOW, _WINDOW_ROWS), 1)
    transitions = _per_second(lambda: table.sample(_BATCH, 2, _TRANSITION_ROWS), _BATCH)
    updated = _per_second(update, _BATCH)
    inserted = _per_second(insert, _LENGTH)
    return [
        Row(f"sample {_BATCH} windows of {_WINDOW} rows", windows, "batches/s", 3_000, "model-based-rl", 125),
        Row(f"sample transitions, {_BATCH} at a time", transitions, "rows/s", 1_500_000, "cpprb", 894_000),
        Row(f"insert segments of {_LENGTH} items", inserted, "rows/s", 3_500_000, "cpprb", 3_376_000),
        Row(f"update priorities, {_BATCH} at a time", updated, "priorities/s", 7_000_000, "cpprb", 6_713_000),
    ]


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    json_option(parser)
    path = parser.parse_args().json
    publish(path, measure(), _line, command=_COMMAND)


def _line(row: Row) -> str:
    return (
        f"{row.what:36} {row.value:>12,.0f} {row.unit:12}  to reach {row.target:>9,.0f}  "
        f"{row.peer} {row.peer_value:,.0f}"
    )


if __name__ == "__main__":
    main()
