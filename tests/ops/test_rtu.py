"""Pairs that turn and shrink, against one complex number per unit."""

import pytest
import torch

from rlsys.ops.rtu import TraceSensitivities, rotation, trace_derivatives, turn

LOG_DECAY = torch.tensor([-3.0, -1.0, 0.5], dtype=torch.float64)
LOG_ANGLE = torch.tensor([-2.0, 0.3, 1.5], dtype=torch.float64)


def test_a_turn_is_a_product_with_r_times_e_to_the_i_theta() -> None:
    eigenvalue = torch.polar((-LOG_DECAY.exp()).exp(), LOG_ANGLE.exp())
    cosine, sine, scale = rotation(LOG_DECAY, LOG_ANGLE)
    pair = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = eigenvalue * torch.complex(pair[:, 0], pair[:, 1])
    torch.testing.assert_close(turn(pair, cosine, sine), torch.stack([expected.real, expected.imag], dim=1))
    torch.testing.assert_close(scale.square(), 1.0 - eigenvalue.abs().square())


def test_derivatives_of_a_step_by_decay_and_angle_are_autograds() -> None:
    generator = torch.Generator().manual_seed(1)
    previous, product = (torch.randn(1, 2, 2, 3, dtype=torch.float64, generator=generator) for _ in range(2))

    def step(log_decay: torch.Tensor, log_angle: torch.Tensor) -> torch.Tensor:
        cosine, sine, scale = rotation(log_decay, log_angle)
        return turn(previous, cosine, sine) + scale * product

    by_decay, by_angle = torch.autograd.functional.jacobian(step, (LOG_DECAY, LOG_ANGLE))
    drive, slope = rotation(LOG_DECAY, LOG_ANGLE).scale * product, torch.ones_like(previous)
    found = trace_derivatives(previous, drive, slope, torch.ones(1, 2, 1), LOG_DECAY, LOG_ANGLE)
    for mine, jacobian in ((found.by_decay, by_decay), (found.by_angle, by_angle)):
        torch.testing.assert_close(mine, jacobian.diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_episode_begins_without_sensitivities(dtype: torch.dtype) -> None:
    table = TraceSensitivities.zeros(3, 4, 5, torch.empty(0, dtype=dtype))
    assert {name: tensor.shape for name, tensor in table.named().items()} == {
        "weight": (3, 2, 2, 4, 5),
        "log_decay": (3, 2, 4),
        "log_angle": (3, 2, 4),
    }
    assert all(tensor.dtype == dtype and not tensor.any() for tensor in table.tensors())
