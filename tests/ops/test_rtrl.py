"""Real-time recurrent learning against backpropagation over all of history, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.rtrl_core import ExactCore
from rlsys.nets.rtu import RTUCore
from rlsys.ops.rtrl import Sensitivities, advance, advance_step, derivatives

SIZE, UNITS, INPUTS = 3, 5, 4
KINDS = ("elstm", "rtu", "linear_rtu")


@pytest.fixture(autouse=True)
def exact() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_core(kind: str = "elstm", num_layers: int = 1) -> ExactCore:
    core: ExactCore
    if kind == "elstm":
        core = ELSTMCore(INPUTS, UNITS, num_layers=num_layers)
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.mul_(3.0)  # memories long enough to be missed
    else:
        core = RTUCore(INPUTS, UNITS, num_layers=num_layers, linear=kind == "linear_rtu")
        with torch.no_grad():
            for layer in core.layers:
                layer.log_decay.uniform_(-4.0, -1.0)
                layer.weight.mul_(0.3)
    return core


def no_memory(core: ExactCore) -> dict[str, Tensor]:
    return {name: torch.zeros(SIZE, size) for name, size in core.state_sizes.items()}


def forget(state: dict[str, Tensor], first_B: Tensor) -> dict[str, Tensor]:
    return {name: torch.where(first_B[:, None], 0.0, value) for name, value in state.items()}


def naive_outputs(core: ExactCore, input_BTD: Tensor, first_BT: Tensor) -> Tensor:
    """Steps of the cell one after the other, differentiated by autograd alone."""
    state, outputs = no_memory(core), []
    for t in range(input_BTD.shape[1]):
        output, state = core.step(input_BTD[:, t], forget(state, first_BT[:, t]))
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    return found


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


def random_rows(length: int, seed: int, resets: float = 0.1, num_outputs: int = UNITS) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    first = torch.tensor(rng.random((SIZE, length)) < resets)
    first[:, 0] = False
    return (
        torch.tensor(rng.normal(size=(SIZE, length, INPUTS))),
        first,
        torch.tensor(rng.normal(size=(SIZE, length, num_outputs))),
    )


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
