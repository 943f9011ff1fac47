"""PPO's advantages, minibatches and losses, each against numbers worked out another way."""

from typing import Any

import numpy as np
import pytest
import torch
from support.ppo_batches import CARTPOLE, SMALL, make_batch, make_learner

from rlsys.algorithms.ppo import PPOConfig
from rlsys.algorithms.ppo.learner import PPOLearner
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.types import Array, Batch


def prepare(learner: PPOLearner, batch: Batch) -> Any:
    updates = learner._updates
    return updates._prepare(updates.experience(batch, torch.from_numpy))


def gae(reward: Array, value: Array, continues: Array, config: PPOConfig) -> Array:
    """Schulman et al. 2016, equation 16, of one environment, straight from its definition."""
    advantage, after = np.zeros(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        delta = reward[t] + config.gae_gamma * continues[t] * value[t + 1] - value[t]
        after = delta + config.gae_gamma * config.gae_lambda * continues[t] * after
        advantage[t] = after
    return advantage


def test_advantages_are_generalized_advantage_estimates_and_normalized() -> None:
    batch = make_batch(SMALL)
    batch.terminated[1, 2] = True
    learner = make_learner(SMALL)
    rows = prepare(learner, batch)
    with torch.no_grad():
        last = learner._updates.actor_critic.network(torch.from_numpy(batch.observation[:, -1])).value.numpy()
    value = np.concatenate([batch.extras["value"], last[:, None]], axis=1)
    expected = np.stack([gae(*each, SMALL) for each in zip(batch.reward, value, ~batch.terminated, strict=True)])
    np.testing.assert_allclose(rows.target.numpy().T, expected + value[:, :-1], rtol=1e-5, atol=1e-5)
    normalized = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(rows.advantage.numpy().T, normalized, rtol=1e-4, atol=1e-5)


def test_a_time_limit_is_bootstrapped_from_its_last_observation() -> None:
    batch = make_batch(SMALL)
    batch.truncated[0, 3] = True  # so row 4 is the bootstrap row: nothing was done there
    batch.extras["value"][0, 4] = 123.0
    learner = make_learner(SMALL)
    rows = prepare(learner, batch)
    with torch.no_grad():
        seen = learner._updates.actor_critic.network(torch.from_numpy(batch.observation[0, [4, 6]])).value.numpy()
    first = gae(batch.reward[0, :4], np.append(batch.extras["value"][0, :4], seen[0]), np.ones(4), SMALL)
    np.testing.assert_allclose(rows.target[:4, 0].numpy(), first + batch.extras["value"][0, :4], rtol=1e-5, atol=1e-5)
    assert not rows.mask[4, 0]
    assert rows.mask.sum() == rows.mask.numel() - 1
    second = batch.reward[0, 5] + SMALL.gae_gamma * seen[1]
    np.testing.assert_allclose(rows.target[5, 0].item(), second, rtol=1e-5)


@pytest.mark.parametrize(("length", "epochs", "size", "updates"), [(50, 3, 20, 7), (200, 3, 20, 30), (6, 2, 3, 4)])
def test_minibatches_are_time_steps_of_several_shuffles(length: int, epochs: int, size: int, updates: int) -> None:
    config = PPOConfig(epoch_length=length, optimization_epochs=epochs, optimization_batch_size=size)
    minibatches = torch.cat(list(make_learner(config)._updates._minibatches(length))).view(-1, size)
    assert len(minibatches) == updates
    assert np.bincount(minibatches.flatten().numpy(), minlength=length).max() <= epochs


def test_an_update_follows_the_clipped_objective() -> None:
    learner = make_learner(SMALL)
    rows = prepare(learner, make_batch(SMALL)).at(torch.arange(4))
    network = ActorCritic(SMALL, CARTPOLE)
    network.load_state_dict(learner._updates.actor_critic.network.state_dict())
    output = network(rows.observation)
    distribution = torch.distributions.Categorical(logits=output.policy)
    ratio = (distribution.log_prob(rows.action) - rows.log_probability).exp()
    policy = -torch.where(
        rows.advantage > 0, ratio.clamp(max=1.1) * rows.advantage, ratio.clamp(min=0.9) * rows.advantage
    ).mean()
    value = torch.nn.functional.mse_loss(output.value, rows.target)
    (policy + value - 0.01 * distribution.entropy().mean()).backward()
    metrics = learner._updates._update(rows, 0.0, 0)
    assert metrics["loss/policy"] == pytest.approx(policy.item(), rel=1e-4)
    assert metrics["loss/value"] == pytest.approx(value.item(), rel=1e-4)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    assert metrics["learner/gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    ours = learner._updates.actor_critic._flat.gradients()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(ours[name], parameter.grad * min(1.0, 0.5 / norm.item()), rtol=1e-3, atol=1e-6)
