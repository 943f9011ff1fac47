"""Segments of random numbers, as rollout workers would ship them."""

import numpy as np

from rlsys.api import Segments
from rlsys.types import Array, ArraySpec, EnvSpec, Segment, Source


def random_segment(rng: np.random.Generator, env: EnvSpec, spec: Segments, source: Source) -> Segment:
    """Returns a segment in the middle of an episode, as long as can be; `env` is as replay knows it."""
    rows = spec.length + spec.overlap
    return Segment(
        observation=_draw(rng, env.observation, rows + 1),
        action=rng.integers(0, env.num_actions, rows),
        reward=rng.random(rows, np.float32),
        terminated=np.zeros(rows, np.bool_),
        truncated=np.zeros(rows, np.bool_),
        extras={name: _draw(rng, extra, rows + 1) for name, extra in spec.extras.items()},
        first_item=0,
        num_items=spec.length,
        priority=rng.random(spec.length),
        weights_version=0,
        source=source,
    )


def _draw(rng: np.random.Generator, spec: ArraySpec, rows: int) -> Array:
    shape = (rows, *spec.shape)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    drawn: Array = rng.random(shape).astype(spec.dtype)
    return drawn
