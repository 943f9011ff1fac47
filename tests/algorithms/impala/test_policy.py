"""What acts in IMPALA."""

import numpy as np
import torch
from algorithms.impala.small_environments import SMALL, make_env

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.networks import make_network
from rlsys.algorithms.impala.policy import ImpalaPolicy
from rlsys.algorithms.impala.requirements import LAST_REWARD
from rlsys.api import PolicyContext
from rlsys.types import Weights


def test_actions_are_drawn_from_the_policy_and_greedy_in_evaluation() -> None:
    env = make_env((4,), "float32", num_actions=3)
    config = ImpalaConfig(**SMALL)
    policy = ImpalaPolicy(PolicyContext(config, env, seed=0))
    network = make_network(config, env)
    with torch.no_grad():
        network.policy.bias.copy_(torch.tensor([2.0, 0.0, 1.0]))
        network.policy.weight.zero_()
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    observation, state = np.zeros((4000, 4), np.float32), policy.initial_state(4000)
    drawn = np.bincount(policy.act(observation, state, explore=True).action, minlength=3) / 4000
    np.testing.assert_allclose(drawn, torch.softmax(torch.tensor([2.0, 0.0, 1.0]), dim=0).numpy(), atol=0.03)
    assert (policy.act(observation, state, explore=False).action == 0).all()
    after = policy.after_step(state, np.zeros(4000, np.int64), np.ones(4000, np.float32))
    assert (after[LAST_REWARD] == 1.0).all()


def test_memory_lives_in_the_state_alone() -> None:
    env = make_env((4,), "float32", num_actions=3)
    config = ImpalaConfig(**SMALL, network="elstm")
    policy = ImpalaPolicy(PolicyContext(config, env, seed=0))
    network = make_network(config, env)
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(5, 4)).astype(np.float32)
    once = policy.act(observation, policy.initial_state(5), explore=False)
    again = policy.act(observation, once.state, explore=False)
    assert not np.allclose(once.extras["behaviour_logits"], again.extras["behaviour_logits"])
    fresh = policy.act(observation, policy.initial_state(5), explore=False)
    np.testing.assert_array_equal(once.extras["behaviour_logits"], fresh.extras["behaviour_logits"])
