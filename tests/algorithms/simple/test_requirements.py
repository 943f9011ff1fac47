"""Settings of SimPLe that cannot work."""

from typing import Any

import pytest
from algorithms.simple.small_learners import CATCH, SMALL

from rlsys.algorithms.simple import ALGORITHM, SimpleConfig
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ppo": {"epoch_length": 20}},
            r"simple.ppo.epoch_length = 20 has no effect .*; simple.real_unroll_length and",
        ),
        ({"real_unroll_length": 2}, r"simple.real_unroll_length gives 6 in optimization_epochs = 3. Lower it"),
        ({"wm_eval_rollout_ratios": (0.5, 0.0)}, r"wm_eval_rollout_ratios has 0.0; shares of a rollout"),
        ({"model_train_steps": 0}, "model_train_steps = 0 without simple.load_world_from; the policy would learn in a"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(SimpleConfig(**changes), CATCH, 4, 1)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (EnvConfig(id="CartPole-v1"), "simple predicts pictures of bytes, at least 16×16"),
        (EnvConfig(id="catch", stack_states=2), "env.stack_states = 2; simple's model begins from 4 frames"),
        (EnvConfig(id="catch", stack_states=4), "env.clip_rewards = false; simple foretells rewards of -1, 0 and 1"),
    ],
)
def test_what_cannot_be_foretold_is_refused(env: EnvConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(SMALL, env_spec(env), 4, 1)


def test_ranks_share_batches_evenly() -> None:
    with pytest.raises(ConfigError, match=r"simple.simulated_batch_size = 2 is not divisible by runtime.learners = 4"):
        ALGORITHM.check(SMALL, CATCH, 4, 4)
