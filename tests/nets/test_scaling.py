"""Scaling of hidden states and of observations."""

import numpy as np
import torch

from rlsys.nets.scaling import RescaleObservation, min_max_scale


def test_features_are_scaled_by_their_own_range() -> None:
    x = torch.tensor([[1.0, 3.0, 2.0], [-4.0, 4.0, 0.0]])
    assert min_max_scale(x).tolist() == [[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]]


def test_channels_are_scaled_pixel_by_pixel() -> None:
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    scaled = min_max_scale(x)
    for b, row, column in np.ndindex(2, 3, 4):
        pixel = x[b, :, row, column]
        expected = (pixel - pixel.min()) / (pixel.max() - pixel.min())
        torch.testing.assert_close(scaled[b, :, row, column], expected)


def test_a_constant_input_becomes_zero_and_passes_finite_gradients() -> None:
    x = torch.full((2, 4), 7.0, requires_grad=True)
    scaled = min_max_scale(x)
    scaled.sum().backward()
    assert not scaled.any()
    assert x.grad is not None and x.grad.isfinite().all()


def test_observations_are_mapped_by_one_pair_of_bounds_or_one_per_feature() -> None:
    raw = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(RescaleObservation((0.0,), (255.0,))(raw), torch.tensor([[0.0, 0.2, 1.0]]))
    per_feature = RescaleObservation((0.0, 1.0, 5.0), (1.0, 101.0, 505.0))
    torch.testing.assert_close(per_feature(raw), torch.tensor([[0.0, 0.5, 0.5]]))


def test_without_bounds_observations_are_only_cast() -> None:
    raw = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert RescaleObservation((), ())(raw).tolist() == [[0.0, 51.0, 255.0]]


def test_the_bounds_are_no_part_of_a_checkpoint() -> None:
    assert not RescaleObservation((0.0,), (255.0,)).state_dict()
