"""Cores with an elementwise recurrence, rows for them, and their outputs step by step."""

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.rtrl_core import ExactCore
from rlsys.nets.rtu import RTUCore

SIZE, UNITS, INPUTS = 3, 5, 4
KINDS = ("elstm", "rtu", "linear_rtu")


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


def random_rows(length: int, seed: int, resets: float = 0.1, num_outputs: int = UNITS) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    first = torch.tensor(rng.random((SIZE, length)) < resets)
    first[:, 0] = False
    return (
        torch.tensor(rng.normal(size=(SIZE, length, INPUTS))),
        first,
        torch.tensor(rng.normal(size=(SIZE, length, num_outputs))),
    )
