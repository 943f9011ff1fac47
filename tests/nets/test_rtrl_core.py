"""Real-time recurrent learning against backpropagation over all of history, in float64."""

import pytest
import torch
from support.recurrent_cores import (
    INPUTS,
    KINDS,
    SIZE,
    UNITS,
    forget,
    gradients,
    make_core,
    naive_outputs,
    no_memory,
    random_rows,
)
from torch import Tensor, nn

from rlsys.nets.rtrl_core import ExactCore


@pytest.fixture(autouse=True)
def exact() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rtrl_gradients(
    core: ExactCore, input_BTD: Tensor, first_BT: Tensor, target: Tensor, length: int
) -> dict[str, Tensor]:
    """Sums the gradients of unrolls of `length` rows, each with what came before it."""
    state = no_memory(core)
    tables = [layer.no_history(SIZE) for layer in core.each_layer()]
    for start in range(0, input_BTD.shape[1], length):
        rows = slice(start, start + length)
        initial = {name: value.clone().requires_grad_() for name, value in state.items()}
        output, records = core.unroll(input_BTD[:, rows], first_BT[:, rows], initial)
        (output * target[:, rows]).sum().backward()
        for layer, table, value, record in zip(core.each_layer(), tables, initial.values(), records, strict=True):
            before = layer.history_gradients(table, value.grad, range(SIZE))
            for name, more in zip(table.named(), before, strict=True):
                layer.get_parameter(name).grad += more
            layer.advance(table, range(SIZE), record.derivatives(), record.input_BTD)
        with torch.no_grad():
            for t in range(start, min(start + length, input_BTD.shape[1])):
                _, state = core.step(input_BTD[:, t], forget(state, first_BT[:, t]))
    return gradients(core)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 7, 20, 120])
def test_unrolls_of_any_length_give_the_gradient_of_the_whole_history(kind: str, length: int) -> None:
    core = make_core(kind)
    input_BTD, first_BT, target = random_rows(120, seed=1, num_outputs=core.num_outputs)
    (naive_outputs(core, input_BTD, first_BT) * target).sum().backward()
    expected = gradients(core)
    found = rtrl_gradients(core, input_BTD, first_BT, target, length)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fits", [True, False])
def test_truncation_gives_it_only_where_every_episode_fits_into_an_unroll(kind: str, fits: bool) -> None:
    core = make_core(kind)
    input_BTD, _, target = random_rows(40, seed=2, num_outputs=core.num_outputs)
    first_BT = torch.zeros(SIZE, 40, dtype=torch.bool)
    first_BT[:, 10::10] = fits
    (naive_outputs(core, input_BTD, first_BT) * target).sum().backward()
    expected = gradients(core)["layers.0.weight"]
    state = no_memory(core)
    for start in range(0, 40, 10):
        rows = slice(start, start + 10)
        output, _ = core.unroll(input_BTD[:, rows], first_BT[:, rows], state)
        (output * target[:, rows]).sum().backward()
        with torch.no_grad():
            for t in range(start, start + 10):
                _, state = core.step(input_BTD[:, t], forget(state, first_BT[:, t]))
    error = (gradients(core)["layers.0.weight"] - expected).norm() / expected.norm()
    assert error < 1e-12 if fits else error > 0.01


def test_the_stem_gets_the_gradient_of_truncated_backpropagation_trained_or_frozen() -> None:
    stem, core = nn.Linear(2, INPUTS), make_core()
    raw, (_, first_BT, target) = torch.randn(SIZE, 15, 2), random_rows(15, seed=3)
    initial = torch.randn(SIZE, UNITS)
    for frozen in (False, True):
        stem.requires_grad_(not frozen)
        cell = initial.clone().requires_grad_()
        output, _ = core.unroll(stem(raw), first_BT, {"cell_0": cell})
        (output * target).sum().backward()
        core_gradients, of_cell = gradients(core), cell.grad
        naive, state = [], initial.clone().requires_grad_()
        current = state
        for t in range(15):
            current = torch.where(first_BT[:, t, None], 0.0, current)
            output, after = core.step(stem(raw[:, t]), {"cell_0": current})
            current = after["cell_0"]
            naive.append(output)
        if not frozen:
            expected_stem = stem.weight.grad.clone()
            stem.zero_grad()
        (torch.stack(naive, dim=1) * target).sum().backward()
        if not frozen:
            torch.testing.assert_close(expected_stem, stem.weight.grad, rtol=1e-10, atol=1e-10)
            stem.zero_grad()
        torch.testing.assert_close(of_cell, state.grad, rtol=1e-10, atol=1e-10)
        for name, gradient in gradients(core).items():
            torch.testing.assert_close(core_gradients[name], gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_layers_are_exact_at_the_top_and_spatial_below(kind: str) -> None:
    core = make_core(kind, num_layers=2)
    input_BTD, first_BT, target = random_rows(60, seed=5, num_outputs=core.num_outputs)
    (naive_outputs(core, input_BTD, first_BT) * target).sum().backward()
    expected = gradients(core)
    found = rtrl_gradients(core, input_BTD, first_BT, target, 10)
    for name in core.layers[0].no_history(1).named():
        torch.testing.assert_close(found[f"layers.1.{name}"], expected[f"layers.1.{name}"], rtol=1e-10, atol=1e-10)
        assert not torch.allclose(found[f"layers.0.{name}"], expected[f"layers.0.{name}"], rtol=1e-6)
    # Below: the error that comes down within the unroll, times the exact history of the lower layer itself.
    reference = spatial_gradient_of_lower_layer(core, input_BTD, first_BT, target, 10)
    torch.testing.assert_close(found["layers.0.weight"], reference, rtol=1e-9, atol=1e-9)


def spatial_gradient_of_lower_layer(
    core: ExactCore, input_BTD: Tensor, first_BT: Tensor, target: Tensor, length: int
) -> Tensor:
    """Backpropagates through all of the lower layer, but cuts the upper memory at the borders of unrolls."""
    state, outputs = no_memory(core), []
    _, upper = core.state_sizes
    for t in range(input_BTD.shape[1]):
        if t % length == 0:
            state[upper] = state[upper].detach()
        output, state = core.step(input_BTD[:, t], forget(state, first_BT[:, t]))
        outputs.append(output)
    (torch.stack(outputs, dim=1) * target).sum().backward()
    return gradients(core)["layers.0.weight"]
