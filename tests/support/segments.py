"""Segments of the counting environment."""

import numpy as np

from rlsys.runs.spec import RunSpec
from rlsys.types import Segment, Source


def make_segment(spec: RunSpec, episode: int, rows: int = 20, worker: int = 0) -> Segment:
    """A whole episode of the counting environment, its priorities 1, 2, 3, …."""
    steps = np.arange(rows + 1)
    seen = np.stack([np.full(rows + 1, worker), np.full(rows + 1, episode), steps], axis=1).astype(np.float32)
    terminated = steps[1:] == rows
    return Segment(
        observation=seen,
        action=np.zeros(rows, np.int64),
        reward=steps[1:].astype(np.float32),
        terminated=terminated,
        truncated=np.zeros(rows, np.bool_),
        extras={"seen": seen.copy(), "value": steps.astype(np.float32)},
        first_item=0,
        num_items=rows,
        priority=1.0 + steps[:rows].astype(np.float64),
        weights_version=episode,
        source=Source(worker, 0, episode),
    )
