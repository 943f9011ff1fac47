"""Random segments for tables, of vectors and of pixels."""

import numpy as np

from rlsys.api import Segments
from rlsys.types import ArraySpec, EnvSpec, Segment, Source

EXTRAS = {"policy": ArraySpec((4,), "float32"), "value": ArraySpec((), "float32")}
RAM = EnvSpec("ram", ArraySpec((7,), "uint8"), ArraySpec((), "int64"), num_actions=4)
PIXELS = EnvSpec("pixels", ArraySpec((40, 30), "uint8"), ArraySpec((2,), "float32"), num_actions=0, num_stack=3)
SEGMENTS = Segments(length=12, overlap=4, extras=EXTRAS)


def random_segment(rng, env, sequence, num_rows=None, with_priority=True):
    """A random segment; priorities are whole numbers, so that sums of them are exact."""
    num_rows = num_rows or int(rng.integers(1, 17))
    first = int(rng.integers(0, min(3, num_rows)))
    num_items = int(rng.integers(1, num_rows - first + 1))
    terminated, truncated = np.zeros(num_rows, bool), np.zeros(num_rows, bool)
    terminated[-1], truncated[-1] = rng.random(2) < 0.3
    return Segment(
        observation=rng.integers(1, 255, (num_rows + 1, *env.observation.shape)).astype(env.observation.dtype),
        action=rng.integers(1, 5, (num_rows, *env.action.shape)).astype(env.action.dtype),
        reward=rng.random(num_rows).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        extras={name: rng.random((num_rows + 1, *s.shape)).astype(s.dtype) for name, s in EXTRAS.items()},
        first_item=first,
        num_items=num_items,
        priority=rng.integers(0, 5, num_items).astype(float) if with_priority else None,
        weights_version=int(rng.integers(100)),
        source=Source(int(rng.integers(3)), 0, sequence),
    )
