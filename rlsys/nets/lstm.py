"""The LSTM, unrolled over episodes; Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735.

    i, f, o = σ(W x_t + U h_{t-1} + b)      g = tanh(W x_t + U h_{t-1} + b)
    c_t = f ⊙ c_{t-1} + i ⊙ g               h_t = o ⊙ tanh(c_t)

Its recurrence is dense, so its gradient is that of backpropagation within an unroll.

Shape legend: B sequences, T rows, D inputs, G = 4 gates i, f, g, o, N units, M = G·N.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlsys.nets.recurrent import RecurrentCore, Unrolled


class LSTMCore(RecurrentCore):
    """An LSTM with torch's gates, parameters and initial weights; its memory is `hidden` and `cell`."""

    def __init__(self, num_inputs: int, num_units: int) -> None:
        super().__init__()
        self.num_inputs, self.num_outputs = num_inputs, num_units
        self.state_sizes = {"hidden": num_units, "cell": num_units}
        self.cell = nn.LSTMCell(num_inputs, num_units)

    def step(self, input_BD: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `RecurrentCore`."""
        hidden, cell = self.cell(input_BD, (state["hidden"], state["cell"]))
        return hidden, {"hidden": hidden, "cell": cell}

    def unroll(self, input_BTD: Tensor, first_BT: Tensor, state: Mapping[str, Tensor]) -> Unrolled:
        """See `RecurrentCore`."""
        keep_TB1 = (~first_BT).t().unsqueeze(-1).to(input_BTD.dtype)
        bias_M = self.cell.bias_ih + self.cell.bias_hh
        drive_TBM = functional.linear(input_BTD.transpose(0, 1).contiguous(), self.cell.weight_ih, bias_M)
        hidden_TBN: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
            drive_TBM, self.cell.weight_hh, state["hidden"], state["cell"], keep_TB1
        )
        return Unrolled(hidden_TBN.transpose(0, 1))


class _Scan(torch.autograd.Function):
    """The recurrence over T rows; the gradient of U, which autograd would sum up row by row, is one product."""

    @staticmethod
    def forward(
        ctx: Any, drive_TBM: Tensor, weight_MN: Tensor, hidden_BN: Tensor, cell_BN: Tensor, keep_TB1: Tensor
    ) -> Tensor:
        num_units = weight_MN.shape[1]
        weight_NM = weight_MN.t().contiguous()  # laid out once for all rows
        gates_TBM = torch.empty_like(drive_TBM)
        previous_hidden_TBN = drive_TBM.new_empty(*drive_TBM.shape[:2], num_units)
        previous_cell_TBN, squashed_TBN, hidden_TBN = (torch.empty_like(previous_hidden_TBN) for _ in range(3))
        for t in range(len(drive_TBM)):
            torch.mul(hidden_BN, keep_TB1[t], out=previous_hidden_TBN[t])
            torch.mul(cell_BN, keep_TB1[t], out=previous_cell_TBN[t])
            gates_BM = torch.addmm(drive_TBM[t], previous_hidden_TBN[t], weight_NM, out=gates_TBM[t])
            i_BN, f_BN, g_BN, o_BN = gates_BM.chunk(4, dim=1)
            gates_BM[:, : 2 * num_units].sigmoid_()
            g_BN.tanh_()
            o_BN.sigmoid_()
            cell_BN = torch.addcmul(i_BN * g_BN, f_BN, previous_cell_TBN[t])
            torch.tanh(cell_BN, out=squashed_TBN[t])
            hidden_BN = torch.mul(o_BN, squashed_TBN[t], out=hidden_TBN[t])
        ctx.save_for_backward(gates_TBM, weight_MN, previous_hidden_TBN, previous_cell_TBN, squashed_TBN, keep_TB1)
        return hidden_TBN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBN: Tensor) -> tuple[Tensor | None, ...]:
        gates_TBM, weight_MN, previous_hidden_TBN, previous_cell_TBN, squashed_TBN, keep_TB1 = ctx.saved_tensors
        i, f, g, o = gates_TBM.view(*grad_TBN.shape[:2], 4, -1).unbind(dim=2)
        local_TBGN = torch.empty_like(gates_TBM).view(*grad_TBN.shape[:2], 4, -1)
        of_cell_TBGN, of_hidden_TBN = local_TBGN[:, :, :3], local_TBGN[:, :, 3]
        # ∂c_t by what goes into i, f and g, and ∂h_t by what goes into o.
        torch.mul(g, i * (1.0 - i), out=local_TBGN[:, :, 0])
        torch.mul(previous_cell_TBN, f * (1.0 - f), out=local_TBGN[:, :, 1])
        torch.mul(i, 1.0 - g * g, out=local_TBGN[:, :, 2])
        torch.mul(squashed_TBN, o * (1.0 - o), out=of_hidden_TBN)
        through_TBN = o * (1.0 - squashed_TBN * squashed_TBN)  # ∂h_t/∂c_t
        carry_TBN = f * keep_TB1  # ∂c_t/∂c_{t-1}
        delta_TBGN = torch.empty_like(gates_TBM).view(*grad_TBN.shape[:2], 4, -1)
        hidden_BN, cell_BN = torch.zeros_like(grad_TBN[0]), torch.zeros_like(grad_TBN[0])
        for t in reversed(range(len(grad_TBN))):
            hidden_BN = hidden_BN + grad_TBN[t]
            cell_BN = torch.addcmul(cell_BN, hidden_BN, through_TBN[t])
            torch.mul(cell_BN.unsqueeze(1), of_cell_TBGN[t], out=delta_TBGN[t, :, :3])
            torch.mul(hidden_BN, of_hidden_TBN[t], out=delta_TBGN[t, :, 3])
            hidden_BN = torch.mm(delta_TBGN[t].flatten(start_dim=1), weight_MN).mul_(keep_TB1[t])
            cell_BN = cell_BN * carry_TBN[t]
        delta_TBM = delta_TBGN.flatten(start_dim=2)
        weight_gradient_MN = delta_TBM.flatten(end_dim=1).t() @ previous_hidden_TBN.flatten(end_dim=1)
        return delta_TBM, weight_gradient_MN, hidden_BN, cell_BN, None
