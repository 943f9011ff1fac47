"""What every recurrent core promises."""

import pytest
import torch
from torch import Tensor

from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.lstm import LSTMCore
from rlsys.nets.recurrent import RecurrentCore

SIZE, LENGTH, INPUTS, UNITS = 3, 12, 4, 5


def make_core(kind: str) -> RecurrentCore:
    torch.manual_seed(0)
    if kind == "lstm":
        return LSTMCore(INPUTS, UNITS).double()
    return ELSTMCore(INPUTS, UNITS, num_layers=2 if kind == "stacked" else 1).double()


def make_state(core: RecurrentCore, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(SIZE, size, generator=generator, dtype=torch.float64)
        for name, size in core.state_sizes.items()
    }


def make_rows(seed: int, resets: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first_BT = torch.rand(SIZE, LENGTH, generator=generator) < resets
    return torch.randn(SIZE, LENGTH, INPUTS, generator=generator, dtype=torch.float64), first_BT


def step_by_step(core: RecurrentCore, input_BTD: Tensor, first_BT: Tensor, state: dict[str, Tensor]) -> Tensor:
    outputs = []
    for t in range(input_BTD.shape[1]):
        forgotten = {name: torch.where(first_BT[:, t, None], 0.0, value) for name, value in state.items()}
        output, state = core.step(input_BTD[:, t], forgotten)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


cores = pytest.mark.parametrize("kind", ["lstm", "elstm", "stacked"])


@cores
@pytest.mark.parametrize("resets", [0.0, 0.2, 1.0])
def test_an_unroll_is_its_steps_and_so_is_its_gradient(kind: str, resets: float) -> None:
    core = make_core(kind)
    input_BTD, first_BT = make_rows(seed=1, resets=resets)
    found = []
    for way in (lambda *args: core.unroll(*args).output, lambda *args: step_by_step(core, *args)):
        state = {name: value.requires_grad_() for name, value in make_state(core, seed=2).items()}
        x_BTD = input_BTD.clone().requires_grad_()
        output_BTH = way(x_BTD, first_BT, state)
        wanted = [x_BTD, *state.values(), *core.parameters()]
        weights = torch.linspace(-1.0, 1.0, output_BTH.numel(), dtype=torch.float64).view_as(output_BTH)
        found.append([output_BTH, *torch.autograd.grad((output_BTH * weights).sum(), wanted)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@cores
def test_nothing_passes_from_one_episode_to_the_next(kind: str) -> None:
    core = make_core(kind)
    input_BTD, _ = make_rows(seed=3, resets=0.0)
    first_BT = torch.zeros(SIZE, LENGTH, dtype=torch.bool)
    first_BT[:, 7] = True
    with torch.no_grad():
        whole = core.unroll(input_BTD, first_BT, make_state(core, seed=4)).output
        fresh = {name: torch.zeros_like(value) for name, value in make_state(core, seed=4).items()}
        second = core.unroll(input_BTD[:, 7:], first_BT[:, 7:], fresh).output
    torch.testing.assert_close(whole[:, 7:], second)


@cores
def test_sequences_of_a_batch_know_nothing_of_each_other(kind: str) -> None:
    core = make_core(kind)
    input_BTD, first_BT = make_rows(seed=5, resets=0.1)
    state = make_state(core, seed=6)
    with torch.no_grad():
        together = core.unroll(input_BTD, first_BT, state).output
        for b in range(SIZE):
            only = {name: value[b : b + 1] for name, value in state.items()}
            alone = core.unroll(input_BTD[b : b + 1], first_BT[b : b + 1], only).output
            torch.testing.assert_close(together[b : b + 1], alone)


@cores
def test_states_and_outputs_have_the_promised_sizes(kind: str) -> None:
    core = make_core(kind)
    input_BTD, first_BT = make_rows(seed=7, resets=0.1)
    state = make_state(core, seed=8)
    output_BH, after = core.step(input_BTD[:, 0], state)
    assert output_BH.shape == (SIZE, core.num_outputs)
    assert {name: value.shape for name, value in after.items()} == {
        name: (SIZE, size) for name, size in core.state_sizes.items()
    }
    assert core.unroll(input_BTD, first_BT, state).output.shape == (SIZE, LENGTH, core.num_outputs)
