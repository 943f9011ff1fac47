"""A queue for learners that are to be fed the same twice: what it gives out depends on nothing but how much it gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rlsys.api import SegmentSpec
from rlsys.types import Array, ArraySpec, Batch, EnvSpec


@dataclass(frozen=True)
class Emptiness:
    """What a shard says of itself in which nothing waits."""

    num_items: int = 0
    inserted_items: int = 0
    stats: Mapping[str, float] = field(default_factory=dict)


class NumberedQueue:
    """Gives out batches that are drawn from its index and their number alone; has the interface of a queue's shard."""

    def __init__(self, env: EnvSpec, segments: SegmentSpec, index: int, number: int) -> None:
        """Goes on with batch `number`."""
        self._env = env
        self._segments = segments
        self._index = index
        self._number = number

    def batch(self, size: int) -> Batch:
        """Returns the next one, of unrolls of `size` environments."""
        env, segments, number = self._env, self._segments, self._number
        self._number += 1
        rng, rows = np.random.default_rng([self._index, number]), (size, segments.length)

        def drawn(spec: ArraySpec, *shape: int) -> Array:
            largest = 255 if spec.dtype == "uint8" else 1
            return (rng.random((*shape, *spec.shape)) * largest).astype(spec.dtype)

        seen = replace(env.observation, shape=env.policy_observation.shape)
        return Batch(
            observation=drawn(seen, size, segments.length + 1),
            action=rng.integers(0, env.num_actions, rows),
            reward=rng.integers(-1, 2, rows).astype(np.float32),
            terminated=rng.random(rows) < 0.02,
            truncated=np.zeros(rows, bool),
            extras={name: -drawn(spec, *rows) for name, spec in segments.extras.items()},
            num_rows=np.full(size, segments.length),
            key=np.zeros(size, np.int64),
            probability=np.ones(size),
            num_items=size,
            weights_version=np.zeros(size, np.int64),
            state={name: drawn(spec, size) for name, spec in segments.state.items()},
            environment=np.arange(size) + self._index * size,
            position=np.full(size, number),
        )

    async def take(self, batch_size: int, patience_s: float) -> tuple[Batch, Emptiness]:
        """Gives out a batch at once."""
        return self.batch(batch_size), Emptiness()
