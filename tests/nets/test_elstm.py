"""The eLSTM against its equations, and its recurrence against finite differences."""

import pytest
import torch
from torch import Tensor

from rlsys.nets.elstm import ELSTMCore, ELSTMLayer

SIZE, LENGTH, INPUTS, UNITS = 2, 6, 3, 4


def make_layer() -> ELSTMLayer:
    torch.manual_seed(0)
    layer = ELSTMLayer(INPUTS, UNITS).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3.0)
    return layer


def of_the_paper(layer: ELSTMLayer, x_D: Tensor, c_N: Tensor) -> tuple[Tensor, Tensor]:
    """h and c of one unit after another, with dot products written out."""
    cells = torch.empty_like(c_N)
    for n in range(UNITS):
        drives = [layer.weight[g, n] @ x_D + layer.recurrent[g, n] * c_N[n] + layer.bias[g, n] for g in (0, 1)]
        z, f = torch.tanh(drives[0]), torch.sigmoid(drives[1])
        cells[n] = f * c_N[n] + (1.0 - f) * z
    gate = torch.sigmoid(layer.output_gate.weight @ torch.cat([x_D, cells]) + layer.output_gate.bias)
    return gate * cells, cells


@torch.no_grad()
def test_a_step_is_that_of_the_paper() -> None:
    layer = make_layer()
    x_BD, cell_BN = torch.randn(SIZE, INPUTS).double(), torch.randn(SIZE, UNITS).double()
    output_BN, after_BN = layer.step(x_BD, cell_BN)
    for b in range(SIZE):
        expected_h, expected_c = of_the_paper(layer, x_BD[b], cell_BN[b])
        torch.testing.assert_close(output_BN[b], expected_h)
        torch.testing.assert_close(after_BN[b], expected_c)


@pytest.mark.parametrize("length", [1, LENGTH])
def test_the_backward_pass_of_the_recurrence_agrees_with_finite_differences(length: int) -> None:
    layer = make_layer()
    keep_TB1 = (torch.rand(length, SIZE, 1) > 0.3).double()
    x_BTD = torch.randn(SIZE, length, INPUTS).double().requires_grad_()
    cell_BN = torch.randn(SIZE, UNITS).double().requires_grad_()

    def unroll(x_BTD: Tensor, cell_BN: Tensor, *_: Tensor) -> Tensor:
        return layer.unroll(x_BTD, keep_TB1, cell_BN)[0]

    assert torch.autograd.gradcheck(unroll, (x_BTD, cell_BN, *layer.parameters()))


def test_cells_stay_between_minus_one_and_one() -> None:
    core = ELSTMCore(INPUTS, UNITS)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(100.0)
        state = {"cell_0": torch.zeros(SIZE, UNITS)}
        for seed in range(50):
            x_BD = 10.0 * torch.randn(SIZE, INPUTS, generator=torch.Generator().manual_seed(seed))
            _, state = core.step(x_BD, state)
            assert state["cell_0"].abs().max() <= 1.0


def test_initial_weights_are_normal_and_only_the_forget_gate_has_the_extra_bias() -> None:
    torch.manual_seed(1)
    layer = ELSTMLayer(200, 300, forget_bias=2.0)
    for parameter in (layer.weight, layer.recurrent, layer.bias[0], layer.bias[1] - 2.0):
        assert abs(parameter.mean().item()) < 0.03
        assert abs(parameter.std().item() - 0.1) < 0.015


def test_acting_and_frozen_cores_leave_no_graph_but_the_error_of_the_first_cell_is_still_known() -> None:
    layer = make_layer().requires_grad_(requires_grad=False)
    keep_TB1, x_BTD = torch.ones(LENGTH, SIZE, 1).double(), torch.randn(SIZE, LENGTH, INPUTS).double()
    output, record = layer.unroll(x_BTD, keep_TB1, torch.zeros(SIZE, UNITS).double())
    assert not output.requires_grad
    assert not record.derivatives().local.requires_grad
    cell_BN = torch.zeros(SIZE, UNITS).double().requires_grad_()
    layer.unroll(x_BTD, keep_TB1, cell_BN)[0].sum().backward()
    assert cell_BN.grad is not None
    assert cell_BN.grad.abs().min() > 0.0
