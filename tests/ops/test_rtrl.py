"""Sensitivities and derivatives of the eLSTM, against the recursion and autograd, in float64."""

import pytest
import torch
from support.recurrent_cores import INPUTS, SIZE, UNITS, make_core, random_rows

from rlsys.ops.rtrl import Sensitivities, advance, advance_step, derivatives


@pytest.fixture(autouse=True)
def exact() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_one_product_advances_sensitivities_as_the_recursion_does() -> None:
    core = make_core()
    layer = core.layers[0]
    input_BTD, first_BT, _ = random_rows(25, seed=4, resets=0.15)
    start = Sensitivities(*(torch.randn_like(t) for t in Sensitivities.zeros(SIZE, UNITS, INPUTS, input_BTD).tensors()))
    _, [record] = core.unroll(input_BTD, first_BT, {"cell_0": torch.randn(SIZE, UNITS)})
    steps = record.derivatives()
    expected = start
    for t in range(25):
        one = type(steps)(steps.previous[t], steps.local[t], steps.carry[t])
        expected = advance_step(expected, one, input_BTD[:, t])
    found = advance(start, steps, input_BTD)
    for tensor, other in zip(found.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-10, atol=1e-10)
    assert layer.weight.shape == (2, UNITS, INPUTS)


def test_derivatives_are_those_of_autograd() -> None:
    core = make_core()
    layer, x = core.layers[0], torch.randn(SIZE, INPUTS)
    cell = torch.randn(SIZE, UNITS, requires_grad=True)
    drive = (layer._drive(x) + cell.unsqueeze(1) * layer.recurrent).detach().requires_grad_()
    after = torch.lerp(drive[:, 0].tanh(), cell, drive[:, 1].sigmoid())
    local, direct = torch.autograd.grad(after.sum(), (drive, cell))
    gates = torch.stack([drive[:, 0].tanh(), drive[:, 1].sigmoid()], dim=1).detach()
    found = derivatives(gates, cell.detach(), layer.recurrent.detach(), torch.ones(SIZE, 1))
    torch.testing.assert_close(found.local, local)
    torch.testing.assert_close(found.carry, direct + (local * layer.recurrent).sum(dim=1))
