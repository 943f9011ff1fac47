"""Distributions of sequences, and noise along a horizon."""

import pytest
import torch

from rlsys.planning.shooting.sequences import CategoricalSequences, NormalSequences, coloured_noise


@pytest.mark.parametrize("horizon", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_the_power_of_coloured_noise_falls_with_the_frequency(horizon: int, exponent: float) -> None:
    mixing_HH = coloured_noise(horizon, exponent).double()
    covariance = mixing_HH.T @ mixing_HH
    assert torch.allclose(covariance.diagonal(), torch.ones(horizon).double()), "each step's deviation is 1"
    power = torch.fft.rfft(mixing_HH, dim=1).abs().square().sum(dim=0)
    frequency = torch.arange(len(power)).clamp(min=1).double()
    assert torch.allclose(power / power[0], frequency**-exponent, rtol=1e-4)


def test_noise_without_a_colour_is_white() -> None:
    for horizon in (1, 4, 7):
        mixing_HH = coloured_noise(horizon, 0.0)
        assert torch.allclose(mixing_HH.T @ mixing_HH, torch.eye(horizon), atol=1e-6)


def test_coloured_numbers_are_alike_in_steps_that_follow_one_another() -> None:
    stream = torch.Generator().manual_seed(0)
    family = NormalSequences(initial_std=0.3, mixing_HH=coloured_noise(12, 2.0))
    drawn = family.draw(family.begin(torch.zeros(2, 12, 3)), 4_000, stream)
    assert drawn.std(dim=(0, 1, 3)).sub(0.3).abs().max() < 0.01
    joined = torch.stack([drawn[:, :, 4].flatten(), drawn[:, :, 5].flatten()])
    assert float(torch.corrcoef(joined)[0, 1]) > 0.7
    apart = torch.stack([drawn[..., 0].flatten(), drawn[..., 1].flatten()])
    assert abs(float(torch.corrcoef(apart)[0, 1])) < 0.02, "numbers of one action are independent"


def test_actions_are_drawn_by_their_probabilities() -> None:
    logits = torch.tensor([[[0.0, 1.0, -2.0]], [[-13.8, -13.8, 0.0]]])
    family = CategoricalSequences()
    drawn = family.draw(family.begin(logits), 20_000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sum(dim=-1), torch.ones(2, 20_000, 1))
    assert (drawn.mean(dim=1) - logits.softmax(dim=-1)).abs().max() < 0.015


def test_a_plan_may_begin_wider_than_the_last_one_ended() -> None:
    sure = torch.log(torch.tensor([[[1.0, 1e-6, 1e-6], [1 / 3, 1 / 3, 1 / 3]]]))
    begun = CategoricalSequences(initial_uniform=0.6).begin(sure)
    torch.testing.assert_close(begun.location.exp()[0, 0], torch.tensor([0.6, 0.2, 0.2]), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(begun.location.exp()[0, 1], torch.full((3,), 1 / 3))
    as_it_was = CategoricalSequences().begin(sure)
    torch.testing.assert_close(as_it_was.location, sure, rtol=0, atol=0)
