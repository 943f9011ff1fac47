"""The LSTM against torch's own."""

import torch
from torch import nn

from rlsys.nets.lstm import LSTMCore

SIZE, LENGTH, INPUTS, UNITS = 3, 12, 4, 5


def test_the_lstm_is_that_of_torch() -> None:
    torch.manual_seed(0)
    core = LSTMCore(INPUTS, UNITS).double()
    reference = nn.LSTM(INPUTS, UNITS, batch_first=True).double()
    reference.load_state_dict({f"{name}_l0": value for name, value in core.cell.state_dict().items()})
    input_BTD = torch.randn(SIZE, LENGTH, INPUTS, dtype=torch.float64)
    state = {name: torch.randn(SIZE, size, dtype=torch.float64) for name, size in core.state_sizes.items()}
    expected, _ = reference(input_BTD, (state["hidden"][None], state["cell"][None]))
    found = core.unroll(input_BTD, torch.zeros(SIZE, LENGTH, dtype=torch.bool), state).output
    torch.testing.assert_close(found, expected)
