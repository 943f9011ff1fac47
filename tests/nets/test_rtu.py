"""Recurrent trace units, against one complex number per unit; that they learn exactly is in test_rtrl_core.py."""

import pytest
import torch

from rlsys.nets.rtu import RTULayer


@pytest.mark.parametrize("linear", [True, False])
def test_a_step_is_that_of_the_paper(linear: bool) -> None:
    torch.manual_seed(0)
    layer = RTULayer(4, 3, linear=linear).double()
    x_BD, state_BS = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    eigenvalue = torch.polar((-layer.log_decay.exp()).exp(), layer.log_angle.exp())
    drive = torch.complex(x_BD @ layer.weight[0].t(), x_BD @ layer.weight[1].t())
    after = eigenvalue * torch.complex(*state_BS.split(3, dim=1)) + (1 - eigenvalue.abs().square()).sqrt() * drive
    pair_BS = torch.cat([after.real, after.imag], dim=1)
    output_BH, found_BS = layer.step(x_BD, state_BS)
    torch.testing.assert_close(output_BH, pair_BS.tanh())
    torch.testing.assert_close(found_BS, pair_BS if linear else pair_BS.tanh())


def test_eigenvalues_are_at_first_uniform_on_the_unit_disk() -> None:
    torch.manual_seed(0)
    layer = RTULayer(2, 4_000)
    squared_radius = (-2.0 * layer.log_decay.exp()).exp()
    turns = layer.log_angle.exp() / (2.0 * torch.pi)
    for uniform in (squared_radius, turns):
        assert uniform.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
