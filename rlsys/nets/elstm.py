"""The eLSTM: an LSTM whose recurrence is elementwise, so that its exact gradient over all time is affordable.

Irie, Gopalakrishnan and Schmidhuber 2024, section 3, https://arxiv.org/abs/2305.19044. The equations are in
`rlsys.ops.rtrl`; the output gate looks at input and cell, and has no memory:

    o_t = σ(W_o [x_t ; c_t] + b_o)      h_t = o_t ⊙ c_t

Layers are stacked by giving h of one to the next. Checkpoints do not depend on how the core was trained.

Shape legend: B sequences, T rows, G gates z and f, N units, D inputs, H = N outputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlsys.nets.rtrl_core import ExactCore, ExactLayer, Record
from rlsys.ops.rtrl import Derivatives, Sensitivities, advance_rows, derivatives, history_gradients

_INITIAL_STD = 0.1


class ELSTMCore(ExactCore):
    """One or more eLSTM layers of N units; layer k keeps its cells as `cell_<k>`."""

    def __init__(self, num_inputs: int, num_units: int, *, num_layers: int = 1, forget_bias: float = 0.0) -> None:
        sizes = [num_inputs] + [num_units] * (num_layers - 1)
        super().__init__(num_inputs, [ELSTMLayer(size, num_units, forget_bias) for size in sizes], "cell")


class ELSTMLayer(ExactLayer[Sensitivities, Derivatives]):
    """One layer."""

    def __init__(self, num_inputs: int, num_units: int, forget_bias: float = 0.0) -> None:
        super().__init__()
        self.num_outputs = self.state_size = num_units
        self.weight = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units, num_inputs))
        self.recurrent = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units))
        self.bias = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units))
        with torch.no_grad():
            self.bias[1] += forget_bias
        self.output_gate = nn.Linear(num_inputs + num_units, num_units)

    def step(self, input_BD: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """See `ExactLayer`."""
        drive_BGN = self._drive(input_BD) + state_BS.unsqueeze(1) * self.recurrent
        cell_BN = torch.lerp(drive_BGN[:, 0].tanh(), state_BS, drive_BGN[:, 1].sigmoid())
        return self._gated(input_BD, cell_BN), cell_BN

    def unroll(self, input_BTD: Tensor, keep_TB1: Tensor, state_BS: Tensor) -> tuple[Tensor, Record[Derivatives]]:
        """See `ExactLayer`."""
        cells_TBN, record = self.remember(input_BTD, keep_TB1, state_BS)
        return self._gated(input_BTD, cells_TBN.transpose(0, 1)), record

    def remember(self, input_BTD: Tensor, keep_TB1: Tensor, cell_BN: Tensor) -> tuple[Tensor, Record[Derivatives]]:
        """Returns c `[T, B, N]`, to which the output gate has not been applied, and what RTRL needs."""
        record: Record[Derivatives] = Record(input_BTD)
        drive_TBGN = self._drive(input_BTD.transpose(0, 1).contiguous())
        cells_TBN = _Scan.apply(drive_TBGN, self.recurrent, cell_BN, keep_TB1, record)  # type: ignore[no-untyped-call]
        return cells_TBN, record

    def no_history(self, size: int) -> Sensitivities:
        """See `ExactLayer`."""
        _, num_units, num_inputs = self.weight.shape
        return Sensitivities.zeros(size, num_units, num_inputs, like=self.weight.detach())

    def history_gradients(self, table: Sensitivities, initial_BS: Tensor, rows: Sequence[int]) -> tuple[Tensor, ...]:
        """See `ExactLayer`."""
        return history_gradients(table, initial_BS, rows)

    def advance(self, table: Sensitivities, rows: Sequence[int], steps: Derivatives, input_BTD: Tensor) -> None:
        """See `ExactLayer`."""
        advance_rows(table, rows, steps, input_BTD)

    def _drive(self, x: Tensor) -> Tensor:
        """Returns what the input does to the gates, `[..., G, N]`."""
        drive = functional.linear(x, self.weight.flatten(end_dim=1), self.bias.flatten())
        return drive.view(*drive.shape[:-1], *self.bias.shape)

    def _gated(self, x: Tensor, cell: Tensor) -> Tensor:
        gate: Tensor = self.output_gate(torch.cat([x, cell], dim=-1))
        return gate.sigmoid() * cell


class _Scan(torch.autograd.Function):
    """The recurrence over T rows: two passes of elementwise operations, forward and backward in time."""

    @staticmethod
    def forward(
        ctx: Any,
        drive_TBGN: Tensor,
        recurrent_GN: Tensor,
        cell_BN: Tensor,
        keep_TB1: Tensor,
        record: Record[Derivatives],
    ) -> Tensor:
        gates_TBGN = torch.empty_like(drive_TBGN)
        previous_TBN = torch.empty_like(drive_TBGN[:, :, 0])
        cells_TBN = torch.empty_like(previous_TBN)
        for t in range(len(drive_TBGN)):
            previous_BN, gates_BGN = previous_TBN[t], gates_TBGN[t]
            torch.mul(cell_BN, keep_TB1[t], out=previous_BN)
            torch.addcmul(drive_TBGN[t], previous_BN.unsqueeze(1), recurrent_GN, out=gates_BGN)
            z_BN, f_BN = gates_BGN[:, 0].tanh_(), gates_BGN[:, 1].sigmoid_()
            cell_BN = torch.lerp(z_BN, previous_BN, f_BN, out=cells_TBN[t])
        fixed_GN = recurrent_GN.detach()
        record.derive = lambda: derivatives(gates_TBGN, previous_TBN, fixed_GN, keep_TB1)
        ctx.record = record
        return cells_TBN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBN: Tensor) -> tuple[Tensor | None, ...]:
        steps: Derivatives = ctx.record.derivatives()
        delta_TBN = torch.empty_like(steps.carry)
        delta_TBN[-1] = grad_TBN[-1]
        for t in reversed(range(len(delta_TBN) - 1)):
            torch.addcmul(grad_TBN[t], steps.carry[t + 1], delta_TBN[t + 1], out=delta_TBN[t])
        drive_TBGN = delta_TBN.unsqueeze(2) * steps.local
        recurrent_GN = (drive_TBGN * steps.previous.unsqueeze(2)).sum(dim=(0, 1))
        return drive_TBGN, recurrent_GN, steps.carry[0] * delta_TBN[0], None, None
