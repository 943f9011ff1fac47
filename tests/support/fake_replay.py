"""A replay of made-up windows, for tests of the learner."""

from collections.abc import Mapping

import numpy as np

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.types import Array, ArraySpec, Batch, EnvSpec

ENV = EnvSpec("fake", ArraySpec((6,), "float32"), ArraySpec((), "int64"), num_actions=3)
BOX = EnvSpec(
    "fake numbers",
    ArraySpec((6,), "float32"),
    ArraySpec((2,), "float32"),
    num_actions=0,
    action_low=(-2.0, 0.0),
    action_high=(2.0, 1.0),
)
IMAGES = EnvSpec("fake images", ArraySpec((32, 32), "uint8"), ArraySpec((), "int64"), num_actions=3, num_stack=2)


class FakeReplay:
    """Windows that are drawn once from a seed; every sample is a slice of them, and updates are remembered.

    Attributes:
      updates: (keys, priorities) of each update.
      windows: what is sampled from; tests may spoil it.
    """

    def __init__(
        self, env: EnvSpec = ENV, *, size: int = 64, length: int = 16, seed: int = 0, first: int = 0, step: int = 1
    ) -> None:
        """Samples windows `first`, `first + step`, … so that two replays can share one batch."""
        self.updates: list[tuple[Array, Array]] = []
        self.windows = make_batch(env, size=size, length=length, seed=seed)
        self._first, self._step = first, step

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        rows = rows or {}
        index = self._first + self._step * np.arange(batch_size)
        windows = self.windows

        def column(name: str, values: Array) -> Array:
            return values[index, : rows.get(name, length)]

        return Batch(
            observation=column("observation", windows.observation),
            action=column("action", windows.action),
            reward=column("reward", windows.reward),
            terminated=column("terminated", windows.terminated),
            truncated=column("truncated", windows.truncated),
            extras={name: column(name, values) for name, values in windows.extras.items()},
            num_rows=np.minimum(windows.num_rows[index], length),
            key=windows.key[index],
            probability=windows.probability[index],
            num_items=windows.num_items,
            weights_version=windows.weights_version[index],
            age=windows.age[index],
        )

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        self.updates.append((keys, priorities))


def make_batch(env: EnvSpec, *, size: int, length: int, seed: int) -> Batch:
    """Draws windows of which none reaches an end."""
    rng, code = np.random.default_rng(seed), action_code(MuZeroConfig(), env)
    visits = rng.random((size, length, *code.policy_shape)).astype(np.float32)
    shape = (size, length, *env.policy_observation.shape)
    priority = rng.random(size) + 0.1
    return Batch(
        observation=(rng.random(shape) * 255).astype(env.observation.dtype),
        action=code.executed(rng.integers(0, code.num_values, (size * length, code.num_factors))).reshape(
            size, length, *env.action.shape
        ),
        reward=rng.normal(size=(size, length)).astype(np.float32),
        terminated=np.zeros((size, length), bool),
        truncated=np.zeros((size, length), bool),
        extras={
            VISITS: visits / visits.sum(axis=-1, keepdims=True),
            ROOT_VALUE: rng.normal(size=(size, length)).astype(np.float32),
        },
        num_rows=np.full(size, length),
        key=np.arange(size) + 1_000,
        probability=priority / priority.sum() / 10.0,
        num_items=10 * size,
        weights_version=np.arange(size),
        age=np.arange(size),
    )
