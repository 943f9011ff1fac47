"""What acts in PPO."""

import numpy as np
import torch
from support.ppo_batches import CARTPOLE, SMALL, make_learner

from rlsys.algorithms.ppo import ALGORITHM
from rlsys.api import PolicyContext
from rlsys.types import Weights


def test_what_the_policy_remembers_is_what_the_network_says() -> None:
    policy = ALGORITHM.make_policy(PolicyContext(SMALL, CARTPOLE, seed=0))
    learner = make_learner(SMALL)
    policy.set_weights(Weights(0, 0, learner.weights()))
    observation = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    decision = policy.act(observation, {}, explore=True)
    with torch.no_grad():
        output = learner._updates.actor_critic.network(torch.from_numpy(observation))
    expected = torch.distributions.Categorical(logits=output.policy).log_prob(torch.from_numpy(decision.action))
    np.testing.assert_allclose(decision.extras["log_probability"], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decision.extras["value"], output.value.numpy(), rtol=1e-6)
    greedy = policy.act(observation, {}, explore=False)
    assert np.array_equal(greedy.action, output.policy.argmax(dim=1).numpy())
