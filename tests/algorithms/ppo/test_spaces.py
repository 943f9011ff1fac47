"""PPO in every kind of space: what it remembers, how it learns, and what normalises what it sees."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.decided_batches import EVERY, INTEGER, NUMBERS, PARTS, PLAIN, context_of, decided_batch
from support.ppo_batches import OneBatch

from rlsys.algorithms.ppo import ALGORITHM, PPOConfig
from rlsys.algorithms.ppo.learner import PPOLearner
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.api import PolicyContext
from rlsys.config import EnvConfig
from rlsys.errors import ConfigError
from rlsys.testing.contract import check_algorithm
from rlsys.types import Batch, EnvSpec, Weights

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "epoch_length": 6,
    "optimization_epochs": 2,
    "optimization_batch_size": 3,
    "learning_rate": 3e-3,
}
SIZE = 4


def make_learner(env: EnvSpec, **options: Any) -> PPOLearner:
    config = PPOConfig(**SMALL | options)
    ALGORITHM.check(config, env, SIZE, 1)
    return PPOLearner(context_of(config, env, SIZE))


def batch_of(learner: PPOLearner, seed: int = 0) -> Batch:
    context, length = learner._context, learner._config.epoch_length
    return decided_batch(ALGORITHM, context.config, context.env, dict(learner.weights()), SIZE, length, seed)


OPTIONS = [{}, {"distribution_type": "tanh_normal"}, {"state_dependent_std": True, "vf_share_layers": False}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("env", EVERY, ids=lambda env: env.id)
def test_the_learner_finds_actions_as_probable_as_the_policy_that_drew_them(
    env: EnvSpec, options: dict[str, Any]
) -> None:
    learner = make_learner(env, **options)
    batch = batch_of(learner)
    updates = learner._updates
    rows = updates._prepare(updates.experience(batch, learner._to_device)).at(torch.arange(6))
    with torch.no_grad():
        output = updates.actor_critic.network.judge(rows.observation)
    found = updates.distribution.log_probability(output.policy, rows.action)
    torch.testing.assert_close(found, rows.log_probability, rtol=1e-4, atol=1e-4)
    expected = batch.extras["value"].swapaxes(0, 1).reshape(-1)
    np.testing.assert_allclose(output.value.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("env", EVERY, ids=lambda env: env.id)
def test_what_was_good_becomes_likelier(env: EnvSpec, options: dict[str, Any]) -> None:
    learner = make_learner(env, **options)
    batch = batch_of(learner)
    batch.reward[:] = 0.0
    batch.reward[0] = 5.0
    batch.terminated[:] = True  # each row is a game of its own
    metrics = learner.step(OneBatch(batch))
    assert all(np.isfinite(list(metrics.values())))
    updates = learner._updates
    with torch.no_grad():
        done = updates.experience(batch, learner._to_device)
        output = updates.actor_critic.network(done.observation[:-1].flatten(end_dim=1))
        after = updates.distribution.log_probability(output.policy, done.action.flatten(end_dim=1)).view(6, SIZE)
    gained = (after - done.log_probability).numpy()
    assert gained[:, 0].mean() > gained[:, 1:].mean()


@pytest.mark.parametrize("kind", ["normal", "tanh_normal"])
def test_actions_keep_their_bounds_and_the_greedy_one_is_the_mean(kind: str) -> None:
    learner = make_learner(NUMBERS, distribution_type=kind, init_noise_std=5.0)
    batch = batch_of(learner)
    assert batch.action.dtype == np.float32
    assert (batch.action >= [-2.0, 0.0]).all()
    assert (batch.action <= [2.0, 1.0]).all()
    assert (np.abs(batch.extras["drawn_action"]) > 1.0).any()
    policy = ALGORITHM.make_policy(PolicyContext(learner._config, NUMBERS, seed=0))
    policy.set_weights(Weights(0, 0, learner.weights()))
    first, again = (policy.act(batch.observation[:, 0], {}, explore=False).action for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, [[0.0, 0.5]] * SIZE, atol=0.1)


def test_normalised_observations_act_as_they_are_learned_from() -> None:
    for env in (NUMBERS, PARTS):
        learner = make_learner(env, normalize_observations=True)
        for seed in range(3):
            batch = batch_of(learner, seed)
            part = env.parts[0].of(batch.observation)
            part *= 30.0
            part += 100.0
            batch = replace(batch, extras=batch_of_same(learner, batch))
            metrics = learner.step(OneBatch(batch))
        weights = learner.weights()
        (mean,) = (array for name, array in weights.items() if name.endswith("mean"))
        np.testing.assert_allclose(mean, 100.0, atol=20.0)
        assert metrics["policy/kl"] < 1.0
        (count,) = (array for name, array in weights.items() if name.endswith("count"))
        assert count == 3 * SIZE * 6


def batch_of_same(learner: PPOLearner, batch: Batch) -> dict[str, Any]:
    """What the policy would say of the batch's observations and what was drawn there."""
    policy = ALGORITHM.make_policy(PolicyContext(learner._config, learner._context.env, seed=0))
    policy.set_weights(Weights(0, 0, learner.weights()))
    said = [policy.act(batch.observation[:, t], {}, explore=True).extras for t in range(6)]
    return {name: np.stack([extras[name] for extras in said], axis=1) for name in batch.extras}


@pytest.mark.parametrize("name", ["Pendulum-v1", "rlsys/Nested-v0"])
def test_two_ranks_that_normalise_agree_and_go_on_from_what_they_saved(name: str) -> None:
    options = {"normalize_observations": True, "normalize_returns": True, "vf_share_layers": False}
    options |= {"distribution_type": "tanh_normal", "state_dependent_std": True, "value_clipping_coef": 0.2}
    check_algorithm(ALGORITHM, PPOConfig(**ALGORITHM.debug, **options), EnvConfig(id=name))


def test_values_of_normalised_returns_are_in_units_of_rewards() -> None:
    learner = make_learner(PLAIN, normalize_returns=True, learning_rate=0.02, gae_gamma=0.5, vf_share_layers=False)
    for seed in range(60):
        batch = batch_of(learner, seed)
        batch.reward[:] = 500.0 + 100.0 * batch.observation[:, :-1, 0]
        learner.step(OneBatch(batch))
    weights = learner.weights()
    assert weights["returns.mean"].shape == (1,)
    value = batch_of(learner, 99).extras["value"]
    np.testing.assert_allclose(value.mean(), 1000.0, rtol=0.15)
    assert make_learner(PLAIN)._updates.actor_critic.network.returns is None


def test_a_value_that_has_moved_far_enough_is_left_alone() -> None:
    learner = make_learner(PLAIN, value_clipping_coef=0.2)
    updates = learner._updates
    rows = updates._prepare(updates.experience(batch_of(learner), learner._to_device)).at(torch.arange(6))
    rows = replace(rows, value=torch.zeros(24), target=torch.ones(24))
    near, far = (torch.full((24,), value, requires_grad=True) for value in (0.1, 0.5))
    errors = updates._value_error(near, rows), updates._value_error(far, rows)
    torch.testing.assert_close(errors[0], torch.full((24,), 0.81))
    torch.testing.assert_close(errors[1], torch.full((24,), 0.64))  # that of 0.2, as near as it may come
    sum(error.sum() for error in errors).backward()
    assert (near.grad != 0).all()
    assert (far.grad == 0).all()


def test_policy_and_value_of_their_own_bodies_share_nothing() -> None:
    network = ActorCritic(PPOConfig(**SMALL, vf_share_layers=False), PLAIN)
    network(torch.randn(2, 3)).value.sum().backward()
    moved = {name.split(".")[0] for name, value in network.named_parameters() if value.grad is not None}
    assert moved == {"critic", "value"}


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (replace(NUMBERS, action_high=(2.0, np.inf)), {"distribution_type": "tanh_normal"}, "action 1 .* 0 and inf"),
        (NUMBERS, {"logits_clip": 4.0}, "logits_clip = 4 .* whose actions are numbers"),
        (INTEGER, {"normalize_observations": True}, "which shows no numbers"),
        (PARTS, {"policy_network": "cnn_nature", "hidden_size": 8}, None),
        (NUMBERS, {"policy_network": "cnn_nature"}, "it needs images of at least 36×36"),
    ],
)
def test_what_cannot_work_in_a_space_is_refused(env: EnvSpec, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        ALGORITHM.check(PPOConfig(**options), env, 16, 1)
        return
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(PPOConfig(**options), env, 16, 1)
