"""A small PPO learner on CartPole, and unrolls of noise for it."""

from typing import Any

import numpy as np

from rlsys.algorithms.ppo import PPOConfig
from rlsys.algorithms.ppo.learner import PPOLearner
from rlsys.api import LearnerContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.types import Array, Batch, EnvSpec

CARTPOLE = env_spec(EnvConfig(id="CartPole-v1"))
SMALL = PPOConfig(hidden_size=16, epoch_length=6, optimization_epochs=2, optimization_batch_size=3)
BATCH_SIZE = 3


class OneBatch:
    """Replay that always gives the same batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Batch:
        assert (batch_size, length) == (len(self.batch.reward), self.batch.reward.shape[1] + 1)
        return self.batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        raise AssertionError("a queue has no priorities")


def make_batch(config: PPOConfig, env: EnvSpec = CARTPOLE, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (BATCH_SIZE, config.epoch_length)
    return Batch(
        observation=rng.normal(size=(shape[0], shape[1] + 1, *env.policy_observation.shape)).astype(np.float32),
        action=rng.integers(0, env.num_actions, shape),
        reward=rng.normal(size=shape).astype(np.float32),
        terminated=np.zeros(shape, bool),
        truncated=np.zeros(shape, bool),
        extras={
            "log_probability": np.full(shape, -np.log(env.num_actions), np.float32),
            "value": rng.normal(size=shape).astype(np.float32),
        },
        num_rows=np.full(shape[0], shape[1]),
        key=np.zeros(shape[0], np.int64),
        probability=np.ones(shape[0]),
        num_items=shape[0],
        weights_version=np.zeros(shape[0], np.int64),
    )


def make_learner(config: PPOConfig) -> PPOLearner:
    return PPOLearner(LearnerContext(config, CARTPOLE, seed=0, batch_size=BATCH_SIZE))
