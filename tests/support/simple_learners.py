"""A small SimPLe learner on Catch, and replay that makes up its turns."""

from typing import Any

import numpy as np

from rlsys.algorithms.simple import ALGORITHM, SimpleConfig
from rlsys.algorithms.simple.learner import SimpleLearner
from rlsys.api import LearnerContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.types import Array, Batch

CATCH = env_spec(EnvConfig(id="catch", stack_states=4, clip_rewards=True))
SMALL = SimpleConfig(**{**ALGORITHM.debug, "epochs": 2, "num_real_env_frames": 128})
BATCH_SIZE = 2


class Collected:
    """Replay that makes up a turn whenever it is asked, each of other games."""

    def __init__(self, config: SimpleConfig = SMALL) -> None:
        self.turns = 0
        self._config = config

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Batch:
        assert (batch_size, length) == (BATCH_SIZE, self._config.real_unroll_length + 1)
        rng = np.random.default_rng(self.turns)
        shape = (batch_size, length - 1)
        self.turns += 1
        return Batch(
            observation=rng.integers(0, 256, (batch_size, length, *CATCH.policy_observation.shape), dtype=np.uint8),
            action=rng.integers(0, 3, shape),
            reward=rng.integers(-1, 2, shape).astype(np.float32),
            terminated=np.zeros(shape, bool),
            truncated=np.zeros(shape, bool),
            extras={name: np.full(shape, -1.0, np.float32) for name in ("log_probability", "value")},
            num_rows=np.full(batch_size, length - 1),
            key=np.zeros(batch_size, np.int64),
            probability=np.ones(batch_size),
            num_items=batch_size,
            weights_version=np.zeros(batch_size, np.int64),
            environment=np.zeros(batch_size, np.int64),
            position=np.arange(batch_size) + batch_size * self.turns,
        )

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        raise AssertionError("a queue has no priorities")


def make_learner(config: SimpleConfig = SMALL, **context: Any) -> SimpleLearner:
    return SimpleLearner(LearnerContext(config, CATCH, seed=0, batch_size=BATCH_SIZE, **context))


def run_to_the_end(learner: SimpleLearner, replay: Collected) -> list[dict[str, float]]:
    metrics = []
    while learner.steps_left():
        metrics.append(dict(learner.step(replay)))
        assert len(metrics) < 100
    return metrics
