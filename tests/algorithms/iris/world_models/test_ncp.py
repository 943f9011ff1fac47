import numpy as np
import pytest
import torch

from rlsys.algorithms.iris.world_models.ncp import CfC, CfCLayer


def listens() -> np.ndarray:
    return np.array([[True, False], [True, True], [False, True]])


@pytest.mark.parametrize("has_gate", [True, False])
def test_a_layer_computes_what_the_paper_says(has_gate: bool) -> None:
    torch.manual_seed(0)
    layer = CfCLayer(listens(), has_gate=has_gate)
    x, h = torch.randn(5, 1, 3), torch.randn(5, 2)
    inputs = torch.cat([x[:, 0], h], dim=1)
    mask = torch.tensor([[1.0, 1, 0, 1, 1], [0, 1, 1, 1, 1]])  # each of two neurons: three inputs, then both neurons
    first = torch.tanh(inputs @ (layer.ff1.weight * mask).T + layer.ff1.bias)
    second = torch.tanh(inputs @ (layer.ff2.weight * mask).T + layer.ff2.bias)
    time_a = inputs @ layer.time_a.weight.T + layer.time_a.bias
    time_b = inputs @ layer.time_b.weight.T + layer.time_b.bias
    gate = torch.sigmoid(time_a * 1.0 + time_b)
    expected = first * (1.0 - gate) + gate * second if has_gate else first + gate * second
    said, after = layer(x, h, layer.joined())
    torch.testing.assert_close(said[:, 0], expected)
    torch.testing.assert_close(after, expected)


def test_a_sequence_is_the_same_moment_by_moment() -> None:
    torch.manual_seed(0)
    cell = CfC(3, 12, 4, seed=1)
    x, state = torch.randn(2, 6, 3), torch.randn(2, 12)
    together, last = cell(x, state)
    said = []
    for moment in x.split(1, dim=1):
        out, state = cell(moment, state)
        said.append(out)
    torch.testing.assert_close(together, torch.cat(said, dim=1))
    torch.testing.assert_close(last, state)
    torch.testing.assert_close(state[:, -4:], together[:, -1], msg="the motor neurons' state is what they say")


def test_masks_hold_after_an_update() -> None:
    torch.manual_seed(0)
    cell = CfC(3, 12, 4, seed=1)
    optimizer = torch.optim.SGD(cell.parameters(), lr=1.0)
    cell(torch.randn(2, 3, 3), torch.zeros(2, 12))[0].square().sum().backward()
    optimizer.step()
    for layer in cell.layers:
        assert isinstance(layer, CfCLayer)
        cut = layer.mask == 0
        assert cut[:, : layer.num_inputs].any() and not cut[:, layer.num_inputs :].any()
        answers = torch.cat([layer.joined().input, layer.joined().recurrent], dim=1)[: 2 * layer.num_units]
        assert (answers.view(2, layer.num_units, -1)[:, cut] == 0.0).all()
        assert layer.ff1.weight.grad is not None and (layer.ff1.weight.grad[cut] == 0.0).all()


def test_masks_are_no_part_of_a_checkpoint_and_are_never_trained() -> None:
    cell = CfC(3, 12, 4, seed=1)
    assert not [name for name in cell.state_dict() if "mask" in name]
    assert all(parameter.requires_grad for parameter in cell.parameters())


def test_rounded_once_it_is_as_near_as_rounding_allows() -> None:
    torch.manual_seed(0)
    cell, x, state = CfC(3, 12, 4, seed=1), torch.randn(2, 6, 3), torch.zeros(2, 12)
    exact = cell(x, state)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded, after = cell(x, state)
    assert after.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0.03)
