"""Choices: their probabilities against the softmax written out, and what is drawn against the probabilities."""

import numpy as np
import torch
from torch import Tensor

from rlsys.nets.distributions.categorical import Categorical, MultiCategorical

ACTIONS = 4


def make(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_log_probability_is_the_logarithm_of_the_softmax_at_the_action() -> None:
    logits = 2.0 * make(3, 5, ACTIONS, seed=0)
    action = torch.randint(ACTIONS, (3, 5), generator=torch.Generator().manual_seed(1))
    found = Categorical().log_probability(logits, action)
    for index in np.ndindex(3, 5):
        chances = logits[index].exp() / logits[index].exp().sum()
        torch.testing.assert_close(found[index], chances[action[index]].log())


def test_log_probabilities_and_entropies_of_certain_policies_stay_finite() -> None:
    logits = torch.tensor([[0.0, 1e4], [-1e4, 0.0]])
    assert Categorical().log_probability(logits, torch.tensor([0, 0])).tolist() == [-1e4, -1e4]
    assert Categorical().entropy(logits).tolist() == [0.0, 0.0]


def test_an_entropy_is_the_expected_surprise_and_largest_for_the_uniform_policy() -> None:
    logits = make(20, ACTIONS, seed=0)
    chances = logits.softmax(dim=1)
    torch.testing.assert_close(Categorical().entropy(logits), -(chances * chances.log()).sum(dim=1))
    uniform = Categorical().entropy(torch.zeros(ACTIONS, dtype=torch.float64))
    np.testing.assert_allclose(uniform.item(), np.log(ACTIONS), rtol=1e-6)
    assert (Categorical().entropy(logits) < uniform).all()


def test_draws_follow_the_softmax_at_a_temperature_and_are_the_best_at_0() -> None:
    logits, rng = np.tile(np.log(np.array([0.5, 0.2, 0.3])), (20_000, 1)), np.random.default_rng(0)
    for temperature, expected in ((1.0, [0.5, 0.2, 0.3]), (0.5, np.array([25, 4, 9]) / 38), (0.0, [1.0, 0.0, 0.0])):
        drawn = np.bincount(Categorical().draw(logits, rng, temperature), minlength=3) / len(logits)
        np.testing.assert_allclose(drawn, expected, atol=0.015)


def test_who_acts_finds_the_same_probabilities() -> None:
    logits, drawn = make(50, 5, seed=0).float(), torch.arange(50) % 5
    several = torch.stack([torch.arange(50) % 2, torch.arange(50) % 3], dim=1)
    for distribution, actions in ((Categorical(), drawn), (MultiCategorical((2, 3), (2,)), several)):
        found = distribution.acting_log_probability(logits.numpy(), actions.numpy())
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, distribution.log_probability(logits, actions).numpy(), rtol=1e-5, atol=1e-6)


def test_several_choices_are_as_many_independent_ones() -> None:
    several, logits = MultiCategorical((2, 3), (2,)), make(6, 5, seed=0)
    first, second = (torch.distributions.Categorical(logits=part) for part in logits.split([2, 3], dim=1))
    action = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
    expected = first.log_prob(action[:, 0]) + second.log_prob(action[:, 1])
    torch.testing.assert_close(several.log_probability(logits, action), expected)
    torch.testing.assert_close(several.entropy(logits), first.entropy() + second.entropy())
    same = several.log_probability(logits[:1].expand(6, 5), action)
    np.testing.assert_allclose(same.exp().sum().item(), 1.0, rtol=1e-12)


def test_several_choices_are_drawn_in_the_shape_of_an_action() -> None:
    several, rng = MultiCategorical((2, 3, 2, 4), (2, 2)), np.random.default_rng(0)
    logits = np.tile(np.arange(11.0), (5, 1))
    best = several.draw(logits, rng, 0.0)
    assert best.shape == (5, 2, 2)
    assert (best == [[1, 2], [1, 3]]).all()
    drawn = several.draw(np.zeros((2_000, 11)), rng, 1.0).reshape(-1, 4)
    for column, size in zip(drawn.T, (2, 3, 2, 4), strict=True):
        np.testing.assert_allclose(np.bincount(column, minlength=size) / 2_000, 1.0 / size, atol=0.04)
    log_probability = several.log_probability(torch.zeros(2_000, 11), torch.from_numpy(drawn.reshape(-1, 2, 2)))
    torch.testing.assert_close(log_probability, torch.full((2_000,), -np.log(48.0)))
