"""The policy: what it does with a search, and what evaluation may ask of it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, IMAGES
from torch import Tensor

from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.policy import MuZeroPolicy
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.api import PolicyContext
from rlsys.errors import ConfigError
from rlsys.types import Array, EnvSpec, Weights
from rlsys.viewer.search_tree import SearchTree


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make_weights(config: MuZeroConfig, env: EnvSpec, learner_step: int = 0) -> Weights:
    torch.manual_seed(3)
    network = make_network(config, env)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # opinions strong enough to be told apart
    return Weights(0, learner_step, {name: value.numpy() for name, value in network.state_dict().items()})


def make_policy(
    env: EnvSpec = ENV, *, num_environments: int = 6, first_environment: int = 0, learner_step: int = 0, **options: Any
) -> MuZeroPolicy:
    config = MuZeroConfig.model_validate({"num_simulations": 12, **options})
    policy = MuZeroPolicy(PolicyContext(config, env, 7, first_environment, num_environments))
    policy.set_weights(make_weights(config, env, learner_step))
    return policy


def observations(count: int = 6, env: EnvSpec = ENV) -> Array:
    raw = np.random.default_rng(0).normal(size=(count, *env.policy_observation.shape)) * 100
    return raw.astype(env.observation.dtype)


def heads(policy: MuZeroPolicy, observation: Array) -> tuple[Network, Tensor, Array, Array]:
    """Returns network, states, decoded values and prior probabilities, without search or fused layers."""
    network, config = policy._network, policy._config
    with torch.inference_mode():
        state = network.represent(torch.tensor(observation))
        value, logits = network.predict(state)
        return network, state, value_code(config).decode(value).numpy(), torch.softmax(logits, dim=1).numpy()


@pytest.mark.parametrize("search", ["puct", "gumbel"])
@pytest.mark.parametrize("explore", [True, False])
def test_a_decision_has_the_extras_that_segments_keep(search: str, explore: bool) -> None:
    decision = make_policy(search=search).act(observations(), {}, explore=explore)
    assert decision.action.shape == (6,) and decision.action.dtype == np.int64
    assert decision.extras[VISITS].shape == (6, 3) and decision.extras[VISITS].dtype == np.float32
    np.testing.assert_allclose(decision.extras[VISITS].sum(axis=1), 1.0, rtol=1e-6)
    assert decision.extras[ROOT_VALUE].shape == (6,) and decision.extras[ROOT_VALUE].dtype == np.float32
    if explore:
        assert decision.extras.keys() == {VISITS, ROOT_VALUE}
        assert decision.priority is not None and decision.priority.dtype == np.float64


def test_evaluation_takes_the_most_visited_action_and_draws_nothing() -> None:
    policy = make_policy()
    before = policy.save()
    first, second = (policy.act(observations(), {}, explore=False) for _ in range(2))
    assert np.array_equal(first.action, first.extras[VISITS].argmax(axis=1))
    assert np.array_equal(first.action, second.action)
    assert policy.save() == before


def test_a_batch_is_evaluated_as_its_rows_are() -> None:
    policy, observation = make_policy(), observations()
    together = policy.act(observation, {}, explore=False)
    for row in range(6):
        alone = policy.act(observation[row : row + 1], {}, explore=False)
        assert alone.action[0] == together.action[row]
        np.testing.assert_allclose(alone.extras[VISITS][0], together.extras[VISITS][row])
        np.testing.assert_allclose(alone.extras[ROOT_VALUE][0], together.extras[ROOT_VALUE][row], rtol=1e-4, atol=1e-6)


def test_exploring_goes_on_after_a_load_as_it_would_have() -> None:
    original, resumed = make_policy(), make_policy()
    original.act(observations(), {}, explore=True)
    resumed.load(original.save())
    for _ in range(3):
        expected, found = (policy.act(observations(), {}, explore=True) for policy in (original, resumed))
        assert np.array_equal(expected.action, found.action)
        assert np.array_equal(expected.extras[VISITS], found.extras[VISITS])


def test_a_truncated_episode_in_between_does_not_change_what_follows() -> None:
    plain, interrupted = make_policy(), make_policy()
    for _ in range(3):
        expected = plain.act(observations(), {}, explore=True)
        found = interrupted.act(observations(), {}, explore=True)
        assert np.array_equal(expected.action, found.action)
        interrupted.act(observations(2), {}, explore=False)


def test_fixed_temperatures_are_dealt_by_the_index_of_the_environment() -> None:
    policy = make_policy(fixed_temperatures=[0.0, 1e3, 1e3], first_environment=2)
    is_best = np.zeros(6)
    for _ in range(200):
        decision = policy.act(observations(), {}, explore=True)
        visits = decision.extras[VISITS]
        is_best += visits[np.arange(6), decision.action] == visits.max(axis=1)
    assert is_best[[1, 4]].tolist() == [200, 200]
    assert (is_best[[0, 2, 3, 5]] < 150).all()


def test_the_scheduled_temperature_follows_the_learner_step_of_the_weights() -> None:
    options = {"visit_softmax_temperatures": [1e3, 0.0], "visit_softmax_steps": [50]}
    for learner_step, is_random in ((50, True), (51, False)):
        policy = make_policy(learner_step=learner_step, **options)
        decisions = [policy.act(observations(), {}, explore=True) for _ in range(20)]
        best = [d.extras[VISITS][np.arange(6), d.action] == d.extras[VISITS].max(axis=1) for d in decisions]
        assert (np.mean(best) < 0.9) == is_random


def test_the_priority_compares_the_search_with_the_network() -> None:
    policy = make_policy(alpha=0.5, epsilon=0.1)
    decision = policy.act(observations(), {}, explore=True)
    _, _, value, _ = heads(policy, observations())
    expected = (np.abs(decision.extras[ROOT_VALUE] - value) + 0.1) ** 0.5
    np.testing.assert_allclose(decision.priority, expected, rtol=1e-4)


def test_the_best_action_value_can_replace_the_mean() -> None:
    mean, best = (make_policy(use_q_max=use_q_max) for use_q_max in (False, True))
    found = [policy.act(observations(), {}, explore=False).extras[ROOT_VALUE] for policy in (mean, best)]
    assert (found[1] >= found[0]).all() and (found[1] > found[0]).any()
    assert best._result is not None
    np.testing.assert_allclose(found[1], np.nanmax(best._result.q_values, axis=1), rtol=1e-6)


def test_exploration_noise_can_be_had_in_evaluation() -> None:
    policy = make_policy(use_exploration_noise=True, root_exploration_fraction=1.0)
    found = [policy.act(observations(), {}, explore=False).extras[VISITS] for _ in range(2)]
    assert not np.array_equal(*found)


def test_evaluation_with_a_temperature_is_random() -> None:
    policy = make_policy(eval_temperature=1.0)
    actions = [tuple(policy.act(observations(), {}, explore=False).action) for _ in range(20)]
    assert len(set(actions)) > 1


def test_acting_by_the_prior_takes_the_network_at_its_word() -> None:
    policy = make_policy(only_prior=True)
    decision = policy.act(observations(), {}, explore=False)
    _, _, value, prior = heads(policy, observations())
    assert np.array_equal(decision.action, prior.argmax(axis=1))
    np.testing.assert_allclose(decision.extras[VISITS], prior, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(decision.extras[ROOT_VALUE], value, rtol=1e-4, atol=1e-5)
    assert not decision.extras["search_depth"].any()
    with pytest.raises(ConfigError, match="no tree"):
        policy.search_tree(0)


def test_acting_by_the_value_looks_one_step_ahead() -> None:
    policy = make_policy(only_value=True, discount=0.9)
    decision = policy.act(observations(), {}, explore=False)
    network, state, _, _ = heads(policy, observations())
    for row in range(6):
        q = []
        for action in range(3):
            with torch.inference_mode():
                after, features = network.transition(state[row : row + 1], torch.tensor([action]))
                reward = reward_code(policy._config).decode(network.predict_reward(features)).item()
                q.append(reward + 0.9 * value_code(policy._config).decode(network.predict(after).value).item())
        assert decision.action[row] == np.argmax(q)
        assert decision.extras[ROOT_VALUE][row] == pytest.approx(max(q), rel=1e-4)


def test_several_actions_are_taken_from_one_search() -> None:
    policy, single = make_policy(apply_mcts_steps=3, num_simulations=30), make_policy(num_simulations=30)
    state = policy.initial_state(6)
    root = single.act(observations(), {}, explore=False)
    first = policy.act(observations(), state, explore=False)
    tree = SearchTree.from_arrays(single.search_tree(0))
    node = 0
    decision = first
    for _ in range(3):
        assert tree.visit_count[node, decision.action[0]] == tree.visit_count[node].max()
        np.testing.assert_array_equal(decision.extras[VISITS], root.extras[VISITS])
        assert decision.extras["predicted_reward"][0] == pytest.approx(tree.reward[node, decision.action[0]])
        node = tree.child[node, decision.action[0]]
        decision = policy.act(observations() + 1000.0, decision.state, explore=False)  # not looked at
    assert decision.state["action"].shape == (6, 3, 1)
    fresh = make_policy(num_simulations=30).act(observations() + 1000.0, {}, explore=False)
    np.testing.assert_array_equal(decision.extras[VISITS], fresh.extras[VISITS])


def test_plans_of_different_rows_are_independent() -> None:
    policy = make_policy(apply_mcts_steps=2, num_simulations=30)
    state = policy.act(observations(), policy.initial_state(6), explore=False).state
    restarted = {name: values.copy() for name, values in state.items()}
    for name, values in policy.initial_state(1).items():
        restarted[name][2:3] = values
    other = observations()[::-1].copy()
    decision, kept = policy.act(other, restarted, explore=False), policy.act(other, state, explore=False)
    rows = [0, 1, 3, 4, 5]
    assert np.array_equal(decision.action[rows], kept.action[rows])
    alone = make_policy(num_simulations=30).act(other[2:3], {}, explore=False)
    np.testing.assert_array_equal(decision.extras[VISITS][2], alone.extras[VISITS][0])
    assert SearchTree.from_arrays(policy.search_tree(2)).visit_count[0].sum() == 30


def test_a_search_tree_adds_up() -> None:
    policy = make_policy(num_simulations=40)
    decision = policy.act(observations(), {}, explore=False)
    for row in range(6):
        tree = SearchTree.from_arrays(policy.search_tree(row))
        assert tree.visit_count[0].sum() == 40
        assert tree.root_value == pytest.approx(decision.extras[ROOT_VALUE][row], rel=1e-5)
        np.testing.assert_allclose(tree.prior.sum(axis=1), 1.0, rtol=1e-5)
        for node, action in np.argwhere(tree.child >= 0):
            below = tree.visit_count[tree.child[node, action]].sum()
            assert tree.visit_count[node, action] == below + 1


def test_weights_are_copied() -> None:
    policy = make_policy()
    before = policy.act(observations(), {}, explore=False)
    weights = make_weights(policy._config, ENV)
    policy.set_weights(weights)
    for array in weights.arrays.values():
        array[...] = 0
    after = policy.act(observations(), {}, explore=False)
    np.testing.assert_array_equal(before.extras[VISITS], after.extras[VISITS])


@pytest.mark.parametrize("architecture", ["TinyNetwork", "FCNetwork"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_and_both_precisions_can_be_acted_on(architecture: str, precision: str) -> None:
    env = dataclasses.replace(IMAGES, observation_low=(0.0,), observation_high=(255.0,))
    policy = make_policy(env, architecture=architecture, acting_precision=precision, num_simulations=4)
    decision = policy.act(observations(3, env), {}, explore=True)
    assert np.isfinite(decision.extras[ROOT_VALUE]).all()
