"""Densities in closed form against PyTorch's distributions, and a gradient that is written down against the numeric."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Normal, kl_divergence

from rlsys.ops.gaussians import divergence, divergence_from_standard, unit_negative_log_density


@pytest.mark.parametrize("num_axes", [0, 1, 3])
def test_log_densities_are_summed_over_the_last_axes_and_move_the_means_only(num_axes: int) -> None:
    torch.manual_seed(0)
    mean, value = (torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    loss = unit_negative_log_density(mean, value, num_axes)
    expected = -Normal(mean, 1.0).log_prob(value)
    expected = expected.flatten(start_dim=4 - num_axes).sum(dim=-1) if num_axes else expected
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert value.grad is None
    fixed = value.detach()
    assert gradcheck(lambda mean: unit_negative_log_density(mean, fixed, num_axes), (mean,))


def test_the_gradient_of_means_that_equal_their_values_is_zero() -> None:
    mean = torch.ones(2, 3, requires_grad=True)
    unit_negative_log_density(mean, torch.ones(2, 3), 1).sum().backward()
    torch.testing.assert_close(mean.grad, torch.zeros(2, 3))


def test_divergences_are_those_of_pytorch() -> None:
    torch.manual_seed(0)
    mean, other = torch.randn(2, 4, 5)
    stddev, other_stddev = torch.rand(2, 4, 5) + 0.1
    expected = kl_divergence(Normal(mean, stddev), Normal(other, other_stddev)).sum(dim=-1)
    torch.testing.assert_close(divergence(mean, stddev, other, other_stddev), expected)
    standard = kl_divergence(Normal(mean, stddev), Normal(0.0, 1.0)).sum(dim=-1)
    torch.testing.assert_close(divergence_from_standard(mean, stddev), standard)
