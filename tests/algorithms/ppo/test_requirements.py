"""Settings of PPO that cannot work."""

from typing import Any

import pytest
from support.ppo_batches import CARTPOLE

from rlsys.algorithms.ppo import ALGORITHM, PPOConfig
from rlsys.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy_network": "cnn_small"}, r"cnn_small with observations of shape \(4,\).*Set ppo.policy_network=auto"),
        ({"optimization_batch_size": 151}, "optimization_batch_size = 151 time steps; an iteration has 150"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(PPOConfig(**settings), CARTPOLE, 16, 1)
