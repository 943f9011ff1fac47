"""From visit counts to actions."""

import numpy as np
import pytest

from rlsys.planning.actions import action_probabilities, dirichlet_noise, open_loop_actions, sample_actions
from rlsys.planning.puct import exploration_weights, select
from rlsys.planning.tree import Tree, grow, plant


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0])
def test_probabilities_are_powers_of_visit_counts(temperature):
    counts_BA = np.random.default_rng(0).integers(0, 40, size=(50, 5))
    counts_BA[:, 0] += 1
    powers_BA = counts_BA ** (1 / temperature)
    expected = powers_BA / powers_BA.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(action_probabilities(counts_BA, temperature), expected, rtol=1e-12)


def test_temperature_zero_shares_equally_among_the_most_visited():
    counts_BA = np.array([[3, 7, 7, 0], [1, 0, 0, 0], [2, 2, 2, 2]])
    expected = [[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]
    np.testing.assert_array_equal(action_probabilities(counts_BA, 0.0), expected)


def test_no_temperature_overflows():
    counts_BA = np.array([[800, 799, 1, 0]])
    np.testing.assert_allclose(action_probabilities(counts_BA, 1e-6), [[1, 0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(action_probabilities(counts_BA, 1e9), [[1 / 3, 1 / 3, 1 / 3, 0]], rtol=1e-6)


def test_each_root_has_its_own_temperature():
    counts_BA = np.random.default_rng(1).integers(1, 40, size=(4, 6))
    temperature_B = np.array([0.0, 0.25, 1.0, 3.0])
    together = action_probabilities(counts_BA, temperature_B)
    for index, temperature in enumerate(temperature_B):
        alone = action_probabilities(counts_BA[index : index + 1], temperature)
        np.testing.assert_array_equal(together[index], alone[0])


def test_actions_are_drawn_in_proportion_and_never_with_probability_zero():
    probability_A = np.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    uniform_B = (np.arange(1000) + 0.5) / 1000
    action_B = sample_actions(np.tile(probability_A, (1000, 1)), uniform_B)
    np.testing.assert_array_equal(np.bincount(action_B, minlength=6), 1000 * probability_A)
    extremes = np.array([0.0, np.nextafter(1.0, 0.0)])
    np.testing.assert_array_equal(sample_actions(np.tile(probability_A, (2, 1)), extremes), [1, 4])


def test_noise_is_a_distribution_whose_concentration_is_alpha():
    noise_BA = dirichlet_noise(np.random.default_rng(2), 0.25, 20000, 4)
    np.testing.assert_allclose(noise_BA.sum(axis=1), 1.0)
    np.testing.assert_allclose(noise_BA.mean(axis=0), 0.25, atol=0.01)
    # Var = m (1 - m) / (A alpha + 1) for the symmetric distribution with mean m = 1 / A.
    np.testing.assert_allclose(noise_BA.var(axis=0), 0.25 * 0.75 / (4 * 0.25 + 1), atol=0.005)


def test_a_stream_per_root_makes_noise_independent_of_the_batch():
    together = dirichlet_noise([np.random.default_rng(seed) for seed in range(5)], 0.3, 5, 6)
    for seed in range(5):
        alone = dirichlet_noise([np.random.default_rng(seed)], 0.3, 1, 6)
        np.testing.assert_array_equal(together[seed], alone[0])


def random_tree(seed, num_roots, num_actions, num_simulations):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    tree = Tree.allocate(num_roots, num_simulations + 1, num_actions, num_features=0)
    no_embedding = np.empty((num_roots, 0), np.float32)
    plant(tree, draw(num_roots), draw(num_roots, num_actions), no_embedding)
    for leaf in range(1, num_simulations + 1):
        select(tree, exploration_weights(num_simulations, 19652.0, 1.25), 0.0)
        grow(tree, leaf, draw(num_roots), draw(num_roots), draw(num_roots, num_actions), no_embedding, 0.99)
    return tree


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_open_loop_plan_walks_down_and_chooses_by_each_nodes_own_counts(temperature):
    num_roots, num_steps = 20, 8
    tree = random_tree(3, num_roots, 3, 25)
    uniform_BM = np.random.default_rng(4).random((num_roots, num_steps))
    action_BM, reward_BM = open_loop_actions(tree, temperature, uniform_BM)
    lengths = []
    for root in range(num_roots):
        node, length = 0, 0
        while length < num_steps and tree.visit_count[root, node].sum() > 0:
            probability_BA = action_probabilities(tree.visit_count[root, node][None], temperature)
            action = sample_actions(probability_BA, uniform_BM[root, length : length + 1])[0]
            assert action_BM[root, length] == action
            assert reward_BM[root, length] == tree.reward[root, node, action]
            node = tree.child[root, node, action]
            length += 1
        assert (action_BM[root, length:] == -1).all()
        assert (reward_BM[root, length:] == 0).all()
        lengths.append(length)
    assert min(lengths) >= 1
    assert len(set(lengths)) > 1


def test_the_first_open_loop_action_is_the_one_taken_without_a_plan():
    tree = random_tree(5, 10, 4, 30)
    uniform_BM = np.random.default_rng(6).random((10, 1))
    action_BM, _ = open_loop_actions(tree, np.full(10, 0.5), uniform_BM)
    expected = sample_actions(action_probabilities(tree.visit_count[:, 0], 0.5), uniform_BM[:, 0])
    np.testing.assert_array_equal(action_BM[:, 0], expected)
