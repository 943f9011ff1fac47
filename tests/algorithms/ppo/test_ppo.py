"""PPO's network, advantages, minibatches and losses, each against numbers worked out another way."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rlsys.algorithms.ppo import ALGORITHM, PPOConfig
from rlsys.algorithms.ppo.learner import PPOLearner
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.api import LearnerContext, PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError, WorkerError
from rlsys.types import Array, ArraySpec, Batch, EnvSpec, Weights

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


def test_the_small_network_is_upstreams() -> None:
    frames = ArraySpec((3, 105, 80), "uint8")
    pong = replace(CARTPOLE, id="Pong", observation=frames, num_actions=6, num_stack=4)
    network = ActorCritic(PPOConfig(), pong)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.dim() > 1]
    assert shapes == [(32, 12, 5, 5), (32, 32, 5, 5), (128, 17280), (6, 128), (1, 128)]
    output = network(torch.zeros(2, 4, 3, 105, 80, dtype=torch.uint8))
    assert output.logits.shape == (2, 6)
    assert output.value.shape == (2,)


def test_the_nature_network_is_dqns() -> None:
    atari = replace(CARTPOLE, observation=ArraySpec((84, 84), "uint8"), num_stack=4)
    network = ActorCritic(PPOConfig(policy_network="cnn_nature", hidden_size=512), atari)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.dim() > 1]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (2, 512), (1, 512)]


def test_an_epoch_is_seen_beside_the_observation_and_acting_is_epoch_0() -> None:
    network = ActorCritic(PPOConfig(hidden_size=16, use_epochs=True), CARTPOLE)
    observation = torch.zeros(2, 4)
    acting, zero, third = (
        network(observation, None if epoch is None else torch.full((2,), epoch)).value for epoch in (None, 0, 3)
    )
    assert torch.equal(acting, zero)
    assert not torch.equal(acting, third)
    assert torch.equal(
        network(observation, torch.full((2,), 99)).value, network(observation, torch.full((2,), 31)).value
    )


def test_kernels_are_orthogonal_with_a_gain_of_one_and_a_half() -> None:
    weight = ActorCritic(PPOConfig(hidden_size=64), CARTPOLE).hidden.weight
    torch.testing.assert_close(weight @ weight.t(), 2.25 * torch.eye(64), atol=1e-5, rtol=0)


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
    distribution = torch.distributions.Categorical(logits=output.logits)
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


def test_what_the_policy_remembers_is_what_the_network_says() -> None:
    policy = ALGORITHM.make_policy(PolicyContext(SMALL, CARTPOLE, seed=0))
    learner = make_learner(SMALL)
    policy.set_weights(Weights(0, 0, learner.weights()))
    observation = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    decision = policy.act(observation, {}, explore=True)
    with torch.no_grad():
        output = learner._updates.actor_critic.network(torch.from_numpy(observation))
    expected = torch.distributions.Categorical(logits=output.logits).log_prob(torch.from_numpy(decision.action))
    np.testing.assert_allclose(decision.extras["log_probability"], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decision.extras["value"], output.value.numpy(), rtol=1e-6)
    greedy = policy.act(observation, {}, explore=False)
    assert np.array_equal(greedy.action, output.logits.argmax(dim=1).numpy())


def test_what_is_not_finite_is_named_and_changes_nothing() -> None:
    batch = make_batch(SMALL)
    batch.reward[1, 1] = np.nan
    learner = make_learner(SMALL)
    before = learner.weights()
    with pytest.raises(WorkerError, match="reward from replay holds nan or inf at learner step 0"):
        learner.step(OneBatch(batch))
    assert all(np.array_equal(before[name], array) for name, array in learner.weights().items())


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
