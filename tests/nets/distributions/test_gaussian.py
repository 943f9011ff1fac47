"""Gaussians of numbers within bounds: densities, entropies, draws and actions, each against another way to them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.nets.distributions.gaussian import Gaussian, GaussianHead, TanhGaussian
from rlsys.types import ArraySpec, EnvSpec

LOW, HIGH = (-2.0, 0.0, -1.0), (2.0, 4.0, 3.0)


def make_env(low: tuple[float, ...] = LOW, high: tuple[float, ...] = HIGH) -> EnvSpec:
    action = ArraySpec((len(low),), "float32")
    return EnvSpec("x", ArraySpec((3,), "float32"), action, num_actions=0, action_low=low, action_high=high)


def make_parameters(size: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters `[size, 6]`, and the means and deviations that they stand for."""
    mean = torch.tensor([[0.3, -1.2, 0.9]], dtype=torch.float64).expand(size, 3)
    deviation = torch.tensor([[0.5, 1.5, 0.1]], dtype=torch.float64).expand(size, 3)
    return torch.cat([mean, deviation.log()], dim=1), mean, deviation


def test_densities_and_entropies_are_those_of_independent_gaussians() -> None:
    parameters, mean, deviation = make_parameters(4)
    drawn = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = torch.distributions.Normal(mean, deviation)
    gaussian = Gaussian(make_env())
    torch.testing.assert_close(gaussian.log_probability(parameters, drawn), theirs.log_prob(drawn).sum(dim=1))
    torch.testing.assert_close(gaussian.entropy(parameters), theirs.entropy().sum(dim=1))


def test_a_squashed_density_is_that_of_the_tanh_of_what_was_drawn() -> None:
    parameters, mean, deviation = make_parameters(4)
    drawn = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, deviation), torch.distributions.TanhTransform(cache_size=1)
    )
    found = TanhGaussian(make_env()).log_probability(parameters, drawn)
    torch.testing.assert_close(found, theirs.log_prob(torch.tanh(drawn)).sum(dim=1))
    far = TanhGaussian(make_env()).log_probability(parameters[:1], torch.tensor([[50.0, -50.0, 50.0]]))
    assert torch.isfinite(far).all()


@pytest.mark.parametrize("mean", [0.0, 0.7, -3.0])
@pytest.mark.parametrize("deviation", [0.1, 1.0, 2.5])
def test_a_squashed_entropy_is_the_mean_surprise_of_what_is_drawn(mean: float, deviation: float) -> None:
    squashed = TanhGaussian(make_env((-1.0,), (1.0,)))
    parameters = torch.tensor([[mean, math.log(deviation)]], dtype=torch.float64)
    at = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    drawn = mean + deviation * math.sqrt(2.0) * torch.erfinv(2.0 * at - 1.0)
    surprise = -squashed.log_probability(parameters, drawn.unsqueeze(1)).mean()
    assert squashed.entropy(parameters).item() == pytest.approx(surprise.item(), abs=0.01)


@pytest.mark.parametrize("kind", [Gaussian, TanhGaussian])
def test_draws_have_the_mean_and_the_deviation_of_a_temperature(kind: type[Gaussian]) -> None:
    gaussian, rng = kind(make_env()), np.random.default_rng(0)
    parameters, mean, deviation = make_parameters(20_000)
    for temperature in (1.0, 0.25):
        drawn = gaussian.draw(parameters.float().numpy(), rng, temperature)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.04)
        np.testing.assert_allclose(drawn.std(axis=0), deviation[0] * math.sqrt(temperature), rtol=0.03)
    assert np.array_equal(gaussian.draw(parameters.numpy(), rng, 0.0), mean.numpy())


@pytest.mark.parametrize("kind", [Gaussian, TanhGaussian])
def test_actions_lie_within_their_bounds_and_have_their_middle_at_0(kind: type[Gaussian]) -> None:
    gaussian = kind(make_env())
    drawn = np.array([[0.0, 0.0, 0.0], [100.0, -100.0, 100.0], [0.5, 0.5, 0.5]], np.float32)
    action = gaussian.action(drawn)
    assert action.dtype == np.float32
    np.testing.assert_allclose(action[:2], [[0.0, 2.0, 1.0], [2.0, 0.0, 3.0]])
    inside = 0.5 if kind is Gaussian else math.tanh(0.5)
    np.testing.assert_allclose(action[2], np.array([0.0, 2.0, 1.0]) + 2.0 * inside, rtol=1e-6)


def test_numbers_without_bounds_on_both_sides_are_neither_moved_nor_scaled() -> None:
    gaussian = Gaussian(make_env((-math.inf, 0.0), (math.inf, math.inf)))
    action = gaussian.action(np.array([[-7.0, -7.0], [7.0, 7.0]], np.float32))
    np.testing.assert_array_equal(action, [[-7.0, 0.0], [7.0, 7.0]])


def test_actions_have_the_shape_and_type_of_the_environment() -> None:
    spec = ArraySpec((2, 1), "float64")
    env = EnvSpec("x", spec, spec, num_actions=0, action_low=(-0.3, -0.3), action_high=(0.3, 0.3))
    action = Gaussian(env).action(np.full((5, 2), 9.0, np.float32))
    assert action.shape == (5, 2, 1)
    assert action.dtype == np.float64
    assert (action == 0.3).all()


@pytest.mark.parametrize("predicts_std", [False, True])
def test_a_head_begins_with_small_means_and_the_deviation_that_is_asked_for(predicts_std: bool) -> None:
    torch.manual_seed(0)
    head = GaussianHead(16, 3, predicts_std=predicts_std, init_std=0.5)
    mean, log_std = head(torch.randn(8, 16)).chunk(2, dim=-1)
    assert mean.abs().max() < 0.1
    torch.testing.assert_close(log_std.exp(), torch.full((8, 3), 0.5), atol=0.05, rtol=0)
    assert (log_std.std(dim=0).max() > 0) == predicts_std
    assert ("log_std" in dict(head.named_parameters())) != predicts_std
